"""The NetCDF file of a glacier holds what its stages made, at the same places and dates."""

import dataclasses
import os
import re
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
from toy import settings

import glacier
from config import Config, GlacierError
from glacier import aligned, export
from glacier.grid import Grid
from glacier.storage import geotiff
from glacier.velocity import fields, velocities

NODES = rasterio.Affine(120.0, 0.0, 600015.0, 0.0, -120.0, 3500025.0)
PIXELS = rasterio.Affine(30.0, 0.0, 600015.0, 0.0, -30.0, 3500025.0)


def copy_toy(toy_home, folder):
    """Copy the toy glacier without the file that other tests may have written."""
    ignored = shutil.ignore_patterns("*.nc")
    shutil.copytree(toy_home / "datasets", folder / "datasets", ignore=ignored)


@pytest.fixture
def home(toy_home, tmp_path, monkeypatch):
    """The toy glacier, copied: with a velocity field and a forecast."""
    copy_toy(toy_home, tmp_path)
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    speed = np.arange(12 * 12, dtype=np.float32).reshape(1, 12, 12)
    velocity = tmp_path / "datasets" / "toy" / "movement" / "velocity.tif"
    geotiff.write(velocity, speed, "EPSG:32643", NODES, ["speed"], {}, ["m/yr"])
    spans = ("2020-01-01/2020-03-31", "2020-04-01/2020-06-30")
    tags = [
        {"DATES": span, "QUANTITY": quantity, "CHANNEL": "ndsi"}
        for span in spans
        for quantity in ("p_snow", "q05")
    ]
    bands = np.arange(4, dtype=np.float32)[:, None, None] + np.zeros((4, 48, 48), np.float32)
    names = [f"{tag['QUANTITY']} {tag['DATES']}" for tag in tags]
    forecast = tmp_path / "DeepLearning" / "runs" / "toy-LSTM-001" / "forecast" / "forecast.tif"
    geotiff.write(forecast, bands, "EPSG:32643", PIXELS, names, {}, ["1"] * 4, tags)
    return tmp_path


def test_everything_is_in_one_file(home):
    cfg = settings(Config)
    series = aligned.read_composites(cfg)
    path = export.write(cfg)
    assert path == home / "datasets" / "toy" / "toy.nc"
    opened = glacier.open("toy")
    assert np.array_equal(opened.composites.ndsi, series.values[:, 0])
    assert np.array_equal(opened.composites.observed, series.observed)
    first = opened.composites.time_bounds.values[0].astype("datetime64[D]").astype(str)
    assert first.tolist() == ["2013-01-01", "2013-04-01"]
    assert opened.composites.x.values[:2].tolist() == [600030, 600060]
    assert opened.forecast.p_snow_ndsi[:, 0, 0].values.tolist() == [0, 2]
    assert opened.forecast.q05_ndsi[:, 5, 7].values.tolist() == [1, 3]
    until = opened.forecast.forecast_time_bounds.values[-1].astype("datetime64[D]").astype(str)
    assert until.tolist() == ["2020-04-01", "2020-07-01"]
    assert opened.velocity.speed.sel(x=600075 + 120 * 3, y=3499965 - 120 * 2) == 12 * 2 + 3
    assert opened.velocity.speed.units == "m year-1"


def test_the_file_is_written_again_when_a_part_is_newer(home):
    cfg = settings(Config)
    path = export.write(cfg)
    before = path.stat().st_mtime_ns
    export.write(cfg)
    assert path.stat().st_mtime_ns == before
    manifest = cfg.folder / "aligned" / "manifest.yaml"
    os.utime(manifest, ns=(before + 10**9, before + 10**9))
    export.write(cfg)
    assert path.stat().st_mtime_ns != before


def test_without_results_there_is_nothing_to_open(tmp_path, monkeypatch):
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    with pytest.raises(GlacierError, match=r"alignment\.py --name=nowhere"):
        glacier.open("nowhere")


