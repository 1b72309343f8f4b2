"""Baseline forecasts against series whose answer is known, and what they may not read."""

from datetime import date, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from DeepLearning.verification import baselines
from DeepLearning.verification.baselines import DampedPersistence, RegionalCarry, Ridge, shifted
from glacier import distribution
from glacier.climatology import Climatology, without_year

X = distribution.thresholds(ndsi=True)
EVERY, YEARS, SIDE = 12, 5, 6
WHOLE = slice(None)


class StandIn:
    """A glacier of composites alone: the parts of Glacier that baseline forecasts read."""

    sequence_length, horizon, x, shape = 3, 2, X, (SIDE, SIDE)

    def __init__(self, values, observed, kept_out=None):
        self.days = [
            date(2010, 1, 16) + timedelta(days=round(365.25 * step / EVERY))
            for step in range(len(values) + 12)
        ]
        self.series = SimpleNamespace(unclipped=values, observed=observed, steps_per_year=EVERY)
        days = self.days[: len(values)]
        self.base = SimpleNamespace(
            climatology=Climatology(values, observed, days, X, kept_out), distribution=self.known
        )
        starts = range(len(values) - self.sequence_length - self.horizon + 1)
        windows = [SimpleNamespace(start=start) for start in starts]
        self.patches = SimpleNamespace(windows=windows)

    def windows(self, part):
        return range(len(self.patches.windows))

    def middle(self, step):
        return self.days[step]

    def known(self, step, before, rows=WHOLE):
        climatology = self.base.climatology
        past = range(before or 0)
        if before is None:
            past = without_year(climatology.days, self.days[step])
        return climatology.distribution(self.days[step], past, rows)


def series(carry: float = 0.0, seed: int = 0):
    """Return values (T, 1, SIDE, SIDE) and observed: a season, and regional departures of which a part carries on."""
    random = np.random.default_rng(seed)
    steps = np.arange(EVERY * YEARS)
    departure = np.zeros(len(steps))
    for step in steps[1:]:
        departure[step] = carry * departure[step - 1] + 0.15 * random.standard_normal()
    usual = 0.2 + 0.4 * np.cos(2 * np.pi * steps / EVERY)
    noise = 0.05 * random.standard_normal((len(steps), 1, SIDE, SIDE))
    values = (usual + departure)[:, None, None, None] + noise
    observed = random.random((len(steps), SIDE, SIDE)) < 0.9
    return values.astype(np.float32), observed


def median(F):
    return distribution.quantile(F, 0.5, X)


@pytest.mark.parametrize("name", baselines.UNFITTED)
def test_no_baseline_reads_the_future(name):
    """Noise from the first target on leaves F byte-equal."""
    values, observed = series(0.7)
    answers = []
    for _ in range(2):
        baseline = baselines.unfitted(StandIn(values, observed))[name]
        answers.append(baseline.function(40, 41, WHOLE).tobytes())
        values, observed = values.copy(), observed.copy()
        values[40:] = np.random.default_rng(1).uniform(-1, 1, values[40:].shape)
        observed[40:] = ~observed[40:]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("name", baselines.UNFITTED | baselines.FITTED)
def test_each_answers_rising_functions_for_the_rows_asked_for(name):
    values, observed = series(0.7)
    glacier = StandIn(values, observed)
    baseline = (baselines.UNFITTED | baselines.FITTED)[name](glacier)
    place = SimpleNamespace(first=37, target=40, rows=slice(1, 4))
    F = baseline(torch.zeros(1), SimpleNamespace(place=place))
    assert F.shape == (1, 2, len(X), 1, 3, SIDE)
    assert F.dtype == torch.float32
    assert (F.diff(dim=2) >= 0).all()
    assert F.min() >= 0
    assert F[:, :, -1].numpy() == pytest.approx(1, abs=1e-6)
    whole = baseline.function(40, 41, WHOLE)
    assert F[0, 1].numpy() == pytest.approx(whole[:, :, 1:4], abs=1e-5)


def test_same_season_is_the_ensemble_of_the_same_step():
    values, observed = series()
    glacier = StandIn(values, observed)
    F = baselines.SameSeason(glacier).function(40, 40, WHOLE)
    row, column = np.argwhere(observed[[4, 16, 28]].all(axis=0))[0]
    earlier = values[[4, 16, 28], 0, row, column]
    by_hand = (earlier[:, None] <= X).mean(axis=0)
    assert F[:, 0, row, column] == pytest.approx(by_hand)


def test_an_ensemble_without_the_season_takes_the_whole_past():
    values, observed = series()
    observed[4::EVERY] = False
    glacier = StandIn(values, observed)
    F = baselines.SameSeason(glacier).function(40, 40, WHOLE)
    seen = observed[:40, 2, 2]
    by_hand = (values[:40, 0, 2, 2][seen, None] <= X).mean(axis=0)
    assert F[:, 0, 2, 2] == pytest.approx(by_hand)


def test_persistence_puts_its_median_on_the_last_composite():
    values, observed = series(0.7)
    F = baselines.Persistence(StandIn(values, observed)).function(40, 41, WHOLE)
    assert median(F) == pytest.approx(values[39], abs=0.06)


def test_a_region_with_more_snow_than_usual_has_more_snow_next_and_less_of_it_later():
    values, observed = series()
    plain = baselines.Climatology(StandIn(values, observed))
    values[39] += 0.3
    glacier = StandIn(values, observed)
    carried = [RegionalCarry(glacier).function(40, step, WHOLE) for step in (40, 43)]
    usual = [plain.function(40, step, WHOLE) for step in (40, 43)]
    more = [
        (distribution.mean(a, X) - distribution.mean(b, X)).mean()
        for a, b in zip(carried, usual, strict=True)
    ]
    assert more[0] > 0.02
    assert abs(more[1]) < 0.5 * more[0]


