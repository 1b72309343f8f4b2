"""Scores against numbers worked out by hand."""

import numpy as np
import pytest
import torch

from DeepLearning.verification import metrics


def scores(forecast, truth, seen=None, tiles=None):
    """Return the scores of one frame (H, W) given as nested lists."""
    forecast, truth = (
        torch.tensor(image, dtype=torch.float32)[None, None] for image in (forecast, truth)
    )
    observed = (
        torch.ones_like(truth, dtype=torch.bool) if seen is None else torch.tensor(seen)[None, None]
    )
    tiles = torch.zeros(truth.shape[-2:], dtype=int) if tiles is None else torch.tensor(tiles)
    return metrics.scores(metrics.tile_sums(forecast, truth, observed, tiles).sum(axis=(0, 1)))


def test_errors_by_hand():
    found = scores([[1, 2], [3, 4]], [[1, 0], [0, 4]])
    assert found["mse"] == (4 + 9) / 4
    assert found["mae"] == found["bias"] == (2 + 3) / 4
    assert found["variance_ratio"] == pytest.approx(np.var([1, 2, 3, 4]) / np.var([1, 0, 0, 4]))


def test_only_observed_pixels_of_the_region_count():
    nan = float("nan")
    found = scores(
        [[1, 2], [3, nan]], [[1, 0], [0, nan]], [[True, True], [True, False]], [[0, 0], [-1, 0]]
    )
    assert found["mse"] == 2
    assert found["mae"] == 1
    assert np.isfinite(found["ssim"])


def test_nothing_observed_is_nan():
    assert np.isnan(list(scores([[1.0]], [[0.0]], [[False]]).values())).all()


def test_snow_cover_by_hand():
    """Snow from 0.4 on: two hits, one false alarm, one miss."""
    assert scores([[0.5, 0.4, 0.9, 0.1]], [[0.4, 0.8, 0.3, 0.7]])["f1"] == pytest.approx(
        2 * 2 / (2 * 2 + 1 + 1)
    )


def test_lead_times_and_tiles_are_apart():
    truth = torch.zeros(2, 1, 4, 4)
    forecast = truth + torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
    tiles = torch.tensor([[0] * 4, [0] * 4, [1] * 4, [-1] * 4])
    sums = metrics.tile_sums(forecast, truth, torch.ones(2, 1, 4, 4, dtype=torch.bool), tiles)
    assert sums[..., metrics.SUMS.index("pixels")].tolist() == [[8, 4], [8, 4]]
    assert sums[..., metrics.SUMS.index("squared")].tolist() == [[8, 4], [32, 16]]


def test_ssim_of_equal_images_is_one():
    image = torch.rand(20, 30).tolist()
    assert scores(image, image)["ssim"] == pytest.approx(1)


def test_ssim_of_flat_images_by_hand():
    a, b, c1 = 0.2, 0.6, 0.01**2
    found = scores([[a] * 15] * 15, [[b] * 15] * 15)
    assert found["ssim"] == pytest.approx((2 * a * b + c1) / (a * a + b * b + c1), rel=1e-5)


def test_ssim_is_the_published_formula():
    """The middle pixel of an 11 x 11 image, from the sums of the paper written out."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 11, 11, generator=generator, dtype=torch.float64)
    offset = torch.arange(11, dtype=torch.float64) - 5
    window = torch.exp(-(offset[:, None] ** 2 + offset**2) / (2 * 1.5**2))
    window /= window.sum()
    mean_x, mean_y = (window * x).sum(), (window * y).sum()
    variance_x, variance_y = (window * (x - mean_x) ** 2).sum(), (window * (y - mean_y) ** 2).sum()
    covariance = (window * (x - mean_x) * (y - mean_y)).sum()
    c1, c2 = 0.01**2, 0.03**2
    expected = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    expected /= (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    everywhere = torch.ones(1, 1, 11, 11, dtype=torch.bool)
    similarity = metrics.similarity_map(x[None, None], y[None, None], everywhere)
    assert similarity[0, 0, 5, 5].item() == pytest.approx(expected.item(), rel=1e-9)


def plain_local_sum(image, kernel):
    """The sum under a window, pixel by pixel, 0 outside the image."""
    reach = len(kernel) // 2
    padded = np.pad(image, reach)
    sums = np.zeros_like(image)
    for row, column in np.ndindex(image.shape):
        around = padded[row : row + len(kernel), column : column + len(kernel)]
        sums[row, column] = (around * np.outer(kernel, kernel)).sum()
    return sums


def test_local_sum_is_the_plain_loop():
    """Borders and corners too; each image of the stack by itself."""
    images = np.random.default_rng(0).random((2, 1, 13, 17))
    kernel = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    kernel /= kernel.sum()
    sums = metrics.local_sum(images)
    for image, answer in zip(images[:, 0], sums[:, 0], strict=True):
        assert answer == pytest.approx(plain_local_sum(image, kernel), abs=1e-15)


def test_ssim_takes_a_gap_as_unknown():
    """What lies under a gap, dark or bright or missing, changes nothing around it; equal images stay equal there."""
    random = np.random.default_rng(0)
    truth = 0.5 + 0.3 * random.random((1, 1, 20, 20))
    forecast = truth + 0.1 * random.random(truth.shape)
    observed = np.ones(truth.shape, bool)
    observed[..., 8:12, 5:15] = False
    maps = []
    for filling in (0.0, 1.0, np.nan):
        filled = np.where(observed, truth, filling)
        maps.append(metrics.similarity_map(forecast, filled, observed)[observed])
        equal = metrics.similarity_map(truth, filled, observed)[observed]
        assert equal == pytest.approx(1, abs=1e-9)
    assert np.array_equal(maps[0], maps[1])
    assert np.array_equal(maps[0], maps[2])


def test_ssim_over_the_span_of_the_values():
    """Values and span ten times as large are as alike."""
    x, y = np.random.default_rng(0).random((2, 1, 1, 15, 15))
    everywhere = np.ones(x.shape, bool)
    plain = metrics.similarity_map(x, y, everywhere)
    assert metrics.similarity_map(10 * x, 10 * y, everywhere, 10.0) == pytest.approx(plain)


def test_skill():
    assert metrics.skill(1.0, 4.0) == 0.75
    assert metrics.skill(8.0, 4.0) == -1
    assert np.isnan(metrics.skill(0.0, 0.0))


def test_interval_covers_the_true_skill_as_often_as_it_says():
    """Errors of independent tiles with a known mean ratio of 1/2: about 95 of 100 intervals hold the skill 1/2."""
    random = np.random.default_rng(0)
    held = 0
    for seed in range(200):
        own, other = random.gamma(4, 0.5, (1, 60)), random.gamma(4, 1.0, (1, 60))
        low, high = metrics.skill_interval(own, other, draws=400, seed=seed)
        held += low <= 0.5 <= high
    assert 0.88 <= held / 200 <= 0.99


def test_interval_of_equal_forecasts_is_a_point():
    errors = np.random.default_rng(0).random((3, 10))
    assert metrics.skill_interval(errors, errors) == (0, 0)
