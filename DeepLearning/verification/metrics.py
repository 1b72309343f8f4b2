"""How good a forecast is, over really observed pixels only, with intervals that respect how alike neighbours are.

Everything is summed once over the tiles of a scene; every score, of any lead time, season, region or resampling, is
then a ratio of sums of these.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from DeepLearning.verification.similarity import similarity_map
from glacier import distribution

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


# ── A distribution's scores ──────────────────────────────────────────────────────────────────────────────────────

ADDED = (
    "pixels",
    "crps",
    "brier",
    "inside_50",
    "inside_90",
    "width_90",
    "variance",
    "squared",
    "absolute",
    "error",
    "hits",
    "false_alarms",
    "misses",
    "similarity",
)


def share_inside(low: np.ndarray, high: np.ndarray, coverage: float) -> np.ndarray:
    """Return the probability that a rank drawn evenly from [low, high] lies in the central band of a coverage.

    What randomised ranks give in the mean, without drawing: Czado, Gneiting & Held (2009),
    10.1111/j.1541-0420.2009.01191.x.
    """
    bottom, top = (1 - coverage) / 2, (1 + coverage) / 2
    width = high - low
    overlap = np.minimum(high, top) - np.maximum(low, bottom)
    within = (low >= bottom) & (low <= top)
    share = overlap.clip(0) / np.where(width > 0, width, 1)
    return np.where(width > 0, share, within)


def score_maps(
    F: np.ndarray, truth: np.ndarray, x: np.ndarray, floor: float | None, is_index: bool
) -> dict[str, np.ndarray]:
    """Return what the scores of a forecast F (horizon, K, C, h, w) add up, by its name in ADDED, and what it draws on.

    That is the mean, the ranks of the truth and, of a snow index, P(snow) and snow.

    truth : (horizon, C, h, w), NaN or anything where not observed. floor : snow threshold, or None.
    is_index : a snow index, whose pixels are snow or not; else Brier score and counts are NaN. Each map is
    (horizon, C, h, w): the squared error is the mean's, the absolute one the median's, snow is what is more likely than
    not.
    """
    if floor is not None:
        truth = np.where(truth < floor, np.float32(0), truth)
    mean = distribution.mean(F, x, floor)
    low, high = distribution.rank(F, truth, x, floor)
    upper = distribution.quantile(F, 0.95, x, floor)
    lower = distribution.quantile(F, 0.05, x, floor)
    maps = {
        "pixels": np.ones_like(mean),
        "crps": distribution.crps(F, truth, x, floor),
        "inside_50": share_inside(low, high, 0.5),
        "inside_90": share_inside(low, high, 0.9),
        "width_90": upper - lower,
        "variance": distribution.variance(F, x, floor),
        "squared": (mean - truth) ** 2,
        "absolute": np.abs(distribution.quantile(F, 0.5, x, floor) - truth),
        "error": mean - truth,
        "mean": mean,
        "rank_low": low,
        "rank_high": high,
    }
    return maps | snow_maps(F, truth, x, is_index)


def snow_maps(
    F: np.ndarray, truth: np.ndarray, x: np.ndarray, is_index: bool
) -> dict[str, np.ndarray]:
    """Return Brier score, hits, false alarms and misses of snow, (horizon, C, h, w); NaN if there is no snow index."""
    names = ("brier", "hits", "false_alarms", "misses")
    if not is_index:
        nothing = np.full(truth.shape, np.nan, np.float32)
        return dict.fromkeys(names, nothing)
    probability = distribution.exceedance(F, distribution.SNOW, x)
    snow = truth > distribution.SNOW
    forecast = probability > 0.5
    maps = ((probability - snow) ** 2, forecast & snow, forecast & ~snow, ~forecast & snow)
    named = dict(zip(names, maps, strict=True))
    return named | {"snow_probability": probability, "snow": snow}


def class_sums(values: np.ndarray, classes: np.ndarray, count: int) -> np.ndarray:
    """Return the sums of values (horizon, C, h, w) over each class of pixels, float64 (horizon, count).

    classes : int (horizon, h, w), each pixel's class from 0 on, -1 where it does not count.
    """
    horizon = len(values)
    leads = count * np.arange(horizon)[:, None, None]
    place = np.where(classes >= 0, classes + leads, horizon * count)  # the last one is not kept
    weights = values.sum(axis=1, dtype=np.float64)
    sums = np.bincount(place.ravel(), weights.ravel(), horizon * count + 1)
    return sums[:-1].reshape(horizon, count)


def summary(sums: np.ndarray) -> dict[str, float]:
    """Return the scores of some dates and tiles from what they add up to, (len(ADDED),); NaN where nothing counts.

    crps, brier : mean scores. coverage_50, coverage_90 : how often the central bands hold the truth, by randomised
    ranks. width_90 : of the 90 % band. spread_error : root of the mean variance over the root of the mean squared
    error, 1 where a forecast is as sure as it may be, below 1 where it is too sure (Fortin et al. 2014,
    10.1175/JHM-D-14-0008.1). mse, mae, ssim. bias : forecast less truth. f1 : of snow, harmonic mean of precision and
    recall.
    """
    total = dict(zip(ADDED, sums.tolist(), strict=True))
    count = total["pixels"] or np.nan
    snow = 2 * total["hits"] + total["false_alarms"] + total["misses"]
    return {
        "crps": total["crps"] / count,
        "brier": total["brier"] / count,
        "coverage_50": total["inside_50"] / count,
        "coverage_90": total["inside_90"] / count,
        "width_90": total["width_90"] / count,
        "spread_error": np.sqrt(total["variance"] / (total["squared"] or np.nan)),
        "mse": total["squared"] / count,
        "mae": total["absolute"] / count,
        "ssim": total["similarity"] / count,
        "bias": total["error"] / count,
        "f1": 2 * total["hits"] / (snow or np.nan),
    }


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
