"""Whether sensors agree: a bias that was put in is found, told, and taken out."""

import re

import numpy as np
import pytest
from archives import Archive, box_around, landsat_layers

import dataAPI
from glacier import agreement
from glacier.agreement import Overlap
from glacier.scenes import read_scenes
from glacier.storage import runner

CRS, CORNER = "EPSG:32643", (500_025.0, 3_550_005.0)
VALLEY = box_around(CRS, *CORNER, 1800, 1800)
SENSORS = "landsat-8-9", "landsat-4-5-7"
BIAS = 0.04


@pytest.fixture
def made(tmp_path, monkeypatch) -> Archive:
    """Ten days on which both satellites pass within two days; Landsat 7 sees a snow index 0.04 higher, with noise.

    A fifth of the ground is snow that comes or goes between the two.
    """
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    monkeypatch.setattr(dataAPI, "describe", lambda *arguments: [])  # no pictures here
    archive = Archive(tmp_path / "made")
    rng = np.random.default_rng(0)
    ground = rng.uniform(-0.3, 0.2, (60, 60))
    for number in range(10):
        for step, sensor in enumerate(SENSORS):
            index = ground + BIAS * step + 0.01 * rng.standard_normal(ground.shape)
            index[:12] = 0.8 if (number + step) % 2 else -0.1
            day = 1 + 2 * number % 27
            when = f"2010-{1 + number:02d}-{day + 2 * step:02d}T05:00:00Z"
            name = f"{sensor}-{number}"
            properties = {"platform": "landsat-7"} if step else {}
            archive.add(name, sensor, when, layers_of(index), CRS, CORNER, **properties)
    return archive


def layers_of(index: np.ndarray) -> dict[str, np.ndarray]:
    """Return green, swir16 and quality of a scene with a snow index (H, W); swir16 reflects 0.2."""
    green = 0.2 * (1 + index) / (1 - index)
    numbers = {"green": green, "swir16": np.full(index.shape, 0.2)}
    layers = {
        key: np.rint((values + 0.2) / 2.75e-5).astype(np.uint16) for key, values in numbers.items()
    }
    return layers | {"qa_pixel": landsat_layers(layers["green"])["qa_pixel"]}


def test_the_bias_between_sensors_is_told_and_taken_out(made, caplog):
    cfg = made.settings(VALLEY, ",".join(SENSORS))
    with caplog.at_level("INFO"):
        assert dataAPI.run(cfg) == 0
    biases = agreement.compare_sensors(read_scenes(cfg), SENSORS)
    assert [one.sensor for one in biases] == list(SENSORS)
    assert biases[1].bias == pytest.approx(BIAS, abs=0.002)
    assert biases[1].error < 0.003
    assert biases[1].overlaps == 10
    line = r"snow index of landsat-4-5-7 less landsat-8-9 +\+0\.0[34]\d+ \+- 0\.00\d+ \(10 pairs\)"
    assert re.search(line, caplog.text)
    assert "landsat-4-5-7" in str(runner.read_manifest(cfg.folder / "rawData")["counts"]["sensors"])

    plain = list(read_scenes(cfg))
    even = list(read_scenes(made.settings(VALLEY, ",".join(SENSORS), harmonise=True)))
    for scene, harmonised in zip(plain, even, strict=True):
        difference = scene.snow_index() - harmonised.snow_index()
        expected = biases[1].bias if scene.sensor == "landsat-4-5-7" else 0.0
        assert np.nanmedian(difference) == pytest.approx(expected, abs=1e-6)
    left = agreement.compare_sensors(even, SENSORS)[1]
    assert left.bias == pytest.approx(0, abs=1e-6)


def test_one_sensor_is_compared_with_nothing(made):
    cfg = made.settings(VALLEY, SENSORS[0])
    assert dataAPI.run(cfg) == 0
    assert not (cfg.folder / "rawData" / "sensors.json").exists()


def test_a_third_sensor_ties_two_that_never_meet():
    """a - b = 0.02, b - c = 0.03: c lies 0.05 below a; d meets nobody."""
    overlaps = [Overlap("a", "b", 0.02 + noise) for noise in (-0.001, 0, 0.001)]
    overlaps += [Overlap("c", "b", -0.03 + noise) for noise in (-0.002, 0, 0.002)]
    biases = {one.sensor: one for one in agreement.find_biases(overlaps, ["a", "b", "c", "d"])}
    assert biases["b"].bias == pytest.approx(-0.02)
    assert biases["c"].bias == pytest.approx(-0.05)
    assert biases["c"].error > biases["b"].error > 0
    assert np.isnan(biases["d"].bias)
    assert agreement.table_of(list(biases.values()), "a")[2] == (
        "snow index of d less a",
        "no overlap",
    )


def test_snow_that_fell_between_two_scenes_is_no_disagreement():
    rng = np.random.default_rng(1)
    first = rng.uniform(-0.3, 0.3, (40, 40))
    second = first + 0.02
    second[:19] = 0.8
    assert agreement.median_difference(second, first) == pytest.approx(0.02)
    assert np.isnan(agreement.median_difference(second[:19], first[:19]))
