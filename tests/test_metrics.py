"""Scores against numbers worked out by hand."""

import numpy as np
import pytest
from scipy.stats import norm

from DeepLearning.verification import metrics
from glacier import distribution


def test_skill():
    assert metrics.skill(1.0, 4.0) == 0.75
    assert metrics.skill(8.0, 4.0) == -1
    assert np.isnan(metrics.skill(0.0, 0.0))


X = distribution.thresholds(ndsi=True)


def random_distributions(shape, seed=0):
    """Distribution functions of any form: (*shape[:1], K, *shape[1:]), rising to 1."""
    steps = np.random.default_rng(seed).gamma(0.3, 1, (shape[0], len(X), *shape[1:]))
    rising = steps.cumsum(axis=1)
    return (rising / rising[:, -1:]).astype(np.float32)


def total_scores(F, truth, floor=None, is_index=True, classes=None):
    """The summary of all pixels (of class 0) of one forecast."""
    maps = metrics.score_maps(F, truth, X, floor, is_index)
    maps["similarity"] = np.zeros_like(truth)
    if classes is None:
        classes = np.zeros((len(F), *truth.shape[-2:]), int)
    sums = [metrics.class_sums(maps[name], classes, 1).sum() for name in metrics.ADDED]
    return metrics.summary(np.array(sums))


@pytest.mark.parametrize("floor", [None, 0.3])
def test_scores_are_those_of_scoringrules(floor):
    """The same distributions as ensembles of 2000 evenly spaced quantiles, scored by another code."""
    scoringrules = pytest.importorskip("scoringrules", reason="requirements.txt names it for tests")
    F = random_distributions((2, 1, 3, 5))
    truth = np.random.default_rng(1).uniform(-0.9, 0.95, (2, 1, 3, 5)).astype(np.float32)
    levels = (np.arange(2000) + 0.5) / 2000
    members = [distribution.quantile(F, float(level), X, floor) for level in levels]
    ensemble = np.stack(members, axis=-1)
    clipped = truth if floor is None else np.where(truth < floor, 0, truth)
    maps = metrics.score_maps(F, truth, X, floor, is_index=True)
    expected = scoringrules.crps_ensemble(clipped, ensemble)
    assert maps["crps"] == pytest.approx(expected, abs=2e-3)
    snow = (clipped > 0.4).astype(float)
    probability = (ensemble > 0.4).mean(axis=-1)
    expected = scoringrules.brier_score(snow, probability)
    assert maps["brier"] == pytest.approx(expected, abs=2e-3)
    assert maps["variance"] == pytest.approx(ensemble.var(axis=-1), abs=2e-3)


