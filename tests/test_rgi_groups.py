"""A group of glaciers from an outline file: a folder each, with an outline and enough stable ground in its box."""

import numpy as np
import pytest
import shapely
from conftest import ROOT
from test_outlines import write

import config
import dataAPI
from config import GlacierError
from glacier import outlines, region
from glacier.grid import make_grid

REAL = ROOT.parent / "shared/data/movement/rgi/17_rgi60_glacier_outlines.gpkg"
SQUARE = shapely.box(77.0, 32.0, 77.1, 32.1)  # 9.4 x 11.1 km
SMALL = shapely.box(77.5, 32.0, 77.51, 32.01)  # 1.05 km2


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def two(home):
    """A file with a large and a small glacier, a.1 and b.2."""
    return write(home / "two.geojson", [SQUARE, SMALL], ["a.1", "b.2"], crs="EPSG:4326")


def made(*words):
    """Run dataAPI.py with flags; return the settings of the glaciers that are there then."""
    cfg = config.load(dataAPI.Settings, ["--name=alps", *words])
    assert dataAPI.run(cfg) == 0
    names = sorted(path.parent.name for path in cfg.folder.glob("*/glacier.yaml"))
    return {name: config.load(config.Config, name=f"alps/{name}") for name in names}


def test_each_has_a_box_with_stable_ground_and_its_outline(home, two):
    glaciers = made(f"--outlines={home / 'two.geojson'}", "--years=2015,2020")
    assert list(glaciers) == ["a.1", "b.2"]
    large = glaciers["a.1"]
    west, south, east, north = large.boundingBox
    ice = 0.1 * 0.1 / ((east - west) * (north - south))
    assert 0.5 < ice <= 0.6
    assert (west + east) / 2 == pytest.approx(77.05)
    assert large.years == (2015, 2020)
    mask = outlines.outline_mask(large.iceOutline, make_grid(large.boundingBox, 100, 0))
    assert 0.01 * mask.sum() == pytest.approx(104.8, rel=0.01)  # pixels of 0.01 km2
    height = (glaciers["b.2"].boundingBox[3] - glaciers["b.2"].boundingBox[1]) * region.DEGREE
    assert height == pytest.approx(0.01 * region.DEGREE + 2 * region.PADDING, abs=5)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--minArea=2"], ["a.1"]),
        (["--minArea=1"], ["a.1", "b.2"]),
        (["--ids=b.2"], ["b.2"]),
        (["--boundingBox=77.4,31.9,77.6,32.1"], ["b.2"]),
    ],
)
def test_a_choice_is_by_area_id_and_box(home, two, words, names):
    assert list(made(f"--outlines={home / 'two.geojson'}", *words)) == names


def test_ice_of_neighbours_is_no_stable_ground(home):
    ring = shapely.difference(SQUARE.buffer(0.05), SQUARE)
    alone, beside = shapely.STRtree([SQUARE]), shapely.STRtree([SQUARE, ring])
    smaller, share = region.box_of(SQUARE, alone)
    larger, share_beside = region.box_of(SQUARE, beside)
    assert min(share, share_beside) >= region.STABLE
    assert larger[0] < smaller[0] - 0.02
    everywhere = shapely.STRtree([shapely.box(70, 25, 85, 40)])
    assert region.box_of(SQUARE, everywhere)[1] == 0


def test_areas_are_those_of_a_sphere():
    assert region.areas(np.array([SMALL, SQUARE])) == pytest.approx([1.0485, 104.8], rel=2e-3)


def test_settings_that_are_there_stay(home, two):
    path = home / "datasets/alps/a.1/glacier.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("stepsPerYear: 12\n")
    assert made(f"--outlines={home / 'two.geojson'}")["a.1"].stepsPerYear == 12


def test_what_is_no_group_is_refused(home, two):
    source = f"--outlines={home / 'two.geojson'}"
    write(home / "same.geojson", [SQUARE, SMALL], ["x/1", "x/2"], crs="EPSG:4326")
    for words, reason in (
        ((source, "--minArea=1000"), "none of the 2 outlines"),
        ((source, "--ids=a.9"), "did you mean a.1"),
        ((f"--outlines={home / 'missing.shp'}",), "cannot be read"),
        ((f"--outlines={home / 'same.geojson'}",), "without a slash"),
        ((source, "--name=alps/x"), "as --name=alps"),
    ):
        with pytest.raises(GlacierError, match=reason):
            made(*words)


def test_real_outlines_of_the_inventory(home):
    if not REAL.is_file():
        pytest.skip(f"{REAL} is not there")
    glaciers = made(f"--outlines={REAL}", "--minArea=3")
    assert 3 < len(glaciers) < 47
    tree = shapely.STRtree(region.read(str(REAL)).geometries)
    for glacier in glaciers.values():
        assert region.stable_share(glacier.boundingBox, tree) >= region.STABLE
