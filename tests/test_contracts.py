"""Every file that datasets/README.md names: it is there, it is what the table says, and it agrees with the others."""

import csv
import json
import re
from datetime import date

import netCDF4
import numpy as np
import pytest
import rasterio
import torch
import yaml
from conftest import ROOT, run_folder

from glacier.robust import nan_nmad
from glacier.seasons import year_step

# what the README's commands on the demo glacier do not make
ONLY_WHERE_ASKED_FOR = {
    "outline.geojson",
    "rawData/sensors.json",
    "movement/itslive.json",
    "<group>/summary.csv",
    "<group>/summary.html",
}
SIZES = {
    "aligned/scenes.npy": "float32 (T, C, H, W)",
    "aligned/composites.npy": "float32 (T, C, H, W)",
    "aligned/observed.npy": "bool (T, H, W)",
    "aligned/seen.npy": "uint16 (T, H, W)",
    "aligned/spread.npy": "float32 (T, C, H, W)",
    "context/elevation.npy": "float32 (H, W)",
    "movement/pairs.npy": "float32 (pairs, 3, h, w)",
    "movement/stable.npy": "bool (h, w)",
    "patches/images/<window>.pt": "float32 (rows, columns, steps, C, patchSize, patchSize)",
    "patches/targets/<window>.pt": "float32 (rows, columns, steps, C, patchSize, patchSize)",
    "patches/observed/<window>.pt": "bool (rows, columns, horizon, patchSize, patchSize)",
}


def table(head: str) -> dict[str, str]:
    """Return the rows of a table of datasets/README.md: each file it names, and what is said of its shape."""
    text = (ROOT / "datasets" / "README.md").read_text()
    rows = {}
    for line in text[text.index(head) :].splitlines()[2:]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        first, *others = re.findall(r"`([^`]+)`", cells[0])
        rows[first] = cells[2]
        for name in others:  # they leave out the folders that they share with the first
            missing = first.count("/") - name.count("/")
            folders = first.split("/")[:missing] if missing > 0 else []
            rows["/".join([*folders, name])] = cells[2]
    return rows


STAGES = table("| under `datasets/<name>/`")
RUN = table("| under `DeepLearning/runs/<run>/`")


@pytest.fixture(scope="module")
def glacier(finished_home):
    return finished_home / "datasets" / "small"


def files_of(folder, name: str) -> list:
    """Return the files that a name of the table stands for."""
    for word, stands_for in (("<year>", "[0-9]*"), ("<window>", "*"), ("<name>", "small")):
        name = name.replace(word, stands_for)
    return [path for path in folder.glob(name.rstrip("/")) if not path.name.startswith(".")]


@pytest.mark.parametrize("name", sorted(set(STAGES) - ONLY_WHERE_ASKED_FOR))
def test_what_the_table_names_is_there(glacier, name):
    if name.endswith("forecast.qml"):
        assert files_of(run_folder(glacier.parents[1]), "forecast/forecast.qml")
        return
    assert files_of(glacier, name)


@pytest.mark.parametrize("name", sorted(RUN))
def test_what_the_table_names_of_a_run_is_there(finished_home, name):
    assert files_of(run_folder(finished_home), name)


def test_the_table_names_every_file_that_a_stage_writes(glacier):
    named = set()
    for name in STAGES:
        named.update(files_of(glacier, name))
    for stage in ("rawData", "context", "aligned", "patches", "movement"):
        manifest = yaml.safe_load((glacier / stage / "manifest.yaml").read_text())
        for output in manifest["outputs"]:
            path = glacier / stage / output
            assert path in named or path.parent in named, path


@pytest.mark.parametrize("name", SIZES)
def test_arrays_have_the_kind_and_the_axes_of_the_table(glacier, name):
    path = files_of(glacier, name)[0]
    whole = torch.load(path, weights_only=True).numpy() if name.endswith(".pt") else np.load(path)
    kind, axes = SIZES[name].split(" ", 1)
    assert kind in STAGES[name]
    assert axes in STAGES[name]
    assert str(whole.dtype) == kind
    assert whole.ndim == axes.count(",") + 1


def test_composites_are_medians_of_the_scenes_of_their_step(glacier):
    """Where a pixel was observed; how many saw it, and how far these differ, stand beside it."""
    folder = glacier / "aligned"
    scenes, composites = np.load(folder / "scenes.npy"), np.load(folder / "composites.npy")
    observed, seen = np.load(folder / "observed.npy"), np.load(folder / "seen.npy")
    spread = np.load(folder / "spread.npy")
    records = json.loads((folder / "scenes.json").read_text())["scenes"]
    content = json.loads((folder / "composites.json").read_text())
    assert len(records) == len(scenes)
    assert len(content["dates"]) == len(composites)
    steps = np.array([year_step(date.fromisoformat(record["date"]), 4) for record in records])
    counts = np.array([record["in_composites"] for record in records])
    for number, day in enumerate(content["dates"]):
        members = scenes[(steps == year_step(date.fromisoformat(day), 4)) & counts]
        assert content["counts"][number] == len(members)
        if not len(members):
            assert not observed[number].any()
            continue
        median, scatter, count = nan_nmad(members[:, 0])
        there = np.isfinite(median)
        assert np.array_equal(observed[number], there)
        assert np.array_equal(composites[number, 0][there], median[there])
        assert np.array_equal(seen[number], count)
        assert np.array_equal(np.isfinite(spread[number, 0]), count > 1)
        assert np.array_equal(spread[number, 0][count > 1], scatter[count > 1])
    assert np.isfinite(composites).all()


