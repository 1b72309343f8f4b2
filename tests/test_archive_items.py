"""What an archive tells of its items: scaling, identity, boxes, duplicates, overpasses, the grid its files lie on."""

import datetime as dt
import json

import numpy as np
import pytest
import rasterio
from archives import Archive, landsat_layers, scenes_of
from archives import box_around as box_within
from rasterio.warp import transform_bounds

import dataAPI
from glacier.satellites import search, selection
from glacier.satellites.items import parse_item
from glacier.satellites.metadata import OddItemError, box_around, plain_platform
from glacier.scenes import read_grid
from glacier.storage import runner

CRS, CORNER = "EPSG:32643", (500_025.0, 3_550_005.0)
TILE = 500_040.0, 3_550_020.0
VALLEY = box_within(CRS, *CORNER, 1800, 1800)
ADDRESS = "/archive/item.json"


@pytest.fixture
def made(tmp_path, monkeypatch) -> Archive:
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    monkeypatch.setattr(dataAPI, "describe", lambda *arguments: [])  # no pictures here
    return Archive(tmp_path / "made")


def item_of(**changes) -> dict:
    """Return a plain STAC item with some members changed; None takes one away."""
    item = {
        "id": "scene",
        "collection": "landsat-c2-l2",
        "type": "Feature",
        "bbox": [77.0, 32.0, 78.0, 33.0],
        "geometry": None,
        "properties": {"datetime": "2020-05-01T05:00:00Z", "platform": "landsat-8"},
        "assets": {"green": {"href": "./green.tif"}},
    } | changes
    return {key: value for key, value in item.items() if value is not None}


# ── Scale and offset ─────────────────────────────────────────────────────────────────────────────────────────────

BANDS = ("B02", "B03", "B04", "B8A", "B11", "B12")


def sentinel(made: Archive, numbers, asset: dict | None = None, **properties) -> None:
    """Add a Sentinel-2 scene of 10 m whose bands hold `numbers`, a number or (180, 180)."""
    values = np.broadcast_to(np.asarray(numbers, np.uint16), (180, 180))
    layers = dict.fromkeys(BANDS, values) | {"SCL": np.full((180, 180), 11, np.uint8)}
    name = f"S2_{len(made.items)}"
    sizes = dict.fromkeys(layers, 10.0)
    when = f"2020-05-{1 + len(made.items):02d}T05:00:00Z"
    made.add(name, "sentinel-2", when, layers, CRS, TILE, sizes, **properties)
    path = made.folder / name / f"{name}.json"
    content = json.loads(path.read_text())
    for band in BANDS:
        content["assets"][band] |= asset or {}
    path.write_text(json.dumps(content))


def raster(offset: float, scale: float = 1e-4) -> dict:
    return {"raster:bands": [{"scale": scale, "offset": offset}]}


@pytest.mark.parametrize(
    ("number", "asset", "properties"),
    [
        (500, {}, {"earthsearch:boa_offset_applied": True, "s2:processing_baseline": "05.09"}),
        (500, {}, {"sentinel:boa_offset_applied": True, "sentinel:processing_baseline": "04.00"}),
        (500, raster(0.0), {"s2:processing_baseline": "05.09"}),
        (500, raster(-0.1), {"earthsearch:boa_offset_applied": True}),
        (500, raster(-0.1), {"s2:processing_baseline": "02.12"}),
        (500, {"raster:scale": 1e-4, "raster:offset": 0}, {"processing:version": "05.11"}),
        (1500, {}, {"sentinel:processing_baseline": "05.09"}),
        (1500, {}, {"processing:version": "05.11"}),
        (1500, {}, {"s2:processing_baseline": "5.9"}),
        (
            1500,
            {},
            {"s2:product_uri": "S2A_MSIL2A_20230701T103631_N0509_R008_T31UFU_20230701.SAFE"},
        ),
        (1500, raster(-0.1), {}),
        (1500, {"bands": [{"name": "x", "raster:scale": 1e-4, "raster:offset": -0.1}]}, {}),
        (1500, {"raster:scale": 1e-4, "raster:offset": -0.1}, {}),
        (1500, raster(-0.1), {"earthsearch:boa_offset_applied": False}),
        (500, {}, {"s2:processing_baseline": "2.14"}),
        (500, {}, {"s2:processing_baseline": 2.12}),
        (500, {}, {"s2:processing_baseline": "N0214"}),
        (500, {}, {"earthsearch:boa_offset_applied": False, "s2:processing_baseline": "02.14"}),
        (250, raster(0.0, 2e-4), {}),
        # offsets in numbers, factors the other way round, scales of something else
        (1500, raster(-1000), {"s2:processing_baseline": "05.09"}),
        (1500, raster(-1000, 10000), {"s2:processing_baseline": "05.09"}),
        (500, raster(0, -1e-4), {"s2:processing_baseline": "02.09"}),
        (1500, raster(0, 1), {"s2:processing_baseline": "05.09"}),
        (1500, {"raster:bands": [{"scale": "0.0001", "offset": "-0.1"}]}, {}),
    ],
)
def test_reflectance_is_the_same_whoever_tells_the_offset(made, number, asset, properties):
    """True reflectance 0.050, as archives write it."""
    sentinel(made, number, asset, **properties)
    (scene,) = scenes_of(made.settings(VALLEY, "sentinel-2", pixelSize=10.0))
    for band in scene.bands:
        assert scene.reflectance(band) == pytest.approx(0.05, abs=1e-6)


