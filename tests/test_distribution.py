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
    clipped = distribution.clip(F, X, 0.3)[:, 0, 0, 0]
    assert clipped[X < 0] == pytest.approx(0)
    assert clipped[(X >= 0) & (X < 0.3)] == pytest.approx(0.5)
    assert clipped[X >= 0.3] == pytest.approx(F[X >= 0.3, 0, 0, 0])
    assert distribution.quantile(F, 0.4, X, 0.3).item() == 0
    assert distribution.quantile(F, 0.8, X, 0.3).item() == pytest.approx(0.468, abs=0.01)
    drawn = np.random.default_rng(0).normal(0.3, 0.2, 100_000).clip(-1, 1)
    drawn[drawn < 0.3] = 0
    assert distribution.mean(F, X, 0.3).item() == pytest.approx(drawn.mean(), abs=0.003)


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
