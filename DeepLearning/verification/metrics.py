"""How good a forecast is, over really observed pixels only, with intervals that respect how alike neighbours are.

Everything is summed once over the tiles of a scene; every score, of any lead time, season, region or resampling, is
then a ratio of sums of these.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

SUMS = (
    "pixels",
    "squared",
    "absolute",
    "error",
    "forecast",
    "forecast_squared",
    "truth",
    "truth_squared",
    "similarity",
    "hits",
    "false_alarms",
    "misses",
)
WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03  # of SSIM, as published
SNOW = 0.4  # NDSI from which a pixel counts as snow, Dozier (1989), 10.1016/0034-4257(89)90101-6


def tile_sums(forecast: Tensor, truth: Tensor, observed: Tensor, tiles: Tensor) -> np.ndarray:
    """Return the SUMS over each tile, float64 (horizon, tiles, len(SUMS)).

    forecast, truth : (horizon, C, H, W). observed : bool (horizon, 1, H, W), pixels that count.
    tiles : int (H, W), number of each pixel's tile from 0 on, -1 for pixels in none.
    """
    counted = observed.expand(truth.shape) & (tiles >= 0)
    x, y = torch.where(counted, forecast, 0).double(), torch.where(counted, truth, 0).double()
    similarity = torch.from_numpy(similarity_map(forecast, truth, observed))
    snow_x, snow_y = x >= SNOW, y >= SNOW
    values = (
        torch.ones_like(x),
        (x - y) ** 2,
        (x - y).abs(),
        x - y,
        x,
        x * x,
        y,
        y * y,
        similarity,
        snow_x & snow_y,
        snow_x & ~snow_y,
        ~snow_x & snow_y,
    )
    index = tiles.clamp_min(0).flatten()
    sums = torch.zeros(len(SUMS), len(truth), int(tiles.max()) + 1, dtype=torch.float64)
    for total, value in zip(sums, values, strict=True):
        total.index_add_(1, index, torch.where(counted, value.double(), 0).sum(dim=1).flatten(1))
    return sums.permute(1, 2, 0).numpy()


def scores(sums: np.ndarray) -> dict[str, float]:
    """Return the scores of some tiles, steps or windows from their SUMS, added up to (len(SUMS),).

    mse, mae; bias: forecast minus truth; variance_ratio: variance of the forecast over that of the truth, below 1 if it
    is too smooth; ssim; f1: of snow cover, harmonic mean of precision and recall. NaN where there is nothing to score.
    """
    total = dict(zip(SUMS, sums.tolist(), strict=True))
    count = total["pixels"] or np.nan
    variances = [
        total[f"{name}_squared"] / count - (total[name] / count) ** 2
        for name in ("forecast", "truth")
    ]
    snow = 2 * total["hits"] + total["false_alarms"] + total["misses"]
    return {
        "mse": total["squared"] / count,
        "mae": total["absolute"] / count,
        "ssim": total["similarity"] / count,
        "bias": total["error"] / count,
        "variance_ratio": variances[0] / variances[1] if variances[1] > 0 else np.nan,
        "f1": 2 * total["hits"] / snow if snow else np.nan,
    }


def similarity_map(
    forecast: np.ndarray, truth: np.ndarray, observed: np.ndarray, data_range: float = 1.0
) -> np.ndarray:
    """Return the structural similarity around each pixel, float64 (..., H, W), 1 where images are equal.

    Wang et al. (2004), 10.1109/TIP.2003.819861. data_range : span of the values.
    Kept beside the libraries' own: local means and variances under a Gaussian window weigh observed pixels only, here
    and at the borders, so that a gap or an edge counts as unknown, not as dark.
    """
    seen = np.broadcast_to(np.asarray(observed), truth.shape)
    weight = np.maximum(local_sum(seen.astype(np.float64)), 1e-12)

    def local_mean(values):
        return local_sum(np.where(seen, values, 0)) / weight

    x, y = np.asarray(forecast, np.float64), np.asarray(truth, np.float64)
    mean_x, mean_y = local_mean(x), local_mean(y)
    variance_x = np.maximum(local_mean(x * x) - mean_x**2, 0)
    variance_y = np.maximum(local_mean(y * y) - mean_y**2, 0)
    covariance = local_mean(x * y) - mean_x * mean_y
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return likeness / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))


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


def skill(error: float, reference: float) -> float:
    """Return 1 - error / reference: 1 perfect, 0 as good as the reference, negative worse; NaN without a reference."""
    return 1 - error / reference if reference > 0 else float("nan")


def skill_interval(
    squared: np.ndarray, reference: np.ndarray, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % interval of the skill by a bootstrap over years and tiles.

    squared, reference : sums of squared errors (years, tiles) of the forecast and of what it is compared with.
    Whole years and whole tiles are drawn with replacement, for neighbours in space and time are not independent
    (Efron & Tibshirani 1993; Wilks 2011, Statistical Methods, section 5.3). With one year only tiles are drawn.
    """
    random = np.random.default_rng(seed)
    years, tiles = squared.shape
    some_years = random.multinomial(years, np.full(years, 1 / years), draws)
    some_tiles = random.multinomial(tiles, np.full(tiles, 1 / tiles), draws)
    own, other = (
        np.einsum("dy,yt,dt->d", some_years, sums, some_tiles) for sums in (squared, reference)
    )
    usable = other > 0
    if not usable.any():
        return float("nan"), float("nan")
    low, high = np.quantile(1 - own[usable] / other[usable], (0.025, 0.975))
    return float(low), float(high)
