"""Valleys of a region: one weather, whose departures fade as told, and the ideal forecast that follows from it."""

from datetime import date, timedelta

import numpy as np
import pytest
import rasterio

import config
from config import Config
from demo import makeGlacier, scene
from demo.ideal import IdealForecast
from demo.weather import LOCAL, MEMORY, REGIONAL, fading, valley_weather
from glacier import distribution
from glacier.ground import ndsi

X = distribution.thresholds(ndsi=True)


def test_departures_fade_with_their_memory():
    """After MEMORY days 1 / e of a departure is left, and the spread is as told."""
    values = fading(np.random.default_rng(0), 200_000, 100.0)
    assert values.std() == pytest.approx(100, rel=0.03)
    lag = round(MEMORY)
    left = np.corrcoef(values[:-lag], values[lag:])[0, 1]
    assert left == pytest.approx(np.exp(-1), abs=0.04)
    assert 30 <= MEMORY <= 60


def test_valleys_share_their_region_and_no_other():
    """The correlation of two valleys is the regional part of the variance."""
    years = (1900, 2299)
    weathers = [valley_weather(years, seed, valley) for seed, valley in ((0, 1), (0, 2), (1, 1))]
    series = [weather.departures for weather in weathers]
    shared = REGIONAL**2 / (REGIONAL**2 + LOCAL**2)
    assert np.corrcoef(series[0], series[1])[0, 1] == pytest.approx(shared, abs=0.03)
    assert abs(np.corrcoef(series[0], series[2])[0, 1]) < 0.1
    assert series[0].std() == pytest.approx(weathers[0].spread, rel=0.05)


def test_outlook_is_what_comes_on_average():
    weather = valley_weather((1900, 2299), 0, 1)
    first = weather.first
    days = [first + timedelta(days=day) for day in range(0, 140_000, 200)]
    later = [day + timedelta(days=20) for day in days]
    outlooks = np.array([weather.outlook(*pair) for pair in zip(days, later, strict=True)])
    came = np.array([weather.on(day) for day in later])
    surprises = (came - outlooks[:, 0]) / outlooks[:, 1]
    assert surprises.std() == pytest.approx(1, abs=0.08)
    assert abs(surprises.mean()) < 0.1


@pytest.fixture(scope="module")
def region(tmp_path_factory):
    """A home with two small valleys of a region."""
    home = tmp_path_factory.mktemp("region")
    words = ["--name=hill", "--glaciers=2", "--size=64", "--years=2018,2018", "--scenesPerYear=6"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLACIER_HOME", str(home))
        settings = config.load(makeGlacier.Settings, [*words, "--cloudiness=0"])
        assert makeGlacier.run(settings) == 0
    return home


def valley(home, monkeypatch, number):
    monkeypatch.setenv("GLACIER_HOME", str(home))
    return config.load(Config, name=f"hill{number}")


def test_valleys_differ_in_ground_and_share_dates_and_weather(region, monkeypatch):
    cfgs = [valley(region, monkeypatch, number) for number in (1, 2)]
    truths = [makeGlacier.read_truth(cfg.folder / "archive") for cfg in cfgs]
    assert (truths[0].elevation != truths[1].elevation).any()
    weathers = [makeGlacier.read_weather(cfg.folder / "archive") for cfg in cfgs]
    assert np.corrcoef(*(weather.departures for weather in weathers))[0, 1] > 0.5
    assert [cfg.stepsPerYear for cfg in cfgs] == [12, 12]


def ideal(cfg):
    """Return the ideal forecast on the whole archive's grid."""
    truth = makeGlacier.read_truth(cfg.folder / "archive")
    return IdealForecast(cfg, truth.elevation.shape, tuple(truth.transform)[:6], X), truth


def index_of(cfg, name):
    """Return the snow index (H, W) of a scene as delivered."""
    bands = []
    for band in ("green", "swir16"):
        with rasterio.open(cfg.folder / "archive" / name / f"{band}.tif") as file:
            bands.append(file.read(1) * scene.SCALE + scene.OFFSET)
    return ndsi(*bands)


def test_the_ideal_forecast_knows_the_rules(region, monkeypatch):
    """With the true departure the index is that of the scene, up to its shift and noise."""
    cfg = valley(region, monkeypatch, 1)
    best, truth = ideal(cfg)
    day, name = truth.dates[3], truth.ids[3]
    index = best.index(day, best.weather.on(day))
    inner = (slice(4, -4), slice(4, -4))
    assert np.nanmedian(np.abs(index - index_of(cfg, name))[inner]) < 0.05


def test_the_ideal_forecast_is_surer_the_nearer(region, monkeypatch):
    """Known on the day before, the snow line is all but certain; half a year before it is any year's."""
    cfg = valley(region, monkeypatch, 1)
    best, truth = ideal(cfg)
    day = truth.dates[3]
    step = date(day.year, day.month, 1)
    spreads = []
    for known in (step - timedelta(days=1), date(day.year, 1, 1)):
        F = best.distribution(known, step)
        assert F.shape == (len(X), 1, *truth.elevation.shape)
        assert (np.diff(F, axis=0) >= 0).all()
        spreads.append(distribution.variance(F, X).mean())
    assert spreads[0] < 0.7 * spreads[1]
