"""Climatology of pixels whose season and noise are known: bias, coverage, what it reads and what it leaves out."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from glacier import climatology, distribution
from glacier.climatology import UNIT, WIDTH, Climatology, without_year
from glacier.seasons import step_middle, year_step

X = distribution.thresholds(ndsi=True)
NOISE = 0.15
PIXELS = Path(__file__).resolve().parents[2] / "shared" / "data" / "pixels"
CLEAR = (0, 1, 3)  # cfmask: land, water, snow


def season(days: np.ndarray) -> np.ndarray:
    """The mean of the index over the year: snow in winter, bare ground in summer."""
    return 0.2 + 0.5 * np.cos(2 * np.pi * (days - 20) / 365.25)


def pixels(years: int, every: int = 12, side: int = 8, seed: int = 0, seen: float = 0.6):
    """Return values (T, 1, side, side), observed and dates: the season, an offset a pixel and noise of known size."""
    random = np.random.default_rng(seed)
    dates = [step_middle(1990 * every + step, every) for step in range(years * every)]
    days = np.array([day.timetuple().tm_yday for day in dates])
    offsets = np.linspace(-0.15, 0.15, side)[:, None]
    noise = NOISE * random.standard_normal((len(dates), 1, side, side))
    values = season(days)[:, None, None, None] + offsets + noise
    observed = random.random((len(dates), side, side)) < seen
    return values.astype(np.float32), observed, dates


def forecasts(values, observed, dates, first: int):
    """Yield F, truth and observed of every step from `first` on, each from the steps before it."""
    model = Climatology(values, observed, dates, X)
    for step in range(first, len(values)):
        yield model.distribution(dates[step], range(step)), values[step], observed[step]


@pytest.mark.parametrize(("years", "first"), [(5, 2), (30, 26)])
def test_bias_and_coverage_of_known_pixels(years, first):
    """Values as they are drawn lie in the 90 % band nine times of ten; the mean is the season's."""
    inside, error, ideal, score = [], [], [], []
    values, observed, dates = pixels(years)
    expected = season(np.array([day.timetuple().tm_yday for day in dates]))
    offsets = np.linspace(-0.15, 0.15, 8)[:, None]
    parts = forecasts(values, observed, dates, first * 12)
    for step, (F, truth, seen) in enumerate(parts, first * 12):
        low, high = (distribution.quantile(F, p, X) for p in (0.05, 0.95))
        inside.append(((truth >= low) & (truth <= high))[:, seen])
        error.append((distribution.mean(F, X) - truth)[:, seen])
        known = norm.cdf(X[:, None, None, None], expected[step] + offsets[None], NOISE)
        known = np.broadcast_to(known, F.shape).astype(np.float32)
        ideal.append(distribution.crps(known, truth, X)[:, seen])
        score.append(distribution.crps(F, truth, X)[:, seen])
    coverage = np.concatenate(inside, axis=1).mean()
    assert 0.87 < coverage < 0.97
    assert abs(np.concatenate(error, axis=1).mean()) < 0.02
    ratio = np.concatenate(score, axis=1).mean() / np.concatenate(ideal, axis=1).mean()
    assert ratio < (1.25 if years < 10 else 1.06)


def test_functions_rise_from_0_to_1():
    values, observed, dates = pixels(4, side=6)
    model = Climatology(values, observed, dates, X)
    F = model.distribution(date(1994, 1, 20), range(len(values)))
    assert (np.diff(F, axis=0) >= 0).all()
    assert (F >= 0).all()
    assert F[-1] == pytest.approx(1)


def test_later_steps_are_not_read():
    """Noise in the future leaves F byte-equal."""
    values, observed, dates = pixels(5)
    before = Climatology(values, observed, dates, X).distribution(dates[40], range(40))
    values[40:] = np.random.default_rng(1).uniform(-1, 1, values[40:].shape)
    observed[40:] = ~observed[40:]
    after = Climatology(values, observed, dates, X).distribution(dates[40], range(40))
    assert before.tobytes() == after.tobytes()


def test_only_the_steps_named_count():
    """Leave one year out: the values of the target's own twelve months change nothing."""
    values, observed, dates = pixels(5)
    days = np.array([day.toordinal() for day in dates])
    past = without_year(days, dates[30])
    months = np.abs(np.arange(len(values)) - 30)
    assert set(np.flatnonzero(months > 6)) <= set(past) <= set(np.flatnonzero(months > 5))
    before = Climatology(values, observed, dates, X).distribution(dates[30], past)
    values[25:36] = 0.9
    after = Climatology(values, observed, dates, X).distribution(dates[30], past)
    assert before.tobytes() == after.tobytes()


def test_blocks_are_the_same_as_the_whole():
    values, observed, dates = pixels(4, side=70)
    model = Climatology(values, observed, dates, X)
    whole = model.distribution(dates[40], range(40))
    block = model.distribution(dates[40], range(40), slice(3, 20), slice(50, 70))
    assert block == pytest.approx(whole[:, :, 3:20, 50:70], abs=1e-6)


def test_a_past_too_large_to_keep_gives_the_same():
    values, observed, dates = pixels(3, side=12)
    place = (slice(2, 9), slice(3, 12))
    kept = Climatology(values, observed, dates, X).distribution(dates[30], range(30), *place)
    lean = Climatology(values, observed, dates, X, keep_bins=False)
    read = lean.distribution(dates[30], range(30), *place)
    assert lean.bins is None
    assert kept.tobytes() == read.tobytes()


