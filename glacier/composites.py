"""Composites: one image a step of the year, from all scenes of the step, without gaps. Pure functions of arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, NamedTuple

import cv2
import numpy as np

from config import GlacierError
from glacier import console
from glacier.blocks import blocks, widened
from glacier.robust import nan_nmad
from glacier.seasons import step_date, year_step

DISTANCE = np.hypot(*np.mgrid[-2:3, -2:3])
# 1 / distance [1/px]
KERNEL = np.divide(1.0, DISTANCE, out=np.zeros_like(DISTANCE), where=DISTANCE > 0)
AT_ONCE = 30_000_000  # values of all scenes of a step that are read at once
NARROW = 2  # passes of the kernel, 4 px, by which a gap is filled from around


def robust_mean(
    scenes: np.ndarray, members: Sequence[int], rows: int = 128
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return median, spread and count of some scenes: float32 (C, H, W), float32 (C, H, W), uint16 (H, W).

    scenes : (T, C, H, W), NaN where missing; at most `rows` rows are read at a time, so it may be memory-mapped.
    The median is NaN where none saw the pixel. Spread: 1.4826 x median distance from it (NMAD), NaN where fewer than
    two did. Count : scenes that saw every channel.
    """
    shape = scenes.shape[1:]
    median = np.full(shape, np.nan, np.float32)
    spread = np.full(shape, np.nan, np.float32)
    count = np.zeros(shape[1:], np.uint16)
    if not len(members):
        return median, spread, count
    a_row = len(members) * shape[0] * shape[2]  # values
    rows = max(1, min(rows, AT_ONCE // a_row))
    for block in blocks(shape[1], rows):
        part = np.array([scenes[scene, :, block] for scene in members])  # (members, C, rows, W)
        middle, scatter, seen = nan_nmad(part)
        median[:, block] = middle
        spread[:, block] = np.where(seen > 1, scatter, np.nan)
        count[block] = np.isfinite(part).all(axis=1).sum(axis=0)
    return median, spread, count


def fill_gaps(
    image: np.ndarray, kernel: np.ndarray = KERNEL, passes: int | None = None
) -> np.ndarray:
    """Return the image with missing pixels set to the weighted mean of the seen pixels around them, float32 (H, W).

    image : (H, W), NaN where missing. kernel : weights around a pixel, odd sides. passes : how often, each pass
    building on the last; None: until full. Seen pixels stay as they are; an image without any stays NaN.
    Normalised convolution, Knutsson & Westin (1993), 10.1109/CVPR.1993.341081. Our own: it weighs the seen pixels alone
    and fills a gap as far from its rim as asked, so that the rest can come from earlier years. OpenCV's and GDAL's ways
    fill whole gaps; of these they hit the truth better by a tenth (benchmarks/composites.py).
    """
    values = image.astype(float)
    missing = np.isnan(values)
    while missing.any() and not missing.all() and passes != 0:
        seen = (~missing).astype(float)
        total = filtered(np.where(missing, 0, values), kernel)
        weight = filtered(seen, kernel)
        near = missing & (weight > 0)
        values[near] = total[near] / weight[near]
        missing &= ~near
        if passes is not None:
            passes -= 1
    return values.astype(np.float32)


def fill_narrow_gaps(image: np.ndarray, rows: int = 1024) -> np.ndarray:
    """Return the image (H, W) with gaps filled from around as far as NARROW passes reach, `rows` rows at a time."""
    reach = NARROW * (len(KERNEL) // 2)
    filled = np.empty(image.shape, np.float32)
    for block in blocks(len(image), rows):
        around, inner = widened(block, reach, len(image))
        filled[block] = fill_gaps(image[around], passes=NARROW)[inner]
    return filled


def filtered(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return the sums of values (H, W) around each pixel, weighted by a kernel; 0 counts outside."""
    return cv2.filter2D(values, cv2.CV_64F, kernel, borderType=cv2.BORDER_CONSTANT)


def fill_step(
    values: np.ndarray, observed: np.ndarray, step: int, steps_per_year: int
) -> np.ndarray:
    """Return the composite of a step without gaps, float32 (C, H, W); no later step is read.

    values : (S, C, H, W), earlier steps without gaps, this one NaN in its gaps. observed : (S, H, W) bool.
    Narrow gaps (4 px to the nearest seen pixel at most) are filled from around; wide ones with the mean of what the
    same season of earlier years really showed, else with the step before, and in the first step from around.
    """
    fill = fill_gaps if step == 0 else fill_narrow_gaps
    filled = np.array([fill(channel) for channel in values[step]])
    gaps = np.isnan(filled)
    if not gaps.any():
        return filled
    total = np.zeros_like(filled)
    count = np.zeros(filled.shape[1:], np.float32)
    for earlier in range(step % steps_per_year, step, steps_per_year):
        total += np.where(observed[earlier], values[earlier], 0)
        count += observed[earlier]
    same_season = total / np.maximum(count, 1)
    past = np.where(count > 0, same_season, values[step - 1])
    return np.where(gaps, past, filled)


class Arrays(NamedTuple):
    """What `composite` fills, for S steps.

    values : float32 (S, C, H, W), without gaps. observed : bool (S, H, W), True where a scene of the step saw every
    channel of the pixel. seen : uint16 (S, H, W), how many did. spread : float32 (S, C, H, W), NMAD of the step's
    scenes, NaN where fewer than two saw the pixel.
    """

    values: Any
    observed: Any
    seen: Any
    spread: Any


KINDS = Arrays(np.float32, bool, np.uint16, np.float32)


def shapes(steps: int, scene: tuple[int, int, int]) -> Arrays:
    """Return the shapes of the arrays for scenes (C, H, W)."""
    channels, height, width = scene
    per_channel = (steps, channels, height, width)
    per_pixel = (steps, height, width)
    return Arrays(values=per_channel, observed=per_pixel, seen=per_pixel, spread=per_channel)


def in_memory(steps: int, scene: tuple[int, int, int]) -> Arrays:
    """Return arrays to fill for scenes (C, H, W)."""
    arrays = [np.empty(size, kind) for size, kind in zip(shapes(steps, scene), KINDS, strict=True)]
    return Arrays(*arrays)


def composite(
    scenes: np.ndarray,
    dates: Sequence[date],
    steps_per_year: int,
    out: Callable[[int], Arrays] | None = None,
    admitted: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, list[date]]:
    """Return a composite for each step of the year: values (S, C, H, W), observed (S, H, W), first day of each step.

    scenes : (T, C, H, W), NaN where missing. dates : of the scenes, in any order. Steps run unbroken from the first
    with a seen pixel to the last; values have no gaps (fill_step). out : called with S, gives the arrays to fill, see
    Arrays; None: in memory. admitted : (T,) bool, the scenes that count; None: all.
    """
    numbers = np.array([year_step(day, steps_per_year) for day in dates])
    if admitted is None:
        admitted = np.ones(len(dates), bool)
    if not admitted.any():
        raise GlacierError(
            f"none of {len(dates)} scenes is left for composites; raise maxGeometricError, "
            "or take more years, then run dataAPI.py"
        )
    first = first_seen(scenes, numbers, admitted)
    if first is None:
        raise GlacierError(
            "no scene has a pixel without cloud; raise maxCloudPercent or maxMissingFraction, "
            "then run dataAPI.py"
        )
    steps = int(numbers[admitted].max()) - first + 1
    if out:
        arrays = out(steps)
    else:
        arrays = in_memory(steps, scenes.shape[1:])
    for step in console.progress(range(steps), "composites"):
        members = np.flatnonzero((numbers == first + step) & admitted).tolist()
        median, spread, seen = robust_mean(scenes, members)
        arrays.values[step] = median
        arrays.spread[step] = spread
        arrays.seen[step] = seen
        arrays.observed[step] = np.isfinite(median).all(axis=0)
        arrays.values[step] = fill_step(arrays.values, arrays.observed, step, steps_per_year)
    step_dates = [step_date(first + step, steps_per_year) for step in range(steps)]
    return arrays.values, arrays.observed, step_dates


def first_seen(scenes: np.ndarray, numbers: np.ndarray, admitted: np.ndarray) -> int | None:
    """Return the number of the first step in which a pixel is seen in all channels; None if none is."""
    in_time_order = np.argsort(numbers, kind="stable")
    for scene in in_time_order[admitted[in_time_order]]:
        if np.isfinite(scenes[scene]).all(axis=0).any():
            return int(numbers[scene])
    return None