def test_statements_that_differ_are_tried_in_order_and_told(made, caplog):
    """An offset of -0.1 beside "it was applied": bright pixels bear the first out, dark ones only the second."""
    flag = {"earthsearch:boa_offset_applied": True}
    sentinel(made, 5000, raster(-0.1), **flag)
    dark = np.full((180, 180), 5000)
    dark[:60] = 400
    sentinel(made, dark, raster(-0.1), **flag)
    with caplog.at_level("INFO"):
        bright, darker = scenes_of(made.settings(VALLEY, "sentinel-2", pixelSize=10.0))
    assert bright.reflectance("green") == pytest.approx(0.4)
    assert darker.reflectance("green").max() == pytest.approx(0.5)
    assert darker.reflectance("green").min() == pytest.approx(0.04)
    assert "its raster:bands is followed" in bright.warning
    assert "its flag boa_offset_applied is followed" in darker.warning
    assert "warning: the archive contradicts itself" in caplog.text


def test_a_scene_of_which_nothing_tells_the_offset_is_refused(made, caplog):
    sentinel(made, 1500)
    sentinel(made, 1500, {"raster:bands": [{"scale": 1e-4}]})
    sentinel(made, 1500, {}, **{"earthsearch:boa_offset_applied": False})
    sentinel(made, 1500, {}, **{"s2:processing_baseline": "05.09"})
    with caplog.at_level("INFO"):
        scenes = scenes_of(made.settings(VALLEY, "sentinel-2", pixelSize=10.0))
    assert [scene.id for scene in scenes] == ["S2_3"]
    assert "nothing tells its offset" in caplog.text


@pytest.mark.parametrize(
    ("members", "properties", "is_level_1"),
    [
        ({"id": "LC08_L1TP_147038_20200501_20200820_02_T1"}, {}, True),
        ({"id": "LC08_L2SP_147038_20200501_20200820_02_T1"}, {}, False),
        ({"collection": "landsat-c2l1"}, {}, True),
        ({"collection": "sentinel-2-l1c"}, {}, True),
        ({"collection": "hls2-l30"}, {}, False),
        ({}, {"landsat:correction": "L1GT"}, True),
        ({}, {"processing:level": "Level-1C"}, True),
        ({}, {"processing:level": "L2A", "landsat:correction": None}, False),
        ({}, {"s2:product_type": "S2MSI1C"}, True),
    ],
)
def test_what_reaches_the_satellite_is_no_reflectance_of_the_ground(
    members, properties, is_level_1
):
    """Level 1 has a scale of its own, and haze: it is left out with that reason."""
    told = item_of()["properties"] | properties
    files = {key: {"href": f"./{key}.tif"} for key in ("green", "swir16", "qa_pixel")}
    item = parse_item(item_of(**members, properties=told, assets=files), ADDRESS)
    kept, dropped = selection.select([item], ("landsat-8-9",), (), 100, dict)
    assert len(kept) == (not is_level_1)
    assert [reason.partition(":")[0] for _, reason in dropped] == ["Level 1"] * is_level_1


