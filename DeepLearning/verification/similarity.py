"""Structural similarity of maps with gaps."""

from __future__ import annotations

import cv2
import numpy as np

WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03  # as published
REACH = WINDOW // 2  # px, of a window around its pixel


def similarity_map(
    forecast: np.ndarray, truth: np.ndarray, observed: np.ndarray, data_range: float = 1.0
) -> np.ndarray:
    """Return the structural similarity around each pixel, float64 (..., H, W), 1 where images are equal.

    Wang et al. (2004), 10.1109/TIP.2003.819861. data_range : span of the values.
    Kept beside the libraries' own: local means and variances under a Gaussian window weigh observed pixels only, here
    and at the borders, so that a gap or an edge counts as unknown, not as dark.
    """
    seen = np.broadcast_to(np.asarray(observed), truth.shape)
    number = local_sum(seen.astype(np.float64))
    weight = np.maximum(number, 1e-12)

    def local_mean(values):
        known = np.where(seen, values, 0)
        return local_sum(known) / weight

    x = np.asarray(forecast, np.float64)
    y = np.asarray(truth, np.float64)
    mean_x = local_mean(x)
    mean_y = local_mean(y)
    squares = mean_x**2 + mean_y**2
    product = mean_x * mean_y
    variance_x = np.maximum(local_mean(x * x) - mean_x**2, 0)
    variance_y = np.maximum(local_mean(y * y) - mean_y**2, 0)
    covariance = local_mean(x * y) - product
    c1 = (K1 * data_range) ** 2
    c2 = (K2 * data_range) ** 2
    alike = (2 * product + c1) * (2 * covariance + c2)
    largest = (squares + c1) * (variance_x + variance_y + c2)
    return alike / largest


def local_sum(values: np.ndarray) -> np.ndarray:
    """Return the Gaussian-weighted sum around each pixel of float64 (..., H, W), 0 outside the image; shape kept."""
    offset = np.arange(WINDOW) - WINDOW // 2
    kernel = np.exp(-(offset**2) / (2 * SIGMA**2))
    kernel /= kernel.sum()
    sums = np.empty_like(values)
    for place in np.ndindex(values.shape[:-2]):
        image = values[place]
        sums[place] = cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_CONSTANT)
    return sums
