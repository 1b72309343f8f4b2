"""What the snow index says of the ground: what is snow, what is ice, what stands still."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import cv2
import numpy as np

from glacier.outlines import outline_mask

__all__ = ["SNOW", "OUTLINE_ERROR", "ndsi", "outline_mask", "persistent_snow"]

# m; outlines are drawn to a pixel or two, and ice has moved since
OUTLINE_ERROR = 60.0
SNOW = 0.4  # NDSI above it is snow or ice; Dozier (1989), 10.1016/0034-4257(89)90101-6


def ndsi(green: np.ndarray, swir16: np.ndarray) -> np.ndarray:
    """Return the normalised difference snow index, in [-1, 1].

    green, swir16 : (..., H, W) surface reflectance [1], NaN where masked.
        Reflectance, not digital numbers: Landsat's offset of -0.2 turns a snow NDSI of 0.83 into 0.58.
    Pixels that are masked or reflect nothing are NaN. Dozier (1989), 10.1016/0034-4257(89)90101-6.
    """
    total = green + swir16
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, np.clip((green - swir16) / total, -1, 1), np.nan).astype(
            np.float32
        )


def persistent_snow(
    index: Sequence[np.ndarray], dates: Sequence[date], margin: int = 3
) -> np.ndarray:
    """Return where snow and ice outlast the melt season, bool (H, W): it moves, the rest is ground.

    index : NDSI (T, H, W), NaN where missing; one scene is read at a time. The melt season is the month with the least
    snow and its two neighbours; in it nine of ten scenes show snow where it persists. margin : widening [px].
    """
    cover = np.array([(scene > SNOW).sum() / max(np.isfinite(scene).sum(), 1) for scene in index])
    months = np.array([day.month for day in dates])
    typical = {month: np.median(cover[months == month]) for month in np.unique(months)}
    least = min(typical, key=typical.get)
    seen, snowy = np.zeros((2, *index[0].shape), np.int32)
    for scene in np.flatnonzero(np.isin((months - least) % 12, (11, 0, 1))):
        seen += np.isfinite(index[scene])
        snowy += index[scene] > SNOW
    persistent = ((snowy >= 0.9 * seen) & (seen > 0)).astype(np.uint8)
    opened = cv2.morphologyEx(persistent, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return cv2.dilate(opened, np.ones((2 * margin + 1,) * 2, np.uint8)) > 0