def test_bands_in_one_file_are_told(made):
    bands = [{"common_name": name} for name in ("red", "green", "swir16")]
    files = {"data": {"href": "./data.tif", "eo:bands": bands}, "qa_pixel": {"href": "./qa.tif"}}
    item = parse_item(item_of(assets=files), ADDRESS)
    _, ((_, reason),) = selection.select([item], ("landsat-8-9",), (), 100, dict)
    assert reason == "no asset green (files of several bands are not read: data)"


def test_the_collection_tells_where_its_items_do_not(made):
    sentinel(made, 1500)
    path = made.folder / "S2_0" / "S2_0.json"
    content = json.loads(path.read_text())
    content["links"] = [{"rel": "collection", "href": "../collection.json"}]
    path.write_text(json.dumps(content))
    assets = {band: raster(-0.1) for band in BANDS}
    (made.folder / "collection.json").write_text(json.dumps({"item_assets": assets}))
    (scene,) = scenes_of(made.settings(VALLEY, "sentinel-2", pixelSize=10.0))
    assert scene.reflectance("green") == pytest.approx(0.05)


def test_numbers_that_no_ground_reflects_are_told(made, caplog):
    """A wrong scaling that nothing contradicts: reflectance 2.4, and the scene says so."""
    sentinel(made, 2500, raster(-0.1, 1e-3))
    sentinel(made, 2500, raster(-0.1))
    with caplog.at_level("INFO"):
        wrong, right = scenes_of(made.settings(VALLEY, "sentinel-2", pixelSize=10.0))
    assert "check the archive's scale" in wrong.warning
    assert not right.warning
    assert "warning: more than 5 % of a band" in caplog.text


# ── Identity ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_id_in_two_collections_is_two_scenes(made):
    """May and July share an id, in Landsat's own collection and in another: each keeps its own pixels."""
    name = "LC08_147038"
    for month, number, collection in ((5, 9000, "landsat-c2-l2"), (7, 12000, "copies")):
        layers = landsat_layers(np.full((60, 60), number, np.uint16))
        when = f"2020-0{month}-01T05:00:00Z"
        made.add(f"{name}_{month}", "landsat-8-9", when, layers, CRS, CORNER)
        path = made.folder / f"{name}_{month}" / f"{name}_{month}.json"
        content = json.loads(path.read_text()) | {"id": name, "collection": collection}
        path.write_text(json.dumps(content))
    cfg = made.settings(VALLEY, "landsat-8-9", years=[2020, 2020])
    scenes = scenes_of(cfg)
    assert [scene.id for scene in scenes] == [name, name]
    assert [int(scene.dn[1, 0, 0]) for scene in scenes] == [9000, 12000]
    again = made.settings(VALLEY, "landsat-8-9", years=[2019, 2020])
    assert [int(scene.dn[1, 0, 0]) for scene in scenes_of(again)] == [9000, 12000]


@pytest.mark.parametrize(
    "name", ["../../outside", "a/b", "x" * 300, "tab\tbell\a", "ünïcödé ☃", "."]
)
def test_ids_of_any_signs_stay_in_the_folder(made, tmp_path, name):
    layers = landsat_layers(np.full((60, 60), 9000, np.uint16))
    made.add("plain", "landsat-8-9", "2020-05-01T05:00:00Z", layers, CRS, CORNER)
    dark = {key: layer for key, layer in layers.items() if key != "swir16"}
    made.add("dark", "landsat-8-9", "2020-06-01T05:00:00Z", dark, CRS, CORNER)
    for folder in ("plain", "dark"):
        path = made.folder / folder / f"{folder}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"id": name}))
    (made.folder / "dark" / "dark.json").write_text(
        json.dumps(json.loads(path.read_text()) | {"collection": "other"})
    )
    cfg = made.settings(VALLEY, "landsat-8-9")
    before = {path for path in tmp_path.rglob("*") if "datasets" not in path.parts}
    (scene,) = scenes_of(cfg)
    assert scene.id == name
    assert {path for path in tmp_path.rglob("*") if "datasets" not in path.parts} == before
    counts = runner.read_manifest(cfg.folder / "rawData")["counts"]
    assert all(label.isprintable() for label in counts["dropped_scenes"])


