"""How good a forecast is, per lead time, over really observed pixels only.

All take forecast and truth (N, horizon, C, H, W), observed bool (N, horizon, 1, H, W), and return float64 (horizon,),
NaN for a lead time without an observed pixel.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03  # of SSIM, as published


def observed_mean(values: Tensor, observed: Tensor) -> Tensor:
    """Return the mean of values (N, horizon, C, H, W) over observed pixels, per lead time."""
    observed = observed.expand(values.shape)
    total = torch.where(observed, values, 0).sum(dim=(0, 2, 3, 4), dtype=torch.float64)
    return total / observed.sum(dim=(0, 2, 3, 4))


def mse(forecast: Tensor, truth: Tensor, observed: Tensor) -> Tensor:
    """Return the mean squared error."""
    return observed_mean((forecast - truth) ** 2, observed)


def mae(forecast: Tensor, truth: Tensor, observed: Tensor) -> Tensor:
    """Return the mean absolute error."""
    return observed_mean((forecast - truth).abs(), observed)


def ssim(forecast: Tensor, truth: Tensor, observed: Tensor, data_range: float = 1.0) -> Tensor:
    """Return the structural similarity, 1 for equal images. Wang et al. (2004), 10.1109/TIP.2003.819861."""
    return observed_mean(similarity_map(forecast, truth, observed, data_range), observed)


def similarity_map(forecast: Tensor, truth: Tensor, observed: Tensor, data_range: float = 1.0) -> Tensor:
    """Return the structural similarity around each pixel, (N, horizon, C, H, W) float64.

    Local means and variances under a Gaussian window weigh observed pixels only, here and at the borders, so a
    gap or an edge counts as unknown, not as dark. data_range : span of the values.
    """
    seen = observed.expand(truth.shape)
    known = seen.double()
    weight = local_sum(known).clamp_min(1e-12)

    def local_mean(values):
        return local_sum(torch.where(seen, values, 0)) / weight

    x, y = forecast.double(), truth.double()
    mean_x, mean_y = local_mean(x), local_mean(y)
    variance_x = (local_mean(x * x) - mean_x**2).clamp_min(0)
    variance_y = (local_mean(y * y) - mean_y**2).clamp_min(0)
    covariance = local_mean(x * y) - mean_x * mean_y
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return likeness / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))


def local_sum(values: Tensor) -> Tensor:
    """Return the Gaussian-weighted sum around each pixel, 0 outside the image; shape kept."""
    offset = torch.arange(WINDOW, dtype=values.dtype) - WINDOW // 2
    kernel = torch.exp(-(offset**2) / (2 * SIGMA**2))
    kernel = (kernel / kernel.sum()).to(values.device)
    images = values.reshape(-1, 1, *values.shape[-2:])
    images = conv2d(images, kernel.view(1, 1, -1, 1), padding=(WINDOW // 2, 0))
    images = conv2d(images, kernel.view(1, 1, 1, -1), padding=(0, WINDOW // 2))
    return images.view(values.shape)


def skill(error: Tensor, reference: Tensor) -> Tensor:
    """Return 1 - error / reference: 1 perfect, 0 as good as the reference, negative worse."""
    return 1 - error / reference
