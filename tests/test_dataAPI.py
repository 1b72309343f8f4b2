"""Scenes of an archive: the grid, the search, what is read, kept and left out."""
import json
import logging
import sys
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from rasterio.warp import transform_bounds

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import archive
import config
import dataAPI
import sensors
import store
from config import Config, GlacierError
from demo.makeGlacier import make_glacier

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
    box = json.loads((catalogue.parent / "collection.json").read_text())["extent"]["spatial"]["bbox"][0]

    def make(**keywords):
        given = {"name": "small", "source": str(catalogue), "boundingBox": box, "years": [2014, 2015],
                 "maxCloudPercent": 100.0, "maxMissingFraction": 0.9}
        return config.load(Config, [], **(given | keywords))
    return make


# ── The grid ─────────────────────────────────────────────────────────────────────────────────────────────────────

def test_grid_is_utm_on_landsats_pixel_edges_and_covers_the_box():
    grid = archive.make_grid(BOX, 30.0, 15.0)
    assert grid.crs == "EPSG:32643"
    assert (grid.transform[2] % 30, grid.transform[5] % 30) == (15, 15)
    west, south, east, north = transform_bounds("EPSG:4326", grid.crs, *BOX)
    height, width = grid.shape
    assert 0 <= west - grid.transform[2] < 30
    assert 0 <= grid.transform[5] - north < 30
    assert 0 <= grid.transform[2] + 30 * width - east < 30
    assert 0 <= south - grid.transform[5] + 30 * height < 30


# ── Search ───────────────────────────────────────────────────────────────────────────────────────────────────────

@pytest.mark.skipif(not PAGES.is_dir(), reason=f"no real answers in {PAGES}")
@pytest.mark.parametrize(("page", "sensor"), [
    ("items_landsat-c2-l2_page1_20250731.json", "landsat-8-9"),
    ("items_landsat-c2-l2-pc_20240417-19.json", "landsat-8-9"),
    ("items_sentinel-2-l2a-pc_20240417-19.json", "sentinel-2")])
def test_real_answers_of_the_planetary_computer_are_understood(page, sensor):
    """Every item has its date, platform, clouds, and the assets this sensor needs; L2SR items too."""
    content = json.loads((PAGES / page).read_text())
    row = sensors.find(sensor)
    for feature in content if isinstance(content, list) else content["features"]:
        item = archive.parse_item(pystac.Item.from_dict(feature))
        assert item.id == feature["id"]
        assert item.platform.lower() in row.platforms
        assert item.cloud_percent == feature["properties"]["eo:cloud_cover"]
        addresses = [item.hrefs[key] for key in (*row.bands.values(), *row.quality)]
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
    grid = dataAPI.read_grid(cfg)
    scenes = list(dataAPI.read_scenes(cfg))
    assert len(scenes) > 5
    assert [scene.date for scene in scenes] == sorted(scene.date for scene in scenes)
    for scene in scenes:
        with rasterio.open(catalogue.parent / scene.id / "green.tif") as file:
            window = rasterio.windows.from_bounds(*rasterio.transform.array_bounds(
                *grid.shape, rasterio.Affine(*grid.transform)), file.transform).round_offsets().round_lengths()
            assert np.array_equal(scene.dn[scene.bands.index("green")], file.read(1, window=window))
        values = scene.reflectance("green")
        assert np.isnan(values[scene.mask != 0]).all()
        assert np.isfinite(values[scene.mask == 0]).all()


def test_second_run_reads_nothing(settings, caplog):
    cfg = settings()
    dataAPI.run(cfg)
    made = {path.name: store.file_hash(path) for path in dataAPI.year_files(cfg)}
    with caplog.at_level(logging.INFO):
        assert dataAPI.run(cfg) == 0
    assert "up to date" in caplog.text
    assert made == {path.name: store.file_hash(path) for path in dataAPI.year_files(cfg)}


def test_dry_run_reads_nothing(settings, caplog):
    cfg = settings(dryRun=True)
    with caplog.at_level(logging.INFO):
        assert dataAPI.run(cfg) == 0
    assert "2014" in caplog.text
    assert not (cfg.folder / "rawData").exists()


def test_missing_pixels_decide_what_is_kept(settings):
    kept = {}
    for limit in (0.1, 0.9):
        cfg = settings(name=f"limit{limit}", maxMissingFraction=limit)
        dataAPI.run(cfg)
        kept[limit] = {scene.id: scene.missing_fraction for scene in dataAPI.read_scenes(cfg)}
    assert all(missing <= 0.1 for missing in kept[0.1].values())
    assert {name: missing for name, missing in kept[0.9].items() if missing <= 0.1} == kept[0.1]
    assert len(kept[0.1]) < len(kept[0.9])