# ── Boxes ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("bbox", "geometry", "expected"),
    [
        ([-70, -54, 0, -69, -53, 900], None, (-70, -54, -69, -53)),
        ([179.0, -17, -179.0, -16], None, (179.0, -17, -179.0, -16)),
        ([179.0, -17, 5, -179.0, -16, 80], None, (179.0, -17, -179.0, -16)),
        (None, [[[-70, -54], [-69, -54], [-69, -53], [-70, -54]]], (-70, -54, -69, -53)),
        (
            [-180, -17, 180, -16],
            [[[179, -17], [-179, -17], [-179, -16], [179, -17]]],
            (179, -17, -179, -16),
        ),
        (
            None,
            [[[179, -17, 9], [181, -17, 9], [181, -16, 9], [179, -17, 9]]],
            (179, -17, -179, -16),
        ),
        ("nonsense", [[[1, 2], [3, 2], [3, 4], [1, 2]]], (1, 2, 3, 4)),
        (None, None, (-180, -90, 180, 90)),
    ],
)
def test_boxes_as_archives_write_them(bbox, geometry, expected):
    shape = {"type": "Polygon", "coordinates": geometry} if geometry else None
    assert parse_item(item_of(bbox=bbox, geometry=shape), ADDRESS).bbox == pytest.approx(expected)


def test_box_of_a_polygon_in_two_parts_across_the_antimeridian():
    parts = [
        [[[179, 60], [180, 60], [180, 61], [179, 60]]],
        [[[-180, 60], [-178, 60], [-178, 61], [-180, 60]]],
    ]
    shape = {"type": "MultiPolygon", "coordinates": parts}
    assert parse_item(item_of(bbox=None, geometry=shape), ADDRESS).bbox == (179, 60, -178, 61)
    assert box_around([(-10.0, 0.0), (20.0, 1.0)]) == (-10, 0, 20, 1)


def test_three_dimensional_boxes_are_kept_near_and_dropped_far(made):
    layers = landsat_layers(np.full((60, 60), 9000, np.uint16))
    for number, name in enumerate(("near", "far")):
        when = f"2020-0{5 + number}-01T05:00:00Z"
        made.add(name, "landsat-8-9", when, layers, CRS, CORNER)
        path = made.folder / name / f"{name}.json"
        content = json.loads(path.read_text())
        west, south, east, north = content["bbox"]
        shift = -100 * number
        content["bbox"] = [west + shift, south, 1000.0, east + shift, north, 6000.0]
        path.write_text(json.dumps(content))
    assert [scene.id for scene in scenes_of(made.settings(VALLEY, "landsat-8-9"))] == ["near"]


# ── Odd items ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("2020-05-01T05:00:00Z", dt.datetime(2020, 5, 1, 5)),
        ("2020-05-01T05:00:00", dt.datetime(2020, 5, 1, 5)),
        ("2020-05-01", dt.datetime(2020, 5, 1)),
        ("2020-05-01T10:30:00.1234567+05:30", dt.datetime(2020, 5, 1, 5, 0, 0, 123456)),
        ("2020-05-01 05:00:00z", dt.datetime(2020, 5, 1, 5)),
    ],
)
def test_dates_as_archives_write_them(told, expected):
    item = parse_item(item_of(properties={"datetime": told}), ADDRESS)
    assert item.datetime == expected.replace(tzinfo=dt.UTC)
    assert item.day_only == (len(told) == 10)