def test_scores_of_a_distribution_by_hand():
    """Two pixels, each certain to lie between two thresholds; one truth lies there too, the other below the floor."""
    upper = np.searchsorted(X, [0.58, 0.72])  # of the two thresholds
    steps = [X[number] <= X for number in upper]
    F = np.stack(steps, axis=-1).astype(np.float32).reshape(1, len(X), 1, 1, 2)
    widths = X[upper] - X[upper - 1]
    middles = X[upper] - widths / 2
    inside = middles[0] + 0.1 * widths[0]
    truth = np.array([inside, 0.2], np.float32).reshape(1, 1, 1, 2)
    scores = total_scores(F, truth, floor=0.3)
    errors = middles - [inside, 0]
    assert scores["mse"] == pytest.approx((errors**2).mean(), rel=1e-5)
    assert scores["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-5)
    assert scores["bias"] == pytest.approx(errors.mean(), rel=1e-5)
    assert scores["brier"] == pytest.approx(0.5)
    assert scores["f1"] == pytest.approx(2 / 3)  # a hit and a false alarm
    assert scores["width_90"] == pytest.approx(0.9 * widths.mean(), rel=1e-4)
    assert scores["coverage_90"] == pytest.approx(0.5)
    assert scores["coverage_50"] == pytest.approx(0.5)
    spread = np.sqrt((widths**2).mean() / 12)
    rmse = np.sqrt((errors**2).mean())
    assert scores["spread_error"] == pytest.approx(spread / rmse, rel=1e-2)


def test_mean_median_and_snow_of_a_forecast_in_two_minds():
    """0 with 55 %, else about 0.6, and 0.6 comes: the squared error is the mean's, the absolute one the median's, and
    snow was not more likely than not."""
    upper = np.searchsorted(X, 0.62)
    one = np.where(X[upper] <= X, 1.0, np.where(X >= 0.1, 0.55, 0.0)).astype(np.float32)
    value = (X[upper] + X[upper - 1]) / 2
    truth = np.full((1, 1, 1, 1), value, np.float32)
    scores = total_scores(one.reshape(1, -1, 1, 1, 1), truth, floor=0.3)
    assert scores["mse"] == pytest.approx((0.45 * value - value) ** 2, rel=1e-4)
    assert scores["mae"] == pytest.approx(value, rel=1e-4)
    assert scores["f1"] == 0
    assert scores["brier"] == pytest.approx(0.55**2, rel=1e-4)


def test_coverage_of_a_lump_is_no_gift():
    """Bare ground in nine of ten years, and forecast so: the band [0, 0] holds 90 %, and so say ranks; closed bands
    of 5 to 95 % would claim all."""
    random = np.random.default_rng(0)
    size = (1, 1, 100, 100)
    upper = np.searchsorted(X, 0.85)
    snowy = random.uniform(X[upper - 1], X[upper], size)
    truth = np.where(random.random(size) < 0.9, 0.1, snowy).astype(np.float32)
    one = np.where(X[upper] <= X, 1.0, np.where(X >= 0.2, 0.9, 0.0)).astype(np.float32)
    F = np.broadcast_to(one.reshape(1, -1, 1, 1, 1), (1, len(X), *size[1:]))
    scores = total_scores(F, truth, floor=0.3)
    assert scores["coverage_90"] == pytest.approx(0.9, abs=0.01)
    assert scores["coverage_50"] == pytest.approx(0.5, abs=0.01)


def test_coverage_knows_a_forecast_that_is_too_sure():
    """Truths spread three times as far as the forecast says: the 90 % band holds far fewer."""
    random = np.random.default_rng(0)
    truth = random.normal(0.5, 0.15, (1, 1, 50, 50)).clip(-1, 1).astype(np.float32)
    one = norm.cdf(X, 0.5, 0.05).astype(np.float32)
    F = np.broadcast_to(one.reshape(1, -1, 1, 1, 1), (1, len(X), *truth.shape[1:]))
    scores = total_scores(F, truth)
    expected = norm.cdf(1.645 / 3) - norm.cdf(-1.645 / 3)
    assert scores["coverage_90"] == pytest.approx(expected, abs=0.03)
    assert scores["spread_error"] == pytest.approx(1 / 3, abs=0.05)


def test_bands_of_light_have_no_snow():
    """Reflectance is no snow index: no F1, no Brier score; the rest is there."""
    truth = np.full((1, 1, 2, 2), 0.5, np.float32)
    scores = total_scores(random_distributions((1, 1, 2, 2)), truth, is_index=False)
    assert np.isnan([scores["f1"], scores["brier"]]).all()
    assert np.isfinite([scores["crps"], scores["mse"], scores["coverage_90"]]).all()


def test_classes_are_apart_and_what_does_not_count_is_left_out():
    """Two leads, two classes, and pixels in none that hold no number."""
    values = np.ones((2, 1, 2, 3))
    values[1] = 10
    values[:, :, 0, 0] = np.nan
    classes = np.array([[-1, 0, 0], [1, 1, 1]])
    both = np.stack([classes, np.where(classes == 1, 0, -1)])
    assert metrics.class_sums(values, both, 2).tolist() == [[2, 3], [30, 0]]


def test_nothing_to_score_is_nan():
    values = metrics.summary(np.zeros(len(metrics.ADDED)))
    assert np.isnan(list(values.values())).all()