def test_quality_and_scenes_tell_the_same(glacier):
    """The shift of the middle in metres is that of the matrix, to the east and, rows running south, to the north."""
    folder = glacier / "aligned"
    content = json.loads((folder / "scenes.json").read_text())
    quality = json.loads((folder / "quality.json").read_text())["scenes"]
    side = np.load(folder / "scenes.npy", mmap_mode="r").shape[-1]
    middle = np.array([(side - 1) / 2, (side - 1) / 2, 1])
    for scene, record in zip(content["scenes"], quality, strict=True):
        assert (scene["id"], scene["date"]) == (record["id"], record["date"])
        assert scene["accepted"] == record["accepted"]
        x, y, w = np.array(scene["matrix"]) @ middle
        right, down = x / w - middle[0], y / w - middle[1]
        assert record["shift_east_m"] == pytest.approx(30 * right, abs=1)
        assert record["shift_north_m"] == pytest.approx(-30 * down, abs=1)


def test_the_velocity_series_and_the_points_lie_where_the_field_lies(glacier):
    folder = glacier / "movement"
    with rasterio.open(folder / "velocity.tif") as file:
        layers = dict(zip(file.descriptions, file.read(), strict=True))
        transform, bounds = file.transform, file.bounds
    assert layers["speed"] == pytest.approx(np.hypot(layers["vx"], layers["vy"]), nan_ok=True)
    pairs, stable = np.load(folder / "pairs.npy"), np.load(folder / "stable.npy")
    record = json.loads((folder / "movement.json").read_text())
    assert len(record["pairs"]) == len(pairs)
    assert stable.shape == pairs.shape[2:] == layers["speed"].shape
    assert np.abs(np.nanmedian(layers["vx"][stable])) < 0.01
    known = np.isfinite(layers["speed"])
    assert np.array_equal(known, layers["pairs"] >= 3)
    with netCDF4.Dataset(folder / "velocity_series.nc") as series:
        x, y = series["x"][:], series["y"][:]
        assert x[0] == pytest.approx(transform.c + transform.a / 2)
        assert y[0] == pytest.approx(transform.f + transform.e / 2)
        assert series["speed"].shape[1:] == layers["speed"].shape
        speed = np.hypot(series["vx"][:].filled(np.nan), series["vy"][:].filled(np.nan))
        assert series["speed"][:].filled(np.nan) == pytest.approx(speed, rel=1e-4, nan_ok=True)
    with open(folder / "points.csv") as file:
        rows = list(csv.DictReader(file))
    assert rows
    west, south, east, north = rasterio.warp.transform_bounds("EPSG:32643", "EPSG:4326", *bounds)
    for row in rows:
        assert west < float(row["longitude"]) < east
        assert south < float(row["latitude"]) < north
        low, speed, high = (float(row[f"{name}_m_per_yr"]) for name in ("low", "speed", "high"))
        assert low <= speed <= high
        assert row["start"] < row["end"]


def test_a_forecast_agrees_with_its_members_and_with_its_snow(finished_home):
    """Steps follow the last composite; P(snow) is the share of members with snow, and its sum the area."""
    folder = run_folder(finished_home) / "forecast"
    with rasterio.open(folder / "forecast.tif") as file:
        tags = [file.tags(number) for number in file.indexes]
        bands = file.read()
    by_quantity = {}
    for tag, band in zip(tags, bands, strict=True):
        by_quantity.setdefault(tag["QUANTITY"], []).append(band)
    quantiles = [np.array(by_quantity[name]) for name in ("q05", "q25", "median", "q75", "q95")]
    assert (np.diff(quantiles, axis=0) >= -1e-6).all()
    with rasterio.open(folder / "members.tif") as file:
        spans = np.array([file.tags(number)["DATES"] for number in file.indexes])
        members = file.read()
    with open(folder / "snow.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["quantity"] == "snow_covered_area"]
    areas = {row["first_day"]: row for row in rows if row["part"] == "forecast"}
    days = [tag["DATES"] for tag in tags if tag["QUANTITY"] == "p_snow"]
    for span, probability in zip(days, by_quantity["p_snow"], strict=True):
        share = (members[spans == span] > 0.4).mean(axis=0)
        assert share.mean() == pytest.approx(probability.mean(), abs=0.05)
        row = areas[span[:10]]
        assert float(row["p5"]) <= probability.sum() * 9e-4 <= float(row["p95"])