def test_what_is_not_made_yet_is_told(toy_home, tmp_path, monkeypatch):
    copy_toy(toy_home, tmp_path)
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    export.write(settings(Config))
    opened = glacier.open("toy")
    assert opened.composites.sizes["time"] == 28
    with pytest.raises(GlacierError, match=r"run movement\.py first"):
        opened.velocity  # noqa: B018
    with pytest.raises(GlacierError, match=r"run DeepLearning/forecast\.py first"):
        opened.forecast  # noqa: B018


def test_a_cloud_optimised_geotiff(tmp_path):
    """Tiled, with overviews, statistics and tags; the pixels are those put in; nothing else is left behind."""
    bands = np.random.default_rng(0).random((2, 700, 600), np.float32)
    bands[0, :5] = np.nan
    tags = [{"DATES": "2020-01-01/2020-03-31"}, {"DATES": "2020-04-01/2020-06-30"}]
    names = ["winter", "spring"]
    path = geotiff.write_cog(
        tmp_path / "cog.tif", bands, "EPSG:32643", PIXELS, names, {"A": "1"}, ["1", "1"], tags
    )
    with rasterio.open(path) as file:
        assert np.array_equal(file.read(), bands, equal_nan=True)
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(1)
        assert file.descriptions == ("winter", "spring")
        assert file.tags(2)["DATES"] == "2020-04-01/2020-06-30"
        assert float(file.tags(2)["STATISTICS_MEAN"]) == pytest.approx(0.5, abs=0.01)
        assert np.isnan(file.nodata)
    assert [file.name for file in tmp_path.iterdir()] == ["cog.tif"]


# ── Colours for QGIS ─────────────────────────────────────────────────────────────────────────────────────────────


def shown_in(path):
    """What the style beside a GeoTIFF shows: the descriptions of its bands; its stops cover what these hold."""
    root = ElementTree.parse(path.with_suffix(".qml")).getroot()
    assert root.tag == "qgis"
    renderer = root.find("pipe/rasterrenderer")
    with rasterio.open(path) as file:
        if renderer.get("type") == "multibandcolor":
            numbers = [int(renderer.get(f"{name}Band")) for name in ("red", "green", "blue")]
            return [file.descriptions[number - 1] for number in numbers]
        number = int(renderer.get("band"))
        values, names = file.read(number), [file.descriptions[number - 1]]
    items = renderer.findall("rastershader/colorrampshader/item")
    stops = [float(item.get("value")) for item in items]
    assert stops == sorted(set(stops))
    assert all(re.fullmatch("#[0-9a-f]{6}", item.get("color")) for item in items)
    assert stops[0] <= np.nanmin(values) + 1e-6
    assert stops[-1] >= np.nanmax(values) - 1e-6
    return names


def test_qgis_shows_the_speed_of_a_velocity_field(tmp_path):
    rng = np.random.default_rng(0)
    velocity = rng.normal(0, 40, (2, 12, 12))
    velocity[:, 0, 0] = 3000  # one wild node
    field = velocities.Field(velocity, np.ones((2, 12, 12)), np.ones((12, 12)))
    nodes = velocities.Nodes.over(Grid("EPSG:32643", tuple(PIXELS)[:6], (48, 48)), 4)
    margin = np.zeros((12, 12), bool)
    path = fields.write_geotiff(tmp_path / "velocity.tif", field, margin, nodes, {})
    fields.write_style(path, field)
    assert shown_in(path) == ["speed"]
    colours = re.findall('value="([^"]+)" color="([^"]+)"', path.with_suffix(".qml").read_text())
    assert colours[-1][1] == colours[-2][1]  # the wild node takes no colour from the others
    assert float(colours[-2][0]) < 3500
    nothing = velocities.Field(velocity * np.nan, field.error, field.count)
    fields.write_style(path, nothing)
    with rasterio.open(path) as file:
        assert file.descriptions[0] == "speed"


@pytest.mark.parametrize("channels", [("ndsi",), ("red", "green", "blue")])
def test_qgis_shows_the_last_composite(home, channels):
    series = aligned.read_composites(settings(Config))
    values = np.repeat(series.values - 0.3, len(channels), axis=1)
    series = dataclasses.replace(series, values=values, channels=channels)
    path = aligned.write_map(home, series)
    period = "2019-10-01/2019-12-31"
    assert shown_in(path) == [f"{channel} {period}" for channel in channels]
