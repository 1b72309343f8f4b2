"""How good a forecast is, over really observed pixels only.

Everything is summed over classes of pixels, such as the tiles of a scene; every score, of any lead time, season, region
or block, is then a ratio of sums of these.
"""

from __future__ import annotations

import numpy as np

from glacier import distribution

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
    bottom = (1 - coverage) / 2
    top = (1 + coverage) / 2
    width = high - low
    first = np.maximum(low, bottom)
    last = np.minimum(high, top)
    overlap = (last - first).clip(0)
    is_wide = width > 0
    share = overlap / np.where(is_wide, width, 1)
    within = (low >= bottom) & (low <= top)
    return np.where(is_wide, share, within)


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
    function, levels = distribution.clipped(F, x, floor)
    mean = distribution.mean(function, levels)
    low, high = distribution.rank(F, truth, x, floor)
    upper = distribution.quantile(F, 0.95, x, floor)
    median = distribution.quantile(F, 0.5, x, floor)
    lower = distribution.quantile(F, 0.05, x, floor)
    error = mean - truth
    maps = {
        "pixels": np.ones_like(mean),
        "crps": distribution.crps(function, truth, levels),
        "inside_50": share_inside(low, high, 0.5),
        "inside_90": share_inside(low, high, 0.9),
        "width_90": upper - lower,
        "variance": distribution.variance(function, levels),
        "squared": error**2,
        "absolute": np.abs(median - truth),
        "error": error,
        "mean": mean,
        "rank_low": low,
        "rank_high": high,
    }
    return maps | snow_maps(F, truth, x, is_index)


def snow_maps(
    F: np.ndarray, truth: np.ndarray, x: np.ndarray, is_index: bool
) -> dict[str, np.ndarray]:
    """Return Brier score, hits, false alarms and misses of snow, (horizon, C, h, w); NaN if there is no snow index."""
    if not is_index:
        nothing = np.full(truth.shape, np.nan, np.float32)
        return dict.fromkeys(("brier", "hits", "false_alarms", "misses"), nothing)
    probability = distribution.exceedance(F, distribution.SNOW, x)
    snow = truth > distribution.SNOW
    forecast = probability > 0.5
    return {
        "brier": (probability - snow) ** 2,
        "hits": forecast & snow,
        "false_alarms": forecast & ~snow,
        "misses": ~forecast & snow,
        "snow_probability": probability,
        "snow": snow,
    }


def class_sums(values: np.ndarray, classes: np.ndarray, count: int) -> np.ndarray:
    """Return the sums of values (horizon, C, h, w) over each class of pixels, float64 (horizon, count).

    classes : int (horizon, h, w), each pixel's class from 0 on, -1 where it does not count.
    """
    horizon = len(values)
    places = horizon * count
    leads = count * np.arange(horizon)
    numbers = classes + leads[:, None, None]
    place = np.where(classes >= 0, numbers, places)  # the last one is not kept
    weights = values.sum(axis=1, dtype=np.float64)
    sums = np.bincount(place.ravel(), weights.ravel(), places + 1)
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
    squared = total["squared"] or np.nan
    snow = 2 * total["hits"] + total["false_alarms"] + total["misses"]
    snow = snow or np.nan
    return {
        "crps": total["crps"] / count,
        "brier": total["brier"] / count,
        "coverage_50": total["inside_50"] / count,
        "coverage_90": total["inside_90"] / count,
        "width_90": total["width_90"] / count,
        "spread_error": np.sqrt(total["variance"] / squared),
        "mse": total["squared"] / count,
        "mae": total["absolute"] / count,
        "ssim": total["similarity"] / count,
        "bias": total["error"] / count,
        "f1": 2 * total["hits"] / snow,
    }


def skill(error: float, reference: float) -> float:
    """Return 1 - error / reference: 1 perfect, 0 as good as the reference, negative worse; NaN without a reference."""
    return 1 - error / reference if reference > 0 else float("nan")