def test_carry_keeps_what_cannot_occur_out():
    function = np.array([0, 0, 0.2, 0.7, 1, 1], np.float32).reshape(-1, 1, 1, 1)
    answer = baselines.moved(function, np.full((6, 1, 1, 1), -2.0))
    assert answer.ravel()[[0, 1, 4, 5]].tolist() == [0, 0, 1, 1]
    assert (answer[2:4] < function[2:4]).all()


def test_a_shift_moves_all_quantiles():
    function = np.clip((X + 0.3) / 0.6, 0, 1).astype(np.float32).reshape(-1, 1, 1, 1)
    answer = shifted(function, np.full((1, 1, 1), 0.2), X)
    for p in (0.1, 0.5, 0.9):
        expected = distribution.quantile(function, p, X).item() + 0.2
        assert distribution.quantile(answer, p, X).item() == pytest.approx(expected, abs=0.03)


def test_a_shifted_function_is_read_off_between_thresholds():
    random = np.random.default_rng(0)
    function = np.sort(random.random((len(X), 1, 7, 9), np.float32), axis=0)
    function[-1] = 1
    shift = random.uniform(-2.2, 2.2, (1, 7, 9)).astype(np.float32)
    shift[0, 0] = X[:9]  # levels that are thresholds
    answer = shifted(function, shift, X)
    for row, column in np.ndindex(7, 9):
        levels = X - shift[0, row, column]
        expected = np.interp(levels, X, function[:, 0, row, column], left=0)
        expected[-1] = 1
        assert answer[:, 0, row, column] == pytest.approx(expected, abs=2e-5)


def test_fits_read_the_training_windows_alone():
    glacier = StandIn(*series())
    windows = {"train": [0, 1], "test": [40]}
    glacier.windows = windows.__getitem__
    assert list(DampedPersistence(glacier).training_targets()) == [(3, 0), (4, 1), (4, 0), (5, 1)]


def test_inputs_depart_from_what_was_known_before_them():
    """Noise from the first target on changes no departure of the inputs."""
    values, observed = series(0.7)
    departures = []
    for noise in (0, 1):
        later = values.copy()
        later[40:] += noise * np.random.default_rng(1).random(later[40:].shape, np.float32)
        fitted = DampedPersistence(StandIn(later, observed))
        departures.append(fitted.departures(40, WHOLE))
    assert np.array_equal(*departures)


@pytest.mark.parametrize("baseline", [DampedPersistence, Ridge])
def test_fits_find_what_carries_over(baseline):
    """A departure that carries on is forecast better than by climatology; without one little is lost."""
    for carry, lowest, highest in ((0.9, 0.1, 1.0), (0.0, -0.15, 0.15)):
        values, observed = series(carry)
        glacier = StandIn(values, observed)
        fit, plain = baseline(glacier), baselines.Climatology(glacier)
        sums = np.zeros(2)
        for step in range(24, len(values)):
            for place, forecast in enumerate((fit, plain)):
                F = forecast.function(step, step, WHOLE)
                sums[place] += distribution.crps(F, values[step], X).sum()
        assert lowest < 1 - sums[0] / sums[1] < highest


def test_the_ridge_is_the_same_in_blocks_of_rows(monkeypatch):
    """Sums of a few rows at a time: as large scenes are fitted."""
    values, observed = series(0.7)
    observed[:, :2] = False  # the first block sees nothing
    observed[7] = False
    glacier = StandIn(values, observed)
    at_once = Ridge(glacier)
    a_row = 4 * glacier.horizon * SIDE * (glacier.sequence_length + 2) ** 2
    monkeypatch.setattr(baselines, "SQUARES", 2 * a_row)
    in_blocks = Ridge(glacier)
    assert in_blocks.coefficients == pytest.approx(at_once.coefficients, abs=1e-5)
    rows = slice(3, 6)
    whole = in_blocks.function(30, 31, WHOLE)[..., rows, :]
    assert in_blocks.function(30, 31, rows) == pytest.approx(whole, abs=1e-6)


def test_damped_persistence_is_the_same_for_some_rows():
    values, observed = series(0.7)
    fit = DampedPersistence(StandIn(values, observed))
    rows = slice(3, 6)
    whole = fit.function(30, 31, WHOLE)[..., rows, :]
    assert fit.function(30, 31, rows) == pytest.approx(whole, abs=1e-6)


def test_damped_persistence_with_little_to_go_by_stays_near_climatology():
    """Departures of almost nothing, and targets far away, once made a factor of thousands."""
    values, observed = series()
    values[:] = 0.2 + 1e-4 * np.random.default_rng(0).standard_normal(values.shape)
    values[3::5] += 0.5
    factors = DampedPersistence(StandIn(values, observed)).factors
    assert np.abs(factors).max() < 1


def test_the_kept_out_block_is_not_fitted_on():
    values, observed = series(0.7)
    kept_out = np.zeros((SIDE, SIDE), bool)
    kept_out[:3, :3] = True
    before = Ridge(StandIn(values, observed, kept_out)).coefficients
    values = values.copy()
    values[:, :, :3, :3] += np.random.default_rng(1).normal(0, 0.3, values[:, :, :3, :3].shape)
    after = Ridge(StandIn(values, observed, kept_out)).coefficients
    assert after == pytest.approx(before, abs=1e-5)
