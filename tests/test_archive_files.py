"""Files that are not what an archive promises: each costs its own scene, with the reason, and no other."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from archives import Archive, box_around, landsat_layers, scenes_of

import dataAPI
from demo.cog_server import CogServer
from glacier.satellites import reading
from glacier.storage import runner

CRS, CORNER = "EPSG:32643", (500_025.0, 3_550_005.0)
VALLEY = box_around(CRS, *CORNER, 900, 900)
SIDE = 30
AFFINE = rasterio.Affine(30, 0, CORNER[0], 0, -30, CORNER[1])


@pytest.fixture
def made(tmp_path, monkeypatch) -> Archive:
    """An archive of two good scenes and a bad one."""
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    monkeypatch.setattr(dataAPI, "describe", lambda *arguments: [])  # no pictures here
    archive = Archive(tmp_path / "made")
    layers = landsat_layers(np.full((SIDE, SIDE), 9000, np.uint16))
    thin = {key: layers[key] for key in ("green", "swir16", "qa_pixel")}
    for month, name in enumerate(("first", "bad", "last"), 5):
        archive.add(name, "landsat-8-9", f"2020-0{month}-01T05:00:00Z", thin, CRS, CORNER)
    return archive


def write(path: Path, values: np.ndarray, **profile) -> None:
    """Write a GeoTIFF in the place of a file."""
    path.unlink(missing_ok=True)
    plain = {"crs": CRS, "transform": AFFINE, "nodata": None} | profile
    height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", dtype=values.dtype, count=1, height=height, width=width, **plain
    ) as file:
        file.write(values[None])


def lost(cfg, code: int = 3) -> str:
    """Run stage 1; return why the bad scene is lost. The good ones are there."""
    scenes = scenes_of(cfg, code)
    assert [scene.id for scene in scenes if scene.id != "bad"] == ["first", "last"]
    assert all((scene.dn[0] == 9000).all() for scene in scenes if scene.id != "bad")
    counts = runner.read_manifest(cfg.folder / "rawData")["counts"]
    return counts["lost_scenes"].get("bad", "")


def spoiled(value: float, dtype: str) -> np.ndarray:
    numbers = np.full((SIDE, SIDE), 9000, dtype)
    numbers[15, 15] = value
    return numbers


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("profile", "says"),
    [
        ({"crs": None}, "no map projection"),
        ({"transform": rasterio.Affine(0, 0, 5e5, 0, 0, 3.5e6)}, "transform leads nowhere"),
        ({"transform": rasterio.Affine(np.nan, 0, 5e5, 0, -30, 3.5e6)}, "transform leads nowhere"),
        ({"transform": rasterio.Affine(30, 0, np.inf, 0, -30, 3.5e6)}, "transform leads nowhere"),
        ({"transform": rasterio.Affine(30, 60, 5e5, -15, -30, 3.5e6)}, "transform leads nowhere"),
        ({"transform": None}, "no transform"),
    ],
)
@pytest.mark.parametrize("key", ["green", "qa_pixel"])
def test_a_file_that_lies_nowhere(made, key, profile, says):
    write(made.folder / "bad" / f"{key}.tif", np.full((SIDE, SIDE), 9000, np.uint16), **profile)
    assert says in lost(made.settings(VALLEY, "landsat-8-9"))


@pytest.mark.parametrize(
    ("value", "dtype", "says"),
    [
        (np.nan, "float32", "NaN or infinite"),
        (np.inf, "float32", "NaN or infinite"),
        (-np.inf, "float64", "NaN or infinite"),
        (2**32 - 1, "uint32", "beyond 16 bits"),
        (70_000, "int32", "beyond 16 bits"),
        (-40_000, "int32", "beyond 16 bits"),
        (1e30, "float32", "beyond 16 bits"),
    ],
)
def test_numbers_that_no_sensor_writes(made, value, dtype, says):
    write(made.folder / "bad" / "swir16.tif", spoiled(value, dtype))
    assert says in lost(made.settings(VALLEY, "landsat-8-9"))


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint32", "float64"])
def test_the_same_numbers_in_wider_types_are_the_same_scene(made, dtype):
    for key in ("green", "swir16"):
        write(made.folder / "bad" / f"{key}.tif", spoiled(0, dtype))
    cfg = made.settings(VALLEY, "landsat-8-9")
    assert lost(cfg, 0) == ""
    scene = list(dataAPI.read_scenes(cfg))[1]
    assert set(np.unique(scene.dn[0])) == {0, 9000}
    assert scene.dn.dtype == np.uint16


def test_a_files_own_number_for_missing_is_missing(made):
    """NaN that the file declares, or -1: fill, and no reflectance."""
    write(made.folder / "bad" / "green.tif", spoiled(np.nan, "float32"), nodata=np.nan)
    write(made.folder / "bad" / "swir16.tif", spoiled(-1, "int16"), nodata=-1)
    cfg = made.settings(VALLEY, "landsat-8-9")
    assert lost(cfg, 0) == ""
    scene = list(dataAPI.read_scenes(cfg))[1]
    assert np.isnan(scene.reflectance("green")).sum() == 1
    assert np.isnan(scene.reflectance("swir16")).sum() == 1


@pytest.mark.parametrize(
    ("told", "value", "dtype"),
    [
        (65535, 65535, "uint16"),
        (-9999, -9999, "float32"),
        ("nan", np.nan, "float32"),
        ("-1", -1, "int16"),
    ],
)
@pytest.mark.parametrize("shift", [0, 10])
def test_the_number_for_missing_that_only_the_item_tells(made, told, value, dtype, shift):
    """It is missing in copied and in resampled files; it does not leak into its neighbours."""
    path = made.folder / "bad" / "bad.json"
    content = json.loads(path.read_text())
    for key in ("green", "swir16"):
        moved = AFFINE @ rasterio.Affine.translation(shift / 30, 0)
        write(path.with_name(f"{key}.tif"), spoiled(value, dtype), transform=moved)
        content["assets"][key]["raster:bands"] = [{"nodata": told}]
    path.write_text(json.dumps(content))
    cfg = made.settings(VALLEY, "landsat-8-9")
    assert lost(cfg, 0) == ""
    scene = list(dataAPI.read_scenes(cfg))[1]
    assert scene.resampled == (shift > 0)
    green = scene.reflectance("green")
    assert 1 <= np.isnan(green).sum() <= 4
    assert np.nanmax(np.abs(green - (9000 * 2.75e-5 - 0.2))) < 1e-6


@pytest.mark.parametrize("told", [True, False])
def test_reflectance_in_floating_numbers(made, told):
    """Read as it is where the item says so; refused where a scale of digital numbers is all there is."""
    path = made.folder / "bad" / "bad.json"
    content = json.loads(path.read_text())
    for key in ("green", "swir16"):
        write(path.with_name(f"{key}.tif"), np.full((SIDE, SIDE), 0.3, np.float32))
        if told:
            content["assets"][key]["raster:bands"] = [{"scale": 1, "offset": 0}]
    path.write_text(json.dumps(content))
    cfg = made.settings(VALLEY, "landsat-8-9")
    fault = lost(cfg, 0 if told else 3)
    assert ("makes no reflectance" in fault) != told
    if told:
        scene = list(dataAPI.read_scenes(cfg))[1]
        assert scene.reflectance("green") == pytest.approx(0.3, abs=2e-5)


RIGHT, BOTTOM = CORNER[0] + 30 * SIDE, CORNER[1] - 30 * SIDE


@pytest.mark.parametrize(
    ("turn", "transform"),
    [
        (np.flipud, rasterio.Affine(30, 0, CORNER[0], 0, 30, BOTTOM)),
        (np.fliplr, rasterio.Affine(-30, 0, RIGHT, 0, -30, CORNER[1])),
        (np.rot90, rasterio.Affine(0, -30, RIGHT, -30, 0, CORNER[1])),
        (np.transpose, rasterio.Affine(0, 30, CORNER[0], -30, 0, CORNER[1])),
    ],
)
def test_files_whose_rows_run_another_way_lie_where_they_belong(made, turn, transform):
    """From the south, from the east, turned by 90 degrees: each pixel keeps its value and its place."""
    values = np.arange(9000, 9000 + SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE)
    for key in ("green", "swir16"):
        write(made.folder / "first" / f"{key}.tif", values)
        turned = np.ascontiguousarray(turn(values))
        write(made.folder / "bad" / f"{key}.tif", turned, transform=transform)
    first, turned_scene, _ = scenes_of(made.settings(VALLEY, "landsat-8-9"))
    assert turned_scene.resampled
    assert np.array_equal(first.dn, turned_scene.dn)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_quality_of_another_kind(made, dtype):
    path = made.folder / "bad" / "qa_pixel.tif"
    write(path, np.full((SIDE, SIDE), -64 if dtype == "int32" else 64, dtype))
    assert "the quality file holds" in lost(made.settings(VALLEY, "landsat-8-9"))


def virtual(path: Path) -> None:
    target = path.parents[1] / "first" / "green.tif"
    path.write_text(
        f'<VRTDataset rasterXSize="30" rasterYSize="30"><VRTRasterBand dataType="UInt16" band="1">'
        f"<SimpleSource><SourceFilename>{target}</SourceFilename></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )


def no_bands(path: Path) -> None:
    path.write_bytes(b"II*\0\x08\0\0\0\0\0\0\0\0\0")


def short(path: Path) -> None:
    path.write_bytes((path.with_name("swir16.tif")).read_bytes()[:300])


def zeros(path: Path) -> None:
    path.write_bytes(bytes(5000))


@pytest.mark.parametrize("spoil", [virtual, no_bands, short, zeros, os.mkfifo, os.mkdir])
def test_a_file_that_is_no_image(made, spoil):
    path = made.folder / "bad" / "green.tif"
    path.unlink()
    spoil(path)
    assert lost(made.settings(VALLEY, "landsat-8-9")).startswith("cannot be read: green: ")


@pytest.mark.parametrize(
    "href", ["/vsicurl/http://127.0.0.1:1/x.tif", "/dev/zero", "gopher://x/y", "x" * 5000, ""]
)
def test_an_address_that_leads_to_no_file(made, href):
    path = made.folder / "bad" / "bad.json"
    content = json.loads(path.read_text())
    content["assets"]["green"]["href"] = href
    path.write_text(json.dumps(content))
    cfg = made.settings(VALLEY, "landsat-8-9")
    assert lost(cfg, 3 if href else 0).startswith("cannot be read: green: " if href else "")


def test_files_with_s3_addresses_only_are_left_out(made, caplog):
    path = made.folder / "bad" / "bad.json"
    content = json.loads(path.read_text())
    content["assets"]["green"]["href"] = "s3://bucket/elsewhere.tif"
    path.write_text(json.dumps(content))
    with caplog.at_level("INFO"):
        lost(made.settings(VALLEY, "landsat-8-9"), 0)
    assert "its files have s3:// addresses only; set AWS_ACCESS_KEY_ID" in caplog.text


def test_s3_addresses_are_read_with_an_account(made, monkeypatch):
    """As of any storage that speaks like Amazon's; the account stands in the environment."""
    with CogServer(made.folder) as server:
        monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
        monkeypatch.setenv("AWS_HTTPS", "NO")
        monkeypatch.setenv("AWS_VIRTUAL_HOSTING", "FALSE")
        monkeypatch.setenv("AWS_S3_ENDPOINT", server.address.removeprefix("http://"))
        path = made.folder / "bad" / "bad.json"
        content = json.loads(path.read_text())
        for key, asset in content["assets"].items():
            asset["href"] = f"s3://bad/{key}.tif"
        path.write_text(json.dumps(content))
        assert len(scenes_of(made.settings(VALLEY, "landsat-8-9"))) == 3
    assert any("bad/green" in path for (path, _) in server.requests)


# ── Files behind an account ──────────────────────────────────────────────────────────────────────────────────────


def test_a_page_to_sign_in_in_the_place_of_a_file_is_told_at_once(made):
    with CogServer(made.folder) as server:
        for name in ("first", "bad", "last"):
            path = made.folder / name / f"{name}.json"
            content = json.loads(path.read_text())
            for key, asset in content["assets"].items():
                asset["href"] = f"{server.address}/{name}/{key}.tif"
            path.write_text(json.dumps(content))
        (made.folder / "bad" / "qa_pixel.tif").write_bytes(
            b"<!DOCTYPE html><html>Sign in</html>" * 40
        )
        assert "asks to sign in" in lost(made.settings(VALLEY, "landsat-8-9"))
        assert sum(count for (path, _), count in server.requests.items() if "bad/qa" in path) < 8


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_answers_that_waiting_does_not_mend(code):
    fault = f"HTTP response code: {code}"
    assert reading.is_final(fault, "https://example.com/x.tif")
    assert reading.is_final(fault, f"https://a{reading.BLOBS}/x.tif") == (code != 403)
    assert ("account" in reading.explained(fault, "")) == (code in (401, 403))
