"""Statistics that a few wrong values hardly change."""
from __future__ import annotations

import numpy as np


def median_of(scenes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the median over the first axis, NaN where all are, and how many are not NaN."""
    ranked = np.sort(scenes, axis=0)  # NaN comes last
    seen = np.isfinite(ranked).sum(axis=0)
    low, high = (np.take_along_axis(ranked, np.maximum(place, 0)[None], axis=0)[0]
                 for place in ((seen - 1) // 2, seen // 2))
    return np.where(seen > 0, (low + high) / 2, np.nan), seen


def nmad(values: np.ndarray) -> float:
    """Return the normalised median absolute deviation, the standard deviation if normal; NaN left out.

    Hoehle & Hoehle (2009), 10.1016/j.isprsjprs.2009.02.003.
    """
    values = values[np.isfinite(values)]
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if values.size else float("nan")
