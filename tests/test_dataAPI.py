"""Scenes of an archive: the grid, the search, what is read, kept and left out."""

import json
import logging
import re
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from archives import Archive, box_around, landsat_layers, scenes_of
from rasterio.warp import transform, transform_bounds

import config
import dataAPI
from config import Config, GlacierError
from demo.cog_server import CogServer
from demo.makeGlacier import make_glacier
from glacier.grid import make_grid
from glacier.satellites import search, sensors, web
from glacier.satellites.items import parse_item
from glacier.scenes import read_grid, read_scenes, take_back, year_files
from glacier.storage import disk, pickles

ROOT = Path(__file__).resolve().parents[1]

PAGES = ROOT.parent / "shared" / "data" / "planetaryComputer"
BOX = Config.boundingBox


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory) -> Path:
    """The catalogue of a small demo glacier: 2 years, 64 x 64 px. Do not change it."""
    folder = tmp_path_factory.mktemp("archive")
    make_glacier(folder, size=64, years=(2014, 2015), scenes_per_year=10)
    return folder / "catalog.json"


@pytest.fixture
def settings(catalogue, tmp_path, monkeypatch):
    """A function that returns the settings of a glacier in an empty home."""
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    box = json.loads((catalogue.parent / "collection.json").read_text())["extent"]["spatial"][
        "bbox"
    ][0]

    def make(**keywords):
        given = {
            "name": "small",
            "source": str(catalogue),
            "boundingBox": box,
            "years": [2014, 2015],
            "maxCloudPercent": 100.0,
            "maxMissingFraction": 0.9,
        }
        return config.load(Config, [], **(given | keywords))

    return make


# ── The grid ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_grid_is_utm_on_landsats_pixel_edges_and_covers_the_box():
    grid = make_grid(BOX, 30.0, 15.0)
    assert grid.crs == "EPSG:32643"
    assert (grid.transform[2] % 30, grid.transform[5] % 30) == (15, 15)
    west, south, east, north = transform_bounds("EPSG:4326", grid.crs, *BOX)
    height, width = grid.shape
    assert 0 <= west - grid.transform[2] < 30
    assert 0 <= grid.transform[5] - north < 30
    assert 0 <= grid.transform[2] + 30 * width - east < 30
    assert 0 <= south - grid.transform[5] + 30 * height < 30


@pytest.mark.parametrize(
    ("box", "crs"),
    [
        ((179.5, -17.0, 180.5, -16.0), "EPSG:32701"),
        ((-180.0, -17.0, -179.5, -16.0), "EPSG:32701"),
        ((179.0, 60.0, 179.9, 60.1), "EPSG:32660"),
        ((10.0, 85.0, 30.0, 86.0), "EPSG:3413"),
        ((160.0, -84.5, 162.0, -84.0), "EPSG:3031"),
        ((-180.0, -90.0, 180.0, -84.0), "EPSG:3031"),
        ((77.9, 32.0, 78.1, 32.1), "EPSG:32644"),
        ((77.8, 32.0, 78.1, 32.1), "EPSG:32643"),
    ],
)
def test_grid_everywhere_on_earth(box, crs):
    """Every point of the box lies on the grid, and the grid is not much larger than the box."""
    grid = make_grid(box, 300.0, 15.0)
    assert grid.crs == crs
    east, north = np.meshgrid(np.linspace(box[0], box[2], 41), np.linspace(box[1], box[3], 41))
    x, y = transform("EPSG:4326", crs, east.ravel(), north.ravel())
    columns, rows = ~rasterio.Affine(*grid.transform) @ (np.array(x), np.array(y))
    height, width = grid.shape
    assert -0.01 < columns.min() < 1.5
    assert -0.01 < rows.min() < 1.5
    assert width - 2.5 < columns.max() < width + 0.01
    assert height - 2.5 < rows.max() < height + 0.01


def test_box_the_wrong_way_round_is_told_of_the_antimeridian():
    with pytest.raises(
        GlacierError, match=r"across the antimeridian east exceeds 180, as 179.5 to 180.5"
    ):
        Config(boundingBox=(179.5, -17.0, -179.5, -16.0))


