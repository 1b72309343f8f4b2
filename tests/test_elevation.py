"""The elevation of a demo glacier, and of files as glaciologists have them, on the glacier's grid."""

import numpy as np
import pytest
import rasterio

import config
import dataAPI
from config import Config, GlacierError
from demo import makeGlacier
from glacier.elevation import LOWEST, mosaic, read_elevation
from glacier.grid import Grid
from glacier.scenes import read_grid

GRID = Grid("EPSG:32643", (30.0, 0.0, 600015.0, 0.0, -30.0, 3500025.0), (20, 24))


def write_model(path, values, grid=GRID, nodata=None, left=0):
    """Write heights (H, W) from `left` columns on as a GeoTIFF."""
    affine = grid.affine @ rasterio.Affine.translation(left, 0)
    height, width = values.shape
    profile = {"driver": "GTiff", "count": 1, "crs": grid.crs, "transform": affine}
    size = {"height": height, "width": width, "dtype": values.dtype, "nodata": nodata}
    with rasterio.open(path, "w", **profile, **size) as file:
        file.write(values, 1)
    return str(path)


@pytest.fixture(scope="module")
def valley(tmp_path_factory):
    """A folder with a small demo glacier whose scenes are read: its home."""
    home = tmp_path_factory.mktemp("valley")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLACIER_HOME", str(home))
        words = {"name": "valley", "size": 64, "years": (2013, 2013), "scenesPerYear": 6}
        makeGlacier.run(config.load(makeGlacier.Settings, **words))
        assert dataAPI.run(config.load(Config, name="valley")) == 0
    return home


def test_elevation_of_the_archive_is_the_truth(valley, monkeypatch):
    monkeypatch.setenv("GLACIER_HOME", str(valley))
    cfg = config.load(Config, name="valley")
    heights, grid = read_elevation(cfg), read_grid(cfg)
    truth = makeGlacier.read_truth(cfg.folder / "archive")
    step = ~truth.transform @ grid.affine
    rows = slice(round(step.f), round(step.f) + grid.shape[0])
    columns = slice(round(step.c), round(step.c) + grid.shape[1])
    np.testing.assert_array_equal(heights, truth.elevation[rows, columns])


def test_elevation_is_no_scene_and_is_read_once(valley, monkeypatch, caplog):
    monkeypatch.setenv("GLACIER_HOME", str(valley))
    cfg = config.load(Config, name="valley")
    file = cfg.folder / "context" / "elevation.npy"
    before = file.stat().st_mtime_ns
    assert dataAPI.run(cfg) == 0
    assert file.stat().st_mtime_ns == before
    dates = [scene.date for scene in dataAPI.read_scenes(cfg)]
    assert min(dates).year == 2013


def test_no_elevation_on_request(valley, monkeypatch):
    monkeypatch.setenv("GLACIER_HOME", str(valley))
    assert read_elevation(config.load(Config, name="valley", elevation="None")) is None


def test_a_file_of_ones_own(valley, monkeypatch, tmp_path):
    monkeypatch.setenv("GLACIER_HOME", str(valley))
    grid = read_grid(config.load(Config, name="valley"))
    heights = np.linspace(3000, 4000, grid.shape[0] * grid.shape[1], dtype=np.float32)
    path = write_model(tmp_path / "own.tif", heights.reshape(grid.shape), grid)
    cfg = config.load(Config, ["--name=valley", f"--elevation={path}"])
    assert dataAPI.run(cfg) == 0
    np.testing.assert_array_equal(read_elevation(cfg), heights.reshape(grid.shape))
    with pytest.raises(GlacierError, match=r"nowhere.tif does not exist"):
        dataAPI.run(config.load(Config, ["--name=valley", "--elevation=nowhere.tif"]))


def test_missing_heights_are_nan_and_tiles_join(tmp_path):
    """Two tiles, the second with no-data numbers; a strip that neither covers is unknown."""
    west = np.full((20, 10), 3000, np.int16)
    east = np.full((20, 12), 3100, np.int16)
    east[0] = -32768
    east[1] = -9999
    files = [
        write_model(tmp_path / "west.tif", west, nodata=-32768),
        write_model(tmp_path / "east.tif", east, left=10),
    ]
    heights = mosaic(files, GRID)
    assert (heights[:, :10] == 3000).all()
    assert np.isnan(heights[:2, 10:]).all()
    assert (heights[2:, 10:22] == 3100).all()
    assert np.isnan(heights[:, 22:]).all()
    assert np.nanmin(heights) > LOWEST


def test_a_model_in_degrees_lies_where_it_should(tmp_path):
    """A plane that rises to the north, given in degrees, comes out as a plane to a metre."""
    west, south, east, north = rasterio.warp.transform_bounds(GRID.crs, "EPSG:4326", *GRID.bounds)
    side = 1 / 3600
    rows = int((north - south) / side) + 40
    columns = int((east - west) / side) + 40
    affine = rasterio.Affine(side, 0, west - 20 * side, 0, -side, north + 20 * side)
    latitudes = affine.f - side * (np.arange(rows) + 0.5)
    heights = np.repeat(1000 + 111_000 * (latitudes - south)[:, None], columns, axis=1)
    grid = Grid("EPSG:4326", tuple(affine[:6]), (rows, columns))
    answer = mosaic([write_model(tmp_path / "model.tif", heights.astype(np.float32), grid)], GRID)
    y = GRID.affine.f - 30 * (np.arange(20) + 0.5)
    x = np.full(20, GRID.affine.c + 15)
    _, expected = rasterio.warp.transform(GRID.crs, "EPSG:4326", x, y)
    assert answer[:, 0] == pytest.approx(1000 + 111_000 * (np.array(expected) - south), abs=1)
