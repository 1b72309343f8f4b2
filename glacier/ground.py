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
LASTING = 0.9  # part of the scenes of a melt season in which lasting snow is seen


def ndsi(green: np.ndarray, swir16: np.ndarray) -> np.ndarray:
    """Return the normalised difference snow index, in [-1, 1].

    green, swir16 : (..., H, W) surface reflectance [1], NaN where masked.
        Reflectance, not digital numbers: Landsat's offset of -0.2 turns a snow NDSI of 0.83 into 0.58.
    Pixels that are masked or reflect nothing are NaN. Dozier (1989), 10.1016/0034-4257(89)90101-6.
    """
    total = green + swir16
    with np.errstate(invalid="ignore", divide="ignore"):
        index = np.clip((green - swir16) / total, -1, 1)
    return np.where(total > 0, index, np.nan).astype(np.float32)


def persistent_snow(
    index: Sequence[np.ndarray], dates: Sequence[date], margin: int = 3
) -> np.ndarray:
    """Return where snow and ice outlast the melt season, bool (H, W): it moves, the rest is ground.

    index : NDSI (T, H, W), NaN where missing; one scene is read at a time. The melt season is the month with the least
    snow and its two neighbours; in it nine of ten scenes show snow where it persists. margin : widening [px].
    """
    months = np.array([day.month for day in dates])
    least = month_with_least_snow(index, months)
    melting = np.isin(
        (months - least) % 12, (11, 0, 1)
    )  # that month, the one before, the one after
    seen = np.zeros(index[0].shape, np.int32)
    snowy = np.zeros(index[0].shape, np.int32)
    for number in np.flatnonzero(melting).tolist():
        scene = index[number]
        seen += np.isfinite(scene)
        snowy += scene > SNOW
    persistent = (snowy >= LASTING * seen) & (seen > 0)
    opened = cv2.morphologyEx(
        persistent.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)
    )
    around = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    return cv2.dilate(opened, around) > 0


def month_with_least_snow(index: Sequence[np.ndarray], months: np.ndarray) -> int:
    """Return the month, 1 to 12, whose scenes have the least snow in the median.

    index : as in `persistent_snow`. months : (T,), of the scenes.
    """
    cover = np.empty(len(months))  # snowy part of what a scene saw
    for number, scene in enumerate(index):
        seen = np.isfinite(scene).sum()
        cover[number] = (scene > SNOW).sum() / max(seen, 1)
    typical = {int(month): np.median(cover[months == month]) for month in np.unique(months)}
    return min(typical, key=typical.__getitem__)