def test_the_kept_out_block_tells_its_neighbours_nothing():
    """The region's function and the offsets leave it out; its pixels have their own past and the region's function."""
    values, observed, dates = pixels(4)
    kept_out = np.zeros((8, 8), bool)
    kept_out[:3, :3] = True
    before = Climatology(values, observed, dates, X, kept_out).distribution(dates[40], range(40))
    values[:, :, :3, :3] = 0.99
    after = Climatology(values, observed, dates, X, kept_out).distribution(dates[40], range(40))
    assert (before[:, :, ~kept_out] == after[:, :, ~kept_out]).all()
    assert (before[:, :, kept_out] != after[:, :, kept_out]).any()


def test_a_season_never_seen_is_told_by_its_neighbours_in_the_year():
    """July was never observed; June and August say that there is no snow, winter is not asked."""
    values, observed, dates = pixels(5)
    july = np.array([day.month == 7 for day in dates])
    observed[july] = False
    model = Climatology(values, observed, dates, X)
    F = model.distribution(date(1995, 7, 16), range(len(values)))
    middle = distribution.quantile(F, 0.5, X)
    truth = season(np.array([197])) + np.linspace(-0.15, 0.15, 8)
    assert middle[0].mean(axis=1) == pytest.approx(truth, abs=0.15)


@pytest.mark.parametrize(("years", "least", "most"), [(1, 0.02, 0.4), (40, 0, 0.02)])
def test_one_summer_does_not_say_that_snow_never_falls_then(years, least, most):
    """Every summer was bare: after one of them the rest of the year still counts, after forty it hardly does."""
    dates = [step_middle(1980 * 4 + step, 4) for step in range(4 * years)]
    snow = np.array([0.9, 0.9, 0.0, 0.9] * years, np.float32)
    values = np.broadcast_to(snow[:, None, None, None], (4 * years, 1, 3, 3)).copy()
    model = Climatology(values, np.ones((4 * years, 3, 3), bool), dates, X)
    day = np.array([dates[2].toordinal() + 10])
    region = model.region(day, np.arange(4 * years))[0, :, 0]
    assert least <= 1 - region[np.searchsorted(X, 0.5)] < most


def test_without_a_past_nothing_is_claimed():
    values, observed, dates = pixels(2)
    F = Climatology(values, observed, dates, X).distribution(dates[0], [])
    assert F[:, 0, 0, 0] == pytest.approx(np.linspace(0, 1, len(X)))


def test_a_plain_ensemble_by_hand():
    """Two values of weights 1 and 3; a pixel without any is missing."""
    values = np.array([0.1, 0.5], np.float32).reshape(2, 1, 1, 1) * np.ones(
        (1, 1, 1, 2), np.float32
    )
    observed = np.array([[[True, False]], [[True, False]]])
    model = Climatology(values, observed, [date(2000, 1, 1), date(2001, 1, 1)], X)
    F = model.ensemble(np.array([UNIT, 3 * UNIT]), [0, 1])
    levels = np.searchsorted(X, np.float32([0.05, 0.1, 0.45, 0.5]))
    assert F[levels, 0, 0, 0].tolist() == [0, 0.25, 0.25, 1]
    assert np.isnan(F[:, 0, 0, 1]).all()


def landsat_pixel(path: Path, every: int):
    """Return values (T, 1, 1, 1), observed and dates of a pixel's snow index, the median of each step's clear dates."""
    table = np.genfromtxt(path, delimiter=",")
    green, swir = table[:, 2], table[:, 5]
    valid = (
        np.isin(table[:, 8], CLEAR) & (green > 0) & (swir > 0) & (np.maximum(green, swir) < 16000)
    )
    index = ((green - swir) / (green + swir))[valid]
    days = [date.fromordinal(int(day)) for day in table[valid, 0]]
    steps = np.array([year_step(day, every) for day in days])
    first, last = int(steps.min()), int(steps.max())
    values = np.zeros((last - first + 1, 1, 1, 1), np.float32)
    observed = np.zeros((len(values), 1, 1), bool)
    for step in np.unique(steps):
        values[step - first] = np.median(index[steps == step])
        observed[step - first] = True
    return values, observed, [step_middle(step, every) for step in range(first, last + 1)]


@pytest.mark.skipif(not PIXELS.is_dir(), reason="the real pixels of ../shared/data are not here")
def test_a_narrower_kernel_pays_with_many_years(monkeypatch):
    """Over the last ten years of real pixels of three decades the rule wins against the fixed width."""
    scores = {"rule": 0.0, "fixed": 0.0}
    rules = {"rule": climatology.width, "fixed": lambda days: WIDTH}
    names = ("fmask_fail", "normal", "persistent_snow")
    series = [landsat_pixel(next(PIXELS.glob(f"*_{name}.csv")), 12) for name in names]
    for name, rule in rules.items():
        monkeypatch.setattr(climatology, "width", rule)
        for values, observed, dates in series:
            model = Climatology(values, observed, dates, X)
            last_decade = np.flatnonzero(
                observed[:, 0, 0] & (np.arange(len(values)) >= len(values) - 120)
            )
            for step in last_decade:
                F = model.distribution(dates[step], range(step))
                scores[name] += distribution.crps(F, values[step], X).item()
    assert scores["rule"] < scores["fixed"]


def test_the_kernel_keeps_its_width_up_to_twenty_years():
    days = np.arange(0, 40 * 365)
    assert climatology.width(days[: 19 * 365]) == WIDTH
    assert climatology.width(days) == pytest.approx(WIDTH / 2, rel=0.01)
    assert climatology.width(days[:0]) == WIDTH