@pytest.mark.parametrize(
    ("item", "box", "expected"),
    [
        ((179.0, 0, -179.0, 1), (179.5, 0, 180.5, 1), True),
        ((-180.0, 0, -179.8, 1), (179.5, 0, 180.5, 1), True),
        ((179.0, 0, 179.4, 1), (179.5, 0, 180.5, 1), False),
        ((-179.0, 0, -178.0, 1), (179.5, 0, 180.5, 1), False),
        ((10, 0, 11, 1), (10.5, 0.5, 12, 2), True),
        ((10, 0, 11, 1), (10.5, 1.5, 12, 2), False),
    ],
)
def test_boxes_overlap_round_the_earth(item, box, expected):
    assert search.overlap(item, box) == expected


# ── Search ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(not PAGES.is_dir(), reason=f"no real answers in {PAGES}")
@pytest.mark.parametrize(
    ("page", "sensor"),
    [
        ("items_landsat-c2-l2_page1_20250731.json", "landsat-8-9"),
        ("items_landsat-c2-l2-pc_20240417-19.json", "landsat-8-9"),
        ("items_sentinel-2-l2a-pc_20240417-19.json", "sentinel-2"),
    ],
)
def test_real_answers_of_the_planetary_computer_are_understood(page, sensor):
    """Every item has its date, platform, clouds, and the assets this sensor needs; L2SR items too."""
    content = json.loads((PAGES / page).read_text())
    row = sensors.find(sensor)
    for feature in content if isinstance(content, list) else content["features"]:
        item = parse_item(feature, str(PAGES / page))
        assert item.id == feature["id"]
        assert item.platform in row.platforms
        assert item.cloud_percent == feature["properties"]["eo:cloud_cover"]
        addresses = [item.assets[key].href for key in (*row.bands.values(), *row.quality)]
        assert all(href.startswith("https://") and "?" not in href for href in addresses)


def test_scenes_outside_the_years_are_not_found(settings):
    with pytest.raises(GlacierError, match="no scene found"):
        dataAPI.run(settings(years=[2010, 2011]))


def test_source_that_is_not_there(settings, tmp_path):
    with pytest.raises(GlacierError, match="does not exist"):
        dataAPI.run(settings(source=str(tmp_path / "nothing.json")))


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pixels_are_the_archives_own(settings, catalogue):
    """Same zone, same pixel edges: what the file says is copied, bit by bit."""
    cfg = settings()
    assert dataAPI.run(cfg) == 0
    grid = read_grid(cfg)
    scenes = list(read_scenes(cfg))
    assert len(scenes) > 5
    assert [scene.date for scene in scenes] == sorted(scene.date for scene in scenes)
    for scene in scenes:
        with rasterio.open(catalogue.parent / scene.id / "green.tif") as file:
            window = (
                rasterio.windows.from_bounds(
                    *rasterio.transform.array_bounds(*grid.shape, rasterio.Affine(*grid.transform)),
                    file.transform,
                )
                .round_offsets()
                .round_lengths()
            )
            assert np.array_equal(scene.dn[scene.bands.index("green")], file.read(1, window=window))
        values = scene.reflectance("green")
        assert np.isnan(values[scene.mask != 0]).all()
        assert np.isfinite(values[scene.mask == 0]).all()


def test_second_run_reads_nothing(settings, caplog):
    cfg = settings()
    with caplog.at_level(logging.INFO):
        dataAPI.run(cfg)
    assert re.search(r"scenes \d+/21, \d+ MB, [\d.]+ MB/s, \d+ s, \d+ s left", caplog.text)
    made = {path.name: disk.file_hash(path) for path in year_files(cfg)}
    with caplog.at_level(logging.INFO):
        assert dataAPI.run(cfg) == 0
    assert "up to date" in caplog.text
    assert made == {path.name: disk.file_hash(path) for path in year_files(cfg)}


def test_dry_run_reads_nothing(settings, caplog):
    cfg = settings(dryRun=True)
    with caplog.at_level(logging.INFO):
        assert dataAPI.run(cfg) == 0
    assert "year  scenes  files  MB" in re.sub(" +", "  ", caplog.text)
    assert re.search(r"2014 +\d+ +\d+ +[\d.]+ +\d+", caplog.text)
    assert not (cfg.folder / "rawData").exists()


def test_missing_pixels_decide_what_is_kept(settings):
    kept = {}
    for limit in (0.1, 0.9):
        cfg = settings(name=f"limit{limit}", maxMissingFraction=limit)
        dataAPI.run(cfg)
        kept[limit] = {scene.id: scene.missing_fraction for scene in read_scenes(cfg)}
    assert all(missing <= 0.1 for missing in kept[0.1].values())
    assert {name: missing for name, missing in kept[0.9].items() if missing <= 0.1} == kept[0.1]
    assert len(kept[0.1]) < len(kept[0.9])


