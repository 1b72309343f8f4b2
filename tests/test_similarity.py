"""Structural similarity against the published formula and plain loops."""

import numpy as np
import pytest

from DeepLearning.verification import similarity


def test_ssim_is_the_published_formula():
    """The middle pixel of an 11 x 11 image, from the sums of the paper written out."""
    x, y = np.random.default_rng(0).random((2, 11, 11))
    offset = np.arange(11) - 5
    window = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * 1.5**2))
    window /= window.sum()
    mean_x, mean_y = (window * x).sum(), (window * y).sum()
    variance_x, variance_y = (window * (x - mean_x) ** 2).sum(), (window * (y - mean_y) ** 2).sum()
    covariance = (window * (x - mean_x) * (y - mean_y)).sum()
    c1, c2 = 0.01**2, 0.03**2
    expected = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    expected /= (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    answer = similarity.similarity_map(x, y, np.ones((11, 11), bool))
    assert answer[5, 5] == pytest.approx(expected, rel=1e-9)


def test_equal_images_are_wholly_alike():
    image = np.random.default_rng(0).random((20, 30))
    answer = similarity.similarity_map(image, image, np.ones((20, 30), bool))
    assert answer == pytest.approx(np.ones((20, 30)))


def test_ssim_of_flat_images_by_hand():
    """Up to the border and beside a gap: there a mean is one of fewer pixels, not a smaller one."""
    a, b, c1 = 0.02, 0.06, 0.01**2
    flat = np.ones((15, 15))
    observed = flat > 0
    observed[4:9, 6:10] = False
    answer = similarity.similarity_map(a * flat, b * flat, observed)[observed]
    expected = (2 * a * b + c1) / (a * a + b * b + c1)
    assert answer == pytest.approx(np.full(len(answer), expected), rel=1e-9)


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
    sums = similarity.local_sum(images)
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
        maps.append(similarity.similarity_map(forecast, filled, observed)[observed])
        equal = similarity.similarity_map(truth, filled, observed)[observed]
        assert equal == pytest.approx(1, abs=1e-9)
    assert np.array_equal(maps[0], maps[1])
    assert np.array_equal(maps[0], maps[2])


def test_ssim_over_the_span_of_the_values():
    """Values and span ten times as large are as alike."""
    x, y = np.random.default_rng(0).random((2, 1, 1, 15, 15))
    everywhere = np.ones(x.shape, bool)
    plain = similarity.similarity_map(x, y, everywhere)
    assert similarity.similarity_map(10 * x, 10 * y, everywhere, 10.0) == pytest.approx(plain)
