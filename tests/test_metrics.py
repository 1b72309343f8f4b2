"""Scores against numbers worked out by hand."""
import pytest
import torch

from DeepLearning import metrics


def pair(forecast, truth, seen=None):
    """Return one sample with one lead time and channel from nested lists (H, W)."""
    forecast, truth = (torch.tensor(image, dtype=torch.float32)[None, None, None] for image in (forecast, truth))
    observed = torch.ones_like(truth, dtype=torch.bool) if seen is None else torch.tensor(seen)[None, None, None]
    return forecast, truth, observed


def test_errors_by_hand():
    images = pair([[1, 2], [3, 4]], [[1, 0], [0, 4]])
    assert metrics.mse(*images).tolist() == [(4 + 9) / 4]
    assert metrics.mae(*images).tolist() == [(2 + 3) / 4]


def test_only_observed_pixels_count():
    images = pair([[1, 2], [3, float("nan")]], [[1, 0], [0, 4]], [[True, True], [False, False]])
    assert metrics.mse(*images).tolist() == [2]
    assert metrics.mae(*images).tolist() == [1]
    assert metrics.ssim(*images).isfinite().all()


def test_nothing_observed_is_nan():
    images = pair([[1.0]], [[0.0]], [[False]])
    assert all(metric(*images).isnan().all() for metric in (metrics.mse, metrics.mae, metrics.ssim))


def test_lead_times_are_apart():
    truth = torch.zeros(3, 2, 1, 4, 4)
    forecast = truth + torch.tensor([1.0, 2.0]).view(1, 2, 1, 1, 1)
    assert metrics.mse(forecast, truth, truth[:, :, :1] == 0).tolist() == [1, 4]


def test_ssim_of_equal_images_is_one():
    image = torch.rand(2, 3, 1, 20, 30)
    assert metrics.ssim(image, image, torch.ones(2, 3, 1, 20, 30, dtype=torch.bool)).tolist() == pytest.approx([1] * 3)


def test_ssim_of_flat_images_by_hand():
    a, b, c1 = 0.2, 0.6, 0.01**2
    images = pair([[a] * 15] * 15, [[b] * 15] * 15)
    assert metrics.ssim(*images).item() == pytest.approx((2 * a * b + c1) / (a * a + b * b + c1), rel=1e-5)


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
    everywhere = torch.ones(1, 1, 1, 11, 11, dtype=torch.bool)
    similarity = metrics.similarity_map(x[None, None, None], y[None, None, None], everywhere)
    assert similarity[0, 0, 0, 5, 5].item() == pytest.approx(expected.item(), rel=1e-9)


def test_skill():
    assert metrics.skill(1.0, 4.0) == 0.75
    assert metrics.skill(8.0, 4.0) == -1