def test_a_range_of_time_takes_the_place_of_a_date():
    told = {
        "datetime": None,
        "start_datetime": "2020-05-01T05:00:00Z",
        "end_datetime": "2020-05-02",
    }
    item = parse_item(item_of(properties=told), ADDRESS)
    assert item.datetime == dt.datetime(2020, 5, 1, 5, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"properties": {"datetime": "soon"}}, "is no date"),
        ({"properties": {"datetime": None}}, "has no date"),
        ({"properties": None}, "no properties"),
        ({"assets": None}, "no assets"),
        ({"id": None}, "no id"),
        ({"id": True}, "no id"),
        ({"id": ""}, "no id"),
        ({"bbox": [1, 2, 3]}, "box cannot be read"),
        ({"bbox": [10, 5, 11, 4]}, "box cannot be read"),
    ],
)
def test_odd_items_say_what_is_odd(changes, says):
    with pytest.raises(OddItemError, match=says):
        parse_item(item_of(**changes), ADDRESS)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("eo:cloud_cover", None),
        ("eo:cloud_cover", "many"),
        ("eo:cloud_cover", -1),
        ("view:sun_azimuth", None),
        ("view:sun_elevation", []),
        ("proj:epsg", None),
        ("proj:code", 32643),
        ("proj:transform", [None] * 6),
        ("proj:transform", "30"),
        ("raster:bands", "none"),
    ],
)
def test_odd_members_cost_no_item(member, value):
    told = {"datetime": "2020-05-01", "platform": "landsat-8", member: value}
    item = parse_item(item_of(properties=told), ADDRESS)
    assert np.isnan(item.cloud_percent)
    assert item.crs == ""


def test_odd_items_are_dropped_one_by_one(made, caplog):
    layers = landsat_layers(np.full((60, 60), 9000, np.uint16))
    for month in (5, 6, 7, 8):
        when = f"2020-0{month}-01T05:00:00Z"
        made.add(f"m{month}", "landsat-8-9", when, layers, CRS, CORNER)
    for name, changes in (("m5", {"properties": []}), ("m6", {"assets": None})):
        path = made.folder / name / f"{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    (made.folder / "m7" / "m7.json").write_text("{ no json")
    made.items.append("gone")
    with caplog.at_level("INFO"):
        scenes = scenes_of(made.settings(VALLEY, "landsat-8-9"))
    assert [scene.id for scene in scenes] == ["m8"]
    for reason in ("it has no properties", "it has no assets", "it is no JSON", "is not there"):
        assert reason in caplog.text


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("LANDSAT_8", "landsat-8"),
        ("Landsat-8", "landsat-8"),
        ("landsat 9", "landsat-9"),
        ("LC08", "landsat-8"),
        ("Sentinel-2A", "sentinel-2a"),
        ("sentinel-2b", "sentinel-2b"),
        ("S2C", "sentinel-2c"),
        ("Terra", "terra"),
    ],
)
def test_satellites_as_archives_spell_them(told, expected):
    assert plain_platform(told) == expected
    assert (
        parse_item(
            item_of(properties={"datetime": "2020-05-01", "platform": told}), ADDRESS
        ).platform
        == expected
    )


# ── Duplicates and overpasses ────────────────────────────────────────────────────────────────────────────────────


def numbers_of(made: Archive, sensor: str = "landsat-8-9", **keywords) -> list[int]:
    """Return the first pixel's number of green of each scene."""
    scenes = scenes_of(made.settings(VALLEY, sensor, **keywords))
    return [int(scene.dn[scene.bands.index("green"), 20, 20]) for scene in scenes]


def landsat(made: Archive, name: str, number: int, when: str, gap: bool = False, **properties):
    values = np.full((60, 60), number, np.uint16)
    if gap:
        values[30:] = 0
    made.add(name, "landsat-8-9", when, landsat_layers(values), CRS, CORNER, **properties)


