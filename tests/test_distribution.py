"""Known distributions: their quantiles, means and scores are known without the code."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from glacier import distribution

X = distribution.thresholds(ndsi=True)


def normal(centre: float, spread: float) -> np.ndarray:
    """The distribution function of one pixel, (K, 1, 1, 1)."""
    return norm.cdf(X, centre, spread).astype(np.float32).reshape(-1, 1, 1, 1)


def pixel(value: float) -> np.ndarray:
    return np.full((1, 1, 1), value, np.float32)


@pytest.mark.parametrize("ndsi", [True, False])
def test_thresholds_rise_and_hold_the_levels_that_matter(ndsi):
    x = distribution.thresholds(ndsi)
    assert len(x) == 33
    assert (np.diff(x) > 0).all()
    assert {0.0, 0.3, 0.4} <= {round(float(level), 3) for level in x}


def test_mean_and_quantiles_of_a_normal_distribution():
    F = normal(0.35, 0.1)
    assert distribution.mean(F, X).item() == pytest.approx(0.35, abs=0.002)
    for p in (0.05, 0.5, 0.95):
        value = distribution.quantile(F, p, X).item()
        assert value == pytest.approx(norm.ppf(p, 0.35, 0.1), abs=0.01)
    probability = pixel(0.95)
    assert distribution.quantile(F, probability, X).item() == pytest.approx(0.514, abs=0.01)
    assert distribution.exceedance(F, 0.4, X).item() == pytest.approx(norm.sf(0.5), abs=0.002)


def test_crps_of_a_normal_distribution():
    """Gneiting & Raftery (2007), 10.1198/016214506000001437, equation 21."""
    for truth in (0.2, 0.35, 0.37, 0.6):
        z = (truth - 0.35) / 0.1
        score = 0.1 * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
        assert distribution.crps(normal(0.35, 0.1), pixel(truth), X).item() == pytest.approx(
            score, rel=0.02
        )


def test_crps_is_missing_where_the_truth_is():
    assert np.isnan(distribution.crps(normal(0.3, 0.1), pixel(np.nan), X)).all()
    assert np.isnan(distribution.crps(normal(0.3, 0.1), pixel(np.nan), X, floor=0.3)).all()


def test_values_below_the_floor_are_zero():
    """Half of the values lie below 0.3: they become a lump at 0, and nothing lies between 0 and 0.3."""
    F = normal(0.3, 0.2)
    function, levels = distribution.clipped(F, X, 0.3)
    assert levels.tolist() == X[X >= 0].tolist()
    assert function[levels < 0.3, 0, 0, 0] == pytest.approx(0.5)
    assert function[levels >= 0.3, 0, 0, 0] == pytest.approx(F[X >= 0.3, 0, 0, 0])
    assert distribution.quantile(F, 0.4, X, 0.3).item() == 0
    assert distribution.quantile(F, 0.8, X, 0.3).item() == pytest.approx(0.468, abs=0.01)
    drawn = np.random.default_rng(0).normal(0.3, 0.2, 100_000).clip(-1, 1)
    drawn[drawn < 0.3] = 0
    assert distribution.mean(F, X, 0.3).item() == pytest.approx(drawn.mean(), abs=0.003)


@pytest.mark.parametrize("floor", [0.3, 0.33])
def test_moments_of_clipped_values_are_those_of_draws(floor):
    """The floor need not be a threshold."""
    F = normal(0.35, 0.2)
    drawn = np.random.default_rng(0).normal(0.35, 0.2, 200_000).clip(-1, 1)
    drawn[drawn < floor] = 0
    assert distribution.mean(F, X, floor).item() == pytest.approx(drawn.mean(), abs=0.006)
    assert distribution.variance(F, X, floor).item() == pytest.approx(drawn.var(), rel=0.03)


def test_a_clipped_score_knows_values_below_the_floor_only_as_zero():
    F = normal(0.3, 0.2)
    scores = [distribution.crps(F, pixel(truth), X, 0.3).item() for truth in (-0.5, 0.0, 0.29)]
    assert scores == pytest.approx([scores[0]] * 3)
    certain = (X >= 0).astype(np.float32).reshape(-1, 1, 1, 1)
    assert distribution.crps(certain, pixel(0.1), X, 0.3).item() == pytest.approx(0)


def test_tensors_give_what_arrays_give():
    F = np.stack([normal(0.2, 0.1), normal(0.5, 0.3)])  # (2, K, 1, 1, 1)
    truth = np.stack([pixel(0.1), pixel(0.7)])
    tensor, tensor_truth = torch.from_numpy(F), torch.from_numpy(truth)
    for floor in (None, 0.3):
        pairs = (
            (
                distribution.crps(F, truth, X, floor),
                distribution.crps(tensor, tensor_truth, X, floor),
            ),
            (distribution.mean(F, X, floor), distribution.mean(tensor, X, floor)),
            (distribution.quantile(F, 0.7, X, floor), distribution.quantile(tensor, 0.7, X, floor)),
            (
                distribution.quantile(F, truth, X, floor),
                distribution.quantile(tensor, tensor_truth, X, floor),
            ),
        )
        for array, same in pairs:
            assert same.numpy() == pytest.approx(array, abs=1e-6)


def test_variance_of_known_distributions():
    """Of a normal distribution, and of one with half of its values at 0 and half at 0.8."""
    assert distribution.variance(normal(0.35, 0.1), X).item() == pytest.approx(0.01, rel=0.05)
    two_values = np.where(X >= 0.8, 1.0, np.where(X >= 0, 0.5, 0.0))
    F = two_values.astype(np.float32).reshape(-1, 1, 1, 1)
    middle = (X[X < 0.799].max() + 0.8) / 2  # between thresholds values lie evenly
    assert distribution.variance(F, X, 0.3).item() == pytest.approx(middle**2 / 4, abs=1e-3)
    drawn = np.random.default_rng(0).normal(0.3, 0.2, 100_000).clip(-1, 1)
    drawn[drawn < 0.3] = 0
    variance = distribution.variance(normal(0.3, 0.2), X, 0.3).item()
    assert variance == pytest.approx(drawn.var(), rel=0.02)


def test_rank_of_the_truth_is_where_the_forecast_puts_it():
    F = normal(0.35, 0.1)
    for truth in (0.1, 0.33, 0.62):
        low, high = distribution.rank(F, pixel(truth), X)
        assert low.item() == high.item() == pytest.approx(norm.cdf(truth, 0.35, 0.1), abs=0.01)


def test_rank_of_a_lump_is_all_of_it():
    """Every value below the floor is a 0 among 0s: its rank lies anywhere between nothing and P(below the floor)."""
    F = normal(0.3, 0.2)
    for truth in (-0.4, 0.0, 0.29):
        low, high = distribution.rank(F, pixel(truth), X, 0.3)
        assert (low.item(), high.item()) == pytest.approx((0, 0.5), abs=1e-6)
    low, high = distribution.rank(F, pixel(0.5), X, 0.3)
    assert low.item() == high.item() == pytest.approx(norm.cdf(1), abs=0.01)
    for floor in (None, 0.3):
        assert np.isnan(distribution.rank(F, pixel(np.nan), X, floor)).all()
    bottom = np.full(
        (len(X), 1, 1, 1), 0.25, np.float32
    )  # a quarter lies at -1, or would lie below
    low, high = distribution.rank(bottom, pixel(-1.0), X)
    assert (low.item(), high.item()) == pytest.approx((0, 0.25))


def test_ranks_of_draws_are_even():
    """Values drawn from F itself, clipped or not: their ranks, drawn within the lump, fill [0, 1] evenly."""
    random = np.random.default_rng(0)
    drawn = random.normal(0.35, 0.1, (1, 1, 20_000)).astype(np.float32)
    F = np.broadcast_to(normal(0.35, 0.1), (33, 1, 1, 20_000))
    for floor in (None, 0.3):
        low, high = distribution.rank(F, drawn, X, floor)
        ranks = low + random.random(low.shape) * (high - low)
        shares = np.histogram(ranks, 10, (0, 1))[0] / ranks.size
        assert shares == pytest.approx(np.full(10, 0.1), abs=0.012)


def test_variance_and_rank_of_tensors():
    F, truth = np.stack([normal(0.2, 0.1)]), np.stack([pixel(0.45)])
    tensor, tensor_truth = torch.from_numpy(F), torch.from_numpy(truth)
    for floor in (None, 0.3):
        assert distribution.variance(tensor, X, floor).numpy() == pytest.approx(
            distribution.variance(F, X, floor), abs=1e-6
        )
        ranks = distribution.rank(F, truth, X, floor)
        same = distribution.rank(tensor, tensor_truth, X, floor)
        for array, part in zip(ranks, same, strict=True):
            assert part.numpy() == pytest.approx(array, abs=1e-6)