# ── Archives made for one question ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def made(tmp_path, monkeypatch) -> Archive:
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    return Archive(tmp_path / "made")


def pattern(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return smooth digital numbers at places [m] that tell every pixel's place."""
    return 20_000 + 5_000 * np.sin(x / 400) + 5_000 * np.cos(y / 500 + x / 900)


def test_scene_of_the_other_zone_lies_in_its_place(made):
    """A known pattern, sampled in zone 44, is found in the zone-43 grid within 0.02 px of its place."""
    corner, size = (213_015.0, 3_555_015.0), 150
    x, y = corner[0] + 30 * (np.arange(size) + 0.5), corner[1] - 30 * (np.arange(size) + 0.5)
    places = transform("EPSG:32644", "EPSG:32643", *(axis.ravel() for axis in np.meshgrid(x, y)))
    values = pattern(*map(np.array, places)).reshape(size, size).round().astype(np.uint16)
    made.add(
        "other", "landsat-8-9", "2020-05-01T05:00:00Z", landsat_layers(values), "EPSG:32644", corner
    )
    near = 774_015.0, 3_555_015.0
    for day in (3, 19):
        layers = landsat_layers(np.full((150, 150), 9000, np.uint16))
        made.add(f"near{day}", "landsat-8-9", f"2020-06-{day:02d}T05:00:00Z", layers, CRS, near)
    west, south, east, north = transform_bounds(
        "EPSG:32644", "EPSG:4326", corner[0], corner[1] - 4500, corner[0] + 4500, corner[1]
    )
    cfg = made.settings((west - 0.02, south + 0.01, west + 0.015, north - 0.01), "landsat-8-9")
    grid = make_grid(cfg.boundingBox, 30.0, 15.0)
    assert grid.crs == "EPSG:32643"
    scene = scenes_of(cfg)[0]
    assert scene.id == "other"
    assert scene.resampled
    found, clear = scene.dn[scene.bands.index("green")].astype(float), scene.mask == 0
    rows, columns = np.indices(found.shape)

    def expected(shift_x=0.0, shift_y=0.0):
        return pattern(
            grid.transform[2] + 30 * (columns + 0.5 + shift_x),
            grid.transform[5] - 30 * (rows + 0.5 + shift_y),
        )

    slopes = np.stack([expected(0.5) - expected(-0.5), expected(0, 0.5) - expected(0, -0.5)])[
        :, clear
    ]
    shift = np.linalg.lstsq(slopes.T, (found - expected())[clear], rcond=None)[0]
    assert clear.mean() > 0.4
    assert np.abs(shift).max() < 0.02


def test_scene_across_the_antimeridian(made):
    """A box from 179.9 to 180.1 finds a scene of zone 1 and one of zone 60; the first is copied."""
    values = np.full((400, 800), 9000, np.uint16)
    left, top = transform("EPSG:4326", "EPSG:32701", [179.89], [-16.99])
    corner = 15 + 30 * round(left[0] / 30), 15 + 30 * round(top[0] / 30)
    made.add(
        "zone1", "landsat-8-9", "2020-05-01T22:00:00Z", landsat_layers(values), "EPSG:32701", corner
    )
    left, top = transform("EPSG:4326", "EPSG:32760", [179.89], [-16.99])
    corner = 15 + 30 * round(left[0] / 30), 15 + 30 * round(top[0] / 30)
    made.add(
        "zone60",
        "landsat-8-9",
        "2020-05-09T22:00:00Z",
        landsat_layers(values),
        "EPSG:32760",
        corner,
    )
    scenes = scenes_of(made.settings((179.9, -17.08, 180.1, -17.0), "landsat-8-9"))
    assert [scene.id for scene in scenes] == ["zone1", "zone60"]
    for scene in scenes:
        assert (scene.mask == 0).mean() > 0.97
        assert (scene.dn[:, scene.mask == 0] == 9000).all()


@pytest.mark.parametrize(
    ("crs", "box"),
    [("EPSG:3413", (20.0, 85.0, 20.3, 85.02)), ("EPSG:3031", (160.0, -84.52, 160.3, -84.5))],
)
def test_polar_scenes_are_copied(made, crs, box):
    grid = make_grid(box, 30.0, 15.0)
    values = np.random.default_rng(0).integers(8000, 30000, grid.shape).astype(np.uint16)
    made.add(
        "polar",
        "landsat-8-9",
        "2020-05-01T12:00:00Z",
        landsat_layers(values),
        crs,
        (grid.transform[2], grid.transform[5]),
    )
    scene = scenes_of(made.settings(box, "landsat-8-9"))[0]
    assert (scene.dn == values).all()


CRS, CORNER = "EPSG:32643", (500_025.0, 3_550_005.0)
VALLEY = box_around(CRS, *CORNER, 1800, 1800)


def test_neighbours_of_one_solar_day_are_one_scene(made):
    """The first observed pixel counts: the later row fills only what the earlier one lacks."""
    north, south = np.full((60, 60), 9000, np.uint16), np.full((60, 60), 11000, np.uint16)
    north[30:], south[:10] = 0, 0
    made.add("north", "landsat-8-9", "2020-05-01T05:00:00Z", landsat_layers(north), CRS, CORNER)
    made.add("south", "landsat-8-9", "2020-05-01T05:00:24Z", landsat_layers(south), CRS, CORNER)
    made.add("later", "landsat-8-9", "2020-05-17T05:00:00Z", landsat_layers(south), CRS, CORNER)
    cfg = made.settings(VALLEY, "landsat-8-9")
    scenes = scenes_of(cfg)
    assert [scene.id for scene in scenes] == ["north", "later"]
    grid = read_grid(cfg)
    seam = int(30 - (CORNER[1] - grid.transform[5]) / 30)
    assert (
        20 < seam < grid.shape[0]
    )  # so there are rows that only the north, both, and only the south observed
    assert (scenes[0].dn[:, :seam] == 9000).all()
    assert (scenes[0].dn[:, seam:] == 11000).all()
    assert not scenes[0].mask.any()
    assert (scenes[1].mask[: seam - 20] == sensors.FILL).all()
    assert not scenes[1].mask[seam - 20 :].any()


def test_a_clouded_pixel_is_its_neighbours(made):
    """Of two items of one overpass the first is clouded in its left half: there the second counts, numbers and mask."""
    first = landsat_layers(np.full((60, 60), 9000, np.uint16))
    first["qa_pixel"][:, :30] = 8
    second = landsat_layers(np.full((60, 60), 11000, np.uint16))
    made.add("one", "landsat-8-9", "2020-05-01T05:00:00Z", first, CRS, CORNER)
    made.add("two", "landsat-8-9", "2020-05-01T05:00:24Z", second, CRS, CORNER)
    (scene,) = scenes_of(made.settings(VALLEY, "landsat-8-9"))
    assert not scene.mask.any()
    assert scene.missing_fraction == 0
    assert set(np.unique(scene.dn[1])) == {9000, 11000}
    middle = scene.dn.shape[2] // 2
    assert (scene.dn[:, :, : middle - 2] == 11000).all()
    assert (scene.dn[:, :, middle + 2 :] == 9000).all()


def test_clouds_decide_what_is_read(made, caplog):
    values = 9000 + np.arange(3600, dtype=np.uint16).reshape(60, 60)
    layers = landsat_layers(values)
    for name, month, clouds in (("clear", 5, 20.0), ("cloudy", 6, 20.1)):
        when = f"2020-{month:02d}-01T05:00:00Z"
        made.add(name, "landsat-8-9", when, layers, CRS, CORNER, **{"eo:cloud_cover": clouds})
    with caplog.at_level(logging.INFO):
        scenes = scenes_of(made.settings(VALLEY, "landsat-8-9", maxCloudPercent=20.0))
    assert [scene.id for scene in scenes] == ["clear"]
    assert "more cloud than maxCloudPercent" in caplog.text


def test_only_scenes_made_alike_are_taken_back(made, tmp_path):
    values = 9000 + np.arange(3600, dtype=np.uint16).reshape(60, 60)
    layers = landsat_layers(values)
    made.add("scene", "landsat-8-9", "2020-05-01T05:00:00Z", layers, CRS, CORNER)
    cfg = made.settings(VALLEY, "landsat-8-9")
    scenes_of(cfg)
    folder = cfg.folder / "rawData"
    header = next(pickles.read_pickles(folder / "2020.pkl"))
    assert take_back(folder, tmp_path / "other", "0" * 16) == 0
    assert take_back(folder, tmp_path / "alike", header["made_with"]) == 1


def test_scan_line_gaps_of_landsat_7_are_masked_and_counted(made):
    values = np.full((60, 60), 9000, np.uint16)
    values[::4] = 0
    made.add(
        "gaps",
        "landsat-4-5-7",
        "2010-05-01T05:00:00Z",
        landsat_layers(values, oli=False),
        CRS,
        CORNER,
        platform="landsat-7",
    )
    scene = scenes_of(made.settings(VALLEY, "landsat-4-5-7"))[0]
    assert scene.platform == "landsat-7"
    assert scene.missing_fraction == pytest.approx(0.25, abs=0.02)
    assert ((scene.mask == sensors.FILL) == (scene.dn[1] == 0)).all()
    assert np.isnan(scene.reflectance("green")).mean() == pytest.approx(scene.missing_fraction)


def sentinel_layers(number: int, size: int = 180) -> dict[str, np.ndarray]:
    """Return the assets of a clear Sentinel-2 scene of 1800 m: 10 m, 20 m and 60 m files."""
    fine, half, coarse = (
        np.full((size // part, size // part), number, np.uint16) for part in (1, 2, 6)
    )
    return {
        "B02": fine,
        "B03": fine,
        "B04": fine,
        "B8A": half,
        "B11": half,
        "B12": half,
        "B01": coarse,
        "SCL": np.full(half.shape, 11, np.uint8),
    }


SENTINEL_SIZES = dict.fromkeys(("B02", "B03", "B04"), 10.0) | dict.fromkeys(
    ("B8A", "B11", "B12", "SCL"), 20.0
)
SENTINEL_SIZES |= {"B01": 60.0}
TILE = 500_040.0, 3_550_020.0


def test_sentinel_bands_of_all_sizes_come_onto_one_grid(made):
    """Before baseline 04.00 and after: the same reflectance, though the numbers differ by 1000."""
    made.add(
        "old",
        "sentinel-2",
        "2020-05-01T05:00:00Z",
        sentinel_layers(4000),
        CRS,
        TILE,
        SENTINEL_SIZES,
        **{"s2:processing_baseline": "02.14", "platform": "Sentinel-2A"},
    )
    made.add(
        "new",
        "sentinel-2",
        "2023-05-01T05:00:00Z",
        sentinel_layers(5000),
        CRS,
        TILE,
        SENTINEL_SIZES,
        **{"s2:processing_baseline": "05.09", "platform": "Sentinel-2B"},
    )
    scenes = scenes_of(made.settings(VALLEY, "sentinel-2", pixelSize=10.0))
    assert [scene.platform for scene in scenes] == ["sentinel-2a", "sentinel-2b"]
    for scene in scenes:
        assert not scene.mask.any()
        for band in scene.bands:
            assert scene.reflectance(band) == pytest.approx(0.4)


def test_hls_of_both_kinds_and_landsat_go_into_one_series(made):
    """Three sensors, three scalings, one reflectance; each scene is marked with its platform."""
    layers = landsat_layers(np.full((60, 60), 25455, np.uint16))
    made.add("L8", "landsat-8-9", "2020-05-01T05:00:00Z", layers, CRS, CORNER)
    for name, sensor, platform in (
        ("HL", "hls-landsat", "Landsat 9"),
        ("HS", "hls-sentinel", "Sentinel-2A"),
    ):
        layers = {
            key: np.full((60, 60), 5000, np.int16) for key in sensors.find(sensor).bands.values()
        }
        layers["Fmask"] = np.full((60, 60), 1 << 4, np.uint8)
        made.add(
            name,
            sensor,
            f"202{len(made.items)}-06-01T05:00:00Z",
            layers,
            CRS,
            (500_040.0, 3_550_020.0),
            platform=platform,
        )
    scenes = scenes_of(made.settings(VALLEY, "landsat-8-9,hls-landsat,hls-sentinel"))
    assert [scene.platform for scene in scenes] == ["landsat-8", "landsat-9", "sentinel-2a"]
    for scene in scenes:
        assert scene.reflectance("green")[5:-5, 5:-5] == pytest.approx(0.5, abs=1e-4)
    assert scenes[0].scale != scenes[1].scale


def test_missing_assets_are_no_failure_unless_needed(made, caplog):
    """Without coastal and qa_radsat a scene is read; without swir16 it is left out, with the reason."""
    values = np.full((60, 60), 9000, np.uint16)
    layers = landsat_layers(values)
    made.add("whole", "landsat-8-9", "2020-05-01T05:00:00Z", layers, CRS, CORNER)
    thin = {key: layer for key, layer in layers.items() if key not in ("coastal", "qa_radsat")}
    made.add("thin", "landsat-8-9", "2020-05-17T05:00:00Z", thin, CRS, CORNER)
    dark = {key: layer for key, layer in layers.items() if key != "swir16"}
    made.add("dark", "landsat-8-9", "2020-06-02T05:00:00Z", dark, CRS, CORNER)
    with caplog.at_level(logging.INFO):
        scenes = scenes_of(made.settings(VALLEY, "landsat-8-9"))
    assert [scene.id for scene in scenes] == ["whole", "thin"]
    assert np.isnan(scenes[1].reflectance("coastal")).all()
    assert "no asset swir16" in caplog.text


# ── Bad input ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_unknown_sensor(settings):
    with pytest.raises(
        GlacierError, match=r"unknown sensor 'landsat'; known: landsat-8-9, landsat-4-5-7"
    ):
        dataAPI.run(settings(sensor="landsat"))


def test_box_larger_than_memory_says_the_size(settings):
    with pytest.raises(
        GlacierError, match=r"boundingBox is \d+ x \d+ px of 0.5 m: .* need [\d.]+ GB of memory"
    ):
        dataAPI.run(settings(boundingBox=[70.0, 30.0, 75.0, 35.0], pixelSize=0.5))


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>hello</html>",
        b"{}",
        b"[]",
        b"null",
        b'{"type": "Feature"}',
        b'"text"',
        b'{"type": "Catalog", "id": "x", "stac_version": "1.0.0", "links": []}',
    ],
)
def test_server_that_is_no_stac_api(settings, answer, tmp_path):
    """One line with the address and what to give instead, whatever it answers."""
    (tmp_path / "index").write_bytes(answer)
    with (
        CogServer(tmp_path) as server,
        pytest.raises(GlacierError, match=f"{server.address}/index") as caught,
    ):
        dataAPI.run(settings(source=f"{server.address}/index"))
    assert "\n" not in str(caught.value)


def test_server_that_does_not_answer(settings, monkeypatch):
    monkeypatch.setattr(web, "FIRST_PATIENCE", 0.5)
    with pytest.raises(GlacierError, match="the STAC API http://127.0.0.1:1/stac does not answer"):
        dataAPI.run(settings(source="http://127.0.0.1:1/stac"))


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")  # odc-geo uses what shapely and affine deprecate
def test_odc_stac_reads_the_same_pixels(settings, catalogue):
    """The peer of this stage, on the same grid: every band and quality file of every scene is equal."""
    odc_stac = pytest.importorskip(
        "odc.stac", reason="odc-stac is not installed: requirements-test.txt"
    )
    from odc.geo.geobox import GeoBox

    cfg = settings()
    scenes = scenes_of(cfg)
    grid = read_grid(cfg)
    items = {
        item.id: item for item in pystac.Catalog.from_file(str(catalogue)).get_items(recursive=True)
    }
    bands = [*scenes[0].bands, "qa_pixel"]
    peer = odc_stac.load(
        [items[scene.id] for scene in scenes],
        bands=bands,
        groupby="id",
        nodata=0,
        geobox=GeoBox(grid.shape, rasterio.Affine(*grid.transform), grid.crs),
    )
    for index, scene in enumerate(scenes):
        for band in scene.bands:
            assert np.array_equal(scene.dn[scene.bands.index(band)], peer[band].values[index]), (
                f"{scene.id} {band}"
            )
        clear = peer["qa_pixel"].values[index] & 0b11111 == 0
        assert np.array_equal(clear, scene.mask & ~np.uint8(sensors.SATURATED) == 0)


@pytest.mark.parametrize(
    ("name", "properties", "tier", "rmse"),
    [
        ("LC08_L2SP_147038_20200501_02_T1", {}, "T1", None),
        ("LC08_L2SP_147038_20200501_20200820_02_T2_SR", {}, "T2", None),
        ("scene", {"landsat:collection_category": "RT"}, "RT", None),
        ("scene", {"accuracy:geometric_rmse": 7.5}, "", 7.5),
        ("scene", {"landsat:geometric_rmse_model": 12}, "", 12.0),
        ("scene", {"geometric_rmse": None}, "", None),
    ],
)
def test_tier_and_geometric_error_go_into_the_scene(made, name, properties, tier, rmse):
    layers = landsat_layers(np.full((60, 60), 9000, np.uint16))
    made.add(name, "landsat-8-9", "2020-05-01T05:00:00Z", layers, CRS, CORNER, **properties)
    (scene,) = scenes_of(made.settings(VALLEY, "landsat-8-9"))
    assert scene.tier == tier
    assert scene.geometric_rmse == pytest.approx(rmse if rmse else np.nan, nan_ok=True)