@pytest.mark.parametrize(
    ("better", "older"),
    [
        ("LC08_L2SP_147038_20200501_20200820_02_T1", "LC08_L2SP_147038_20200501_20200502_02_RT"),
        ("LC08_L2SP_147038_20200501_20210820_02_T1", "LC08_L2SP_147038_20200501_20200820_02_T1"),
        ("LC08_L2SP_147038_20200501_20200820_02_T2", "LC08_L2SP_147038_20200501_20200502_02_RT"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_of_one_acquisition_the_better_processing_counts_whole(made, better, older, turned):
    """The better one has a gap: it stays a gap, and is not filled from the older one."""
    when = ["2020-05-01T05:19:24.1Z", "2020-05-01T05:19:24.9Z"]
    landsat(made, better, 9000, when[turned], gap=True)
    landsat(made, older, 12000, when[not turned])
    (scene,) = scenes_of(made.settings(VALLEY, "landsat-8-9"))
    assert scene.id == better
    assert set(np.unique(scene.dn[1])) == {0, 9000}


def test_two_processings_without_a_box_are_one_acquisition_if_their_frame_is_told(made):
    """Neither bbox nor geometry: path and row in the id tell that it is the same picture."""
    for number, name in enumerate(("20200502_02_RT", "20200820_02_T1")):
        full = f"LC08_L2SP_147038_20200501_{name}"
        landsat(made, full, 9000 + 1000 * number, "2020-05-01T05:19:24Z")
        path = made.folder / full / f"{full}.json"
        content = json.loads(path.read_text())
        del content["bbox"]
        path.write_text(json.dumps(content))
    (scene,) = scenes_of(made.settings(VALLEY, "landsat-8-9"))
    assert scene.id.endswith("T1")


def test_the_newer_baseline_of_one_acquisition_counts(made):
    for number, baseline in ((4000, "02.14"), (5100, "05.00")):
        sentinel(
            made, number, **{"s2:processing_baseline": baseline, "datetime": "2020-05-01T05:00:00Z"}
        )
    (scene,) = scenes_of(made.settings(VALLEY, "sentinel-2", pixelSize=10.0))
    assert scene.reflectance("green") == pytest.approx(0.41)


def test_two_orbits_are_two_scenes_and_neighbours_one(made):
    landsat(made, "north", 9000, "2020-05-01T05:00:00Z", gap=True)
    landsat(made, "south", 12000, "2020-05-01T05:00:24Z")
    landsat(made, "next", 15000, "2020-05-01T06:39:00Z")
    scenes = scenes_of(made.settings(VALLEY, "landsat-8-9"))
    assert [scene.id for scene in scenes] == ["north", "next"]
    assert set(np.unique(scenes[0].dn[1])) == {9000, 12000}
    assert set(np.unique(scenes[1].dn[1])) == {15000}


# ── The grid ─────────────────────────────────────────────────────────────────────────────────────────────────────

SOUTH = "EPSG:32618"  # Landsat comes in northern zones south of the equator too, with negative northings
ANDES = 650_025.0, -5_200_005.0


@pytest.mark.parametrize("told", [True, False])
def test_southern_landsat_is_copied_pixel_for_pixel(made, told):
    """White noise in zone 18 north with negative northings comes through bit by bit, whatever the items tell."""
    noise = np.random.default_rng(0).integers(8000, 30000, (60, 60)).astype(np.uint16)
    properties = (
        {"proj:transform": [30, 0, ANDES[0], 0, -30, ANDES[1]]} if told else {"proj:code": None}
    )
    for month in (5, 6):
        made.add(
            f"m{month}",
            "landsat-8-9",
            f"2020-0{month}-01T14:00:00Z",
            landsat_layers(noise),
            SOUTH,
            ANDES,
            **properties,
        )
    box = box_within(SOUTH, *ANDES, 1800, 1800)
    cfg = made.settings(box, "landsat-8-9")
    scenes = scenes_of(cfg)
    grid = read_grid(cfg)
    assert grid.crs == SOUTH
    column, row = ~rasterio.Affine(30, 0, ANDES[0], 0, -30, ANDES[1]) @ (
        grid.transform[2],
        grid.transform[5],
    )
    part = noise[
        round(row) : round(row) + grid.shape[0], round(column) : round(column) + grid.shape[1]
    ]
    assert part.shape == grid.shape
    assert all(np.array_equal(scene.dn[1], part) for scene in scenes)
    assert runner.read_manifest(cfg.folder / "rawData")["counts"]["resampled"] == 0


@pytest.mark.parametrize(
    "transform",
    [
        [30, 0, CORNER[0] - 15, 0, -30, CORNER[1] + 15],  # the middle of the pixel
        [29.996139, 0, CORNER[0] + 15, 0, -29.996199, CORNER[1] - 15],
        [CORNER[0], 30, 0, CORNER[1], 0, -30],  # GDAL's order
        [30, 0, CORNER[0], 0, 30, CORNER[1] - 1800],
        [30, 0, CORNER[0], 0, -30, CORNER[1], 0, 0, 1],
    ],
)
def test_the_grid_follows_the_files_where_items_tell_what_no_file_has(made, transform):
    values = np.arange(9000, 12600, dtype=np.uint16).reshape(60, 60)
    layers = landsat_layers(values)
    thin = {key: layers[key] for key in ("green", "swir16", "qa_pixel")}
    when = "2020-05-01T05:00:00Z"
    made.add("one", "landsat-8-9", when, thin, CRS, CORNER, **{"proj:transform": transform})
    (scene,) = scenes_of(made.settings(VALLEY, "landsat-8-9"))
    assert not scene.resampled


def test_more_years_do_not_move_the_grid(made, caplog):
    """2019 lies in a northern zone; then come more scenes of the southern one: the grid stays, they are resampled."""
    values = np.full((80, 80), 9000, np.uint16)
    box = box_within(SOUTH, *ANDES, 1800, 1800)
    made.add("first", "landsat-8-9", "2019-05-01T14:00:00Z", landsat_layers(values), SOUTH, ANDES)
    cfg = made.settings(box, "landsat-8-9", years=[2019, 2019])
    scenes_of(cfg)
    grid = read_grid(cfg)
    bounds = transform_bounds(SOUTH, "EPSG:32718", *grid.bounds)
    corner = 30 * round(bounds[0] / 30) - 195, 30 * round(bounds[3] / 30) + 195
    for month in (5, 6, 7):
        when = f"2020-0{month}-01T14:00:00Z"
        made.add(f"m{month}", "landsat-8-9", when, landsat_layers(values), "EPSG:32718", corner)
    cfg = made.settings(box, "landsat-8-9", years=[2019, 2020])
    with caplog.at_level("INFO"):
        scenes = scenes_of(cfg)
    assert read_grid(cfg) == grid
    assert [scene.resampled for scene in scenes] == [False, True, True, True]
    counts = runner.read_manifest(cfg.folder / "rawData")["counts"]
    assert (counts["resampled"], counts["grid"]["crs"]) == (3, SOUTH)
    assert "resampled, for their pixels lay elsewhere" in caplog.text
    fresh = made.settings(box, "landsat-8-9", years=[2019, 2020], name="fresh")
    scenes_of(fresh)
    assert read_grid(fresh).crs == "EPSG:32718"


# ── Where the archive has something ──────────────────────────────────────────────────────────────────────────────


def test_a_source_of_other_years_or_places_says_which(made):
    landsat(made, "one", 9000, "2020-05-01T05:00:00Z")
    with pytest.raises(dataAPI.GlacierError, match=r"years \[2001, 2002\].* of 2020 to 2020"):
        scenes_of(made.settings(VALLEY, "landsat-8-9", years=[2001, 2002]))
    west, south, east, north = VALLEY
    swapped = south, west, north, east
    with pytest.raises(dataAPI.GlacierError, match=r"changed over; give --boundingBox=75\.00"):
        scenes_of(made.settings(swapped, "landsat-8-9"))
    with pytest.raises(dataAPI.GlacierError, match=r"lie elsewhere, the first at 75\.000, 32\.0"):
        scenes_of(made.settings((10.0, 45.0, 10.1, 45.1), "landsat-8-9"))


def test_scenes_of_other_sensors_only_say_which(made):
    landsat(made, "one", 9000, "2020-05-01T05:00:00Z")
    with pytest.raises(
        dataAPI.GlacierError, match=r"platform landsat-8.*scenes of --sensor=landsat-8-9"
    ):
        scenes_of(made.settings(VALLEY, "sentinel-2"))


def test_search_gives_each_identity_once(made):
    landsat(made, "one", 9000, "2020-05-01T05:00:00Z")
    made.items.append("one")
    cfg = made.settings(VALLEY, "landsat-8-9")
    items, odd = search.search(search.Query(cfg.source, VALLEY, (2020, 2020), ("landsat-8-9",)))
    assert [item.identity for item in items] == [("landsat-c2-l2", "one")]
    assert not odd
