"""Images seen through a matrix, and how well two of them agree. Pure functions of arrays."""

from __future__ import annotations

import cv2
import numpy as np

from glacier.blocks import blocks
from glacier.robust import nmad

STEPS = 32  # of a px, to which OpenCV's cubic interpolation rounds places
ROWS = 1024  # of an image seen through a matrix at once
MARGIN = 3  # px around an image that count as missing


def local_contrast(image: np.ndarray, sigma: float = 5.0) -> np.ndarray:
    """Return (image - local mean) / local deviation, float32 (H, W), cut at 3 deviations, 0 where missing.

    image : (H, W), NaN where missing. sigma : of the Gaussian neighbourhood [px].
    Means over the seen pixels only: sums over the neighbourhood, divided by its seen share (normalised convolution,
    Knutsson & Westin 1993, 10.1109/CVPR.1993.341081). OpenCV's own filters would take a gap for a value.
    """
    is_seen = np.isfinite(image)
    seen = is_seen.astype(np.float32)
    values = np.where(is_seen, image, 0).astype(np.float32)
    share = neighbourhood_sum(seen, sigma)
    share = np.maximum(share, 1e-3)
    mean = neighbourhood_sum(values, sigma) / share
    centred = (values - mean) * seen
    variance = neighbourhood_sum(centred**2, sigma) / share
    deviation = np.sqrt(variance)
    floor = 0
    if is_seen.any():
        floor = 0.1 * np.median(deviation[is_seen])
    contrast = centred / (deviation + floor + 1e-6)
    return np.clip(contrast, -3, 3)


def neighbourhood_sum(values: np.ndarray, sigma: float) -> np.ndarray:
    """Return the sum over each pixel's neighbourhood, weighed by a Gaussian of `sigma` [px]."""
    return cv2.GaussianBlur(values, (0, 0), sigma)


def coordinates(
    matrix: np.ndarray, shape: tuple[int, int], top: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return where in the scene each pixel of the common frame lies: x and y, each float64 (H, W) [px].

    shape : of a part of the frame that begins with row `top`.
    """
    rows, columns = np.ogrid[top : top + shape[0], : shape[1]]
    x, y, scale = (row[0] * columns + row[1] * rows + row[2] for row in matrix)
    return x / scale, y / scale


def sampling_maps(
    matrix: np.ndarray, shape: tuple[int, int], top: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the `coordinates` as cv2.remap takes them: x and y, each float32 (H, W)."""
    x, y = np.broadcast_arrays(*coordinates(matrix, shape, top))
    return x.astype(np.float32), y.astype(np.float32)


def resample(image: np.ndarray, matrix: np.ndarray, rows: int = ROWS) -> np.ndarray:
    """Return a scene on the common frame, float32 (H, W), by cubic interpolation (in steps of 1/32 px).

    image : (H, W), NaN where missing. matrix : (3, 3), common frame px (x, y, 1) -> scene px. rows : done at a time.
    NaN where a pixel that the interpolation uses (4 x 4; one row or column at whole coordinates) is missing or outside.
    """
    missing = ~np.isfinite(image)
    filled = np.where(missing, 0, image).astype(np.float32)
    touched = touched_stencils(missing)
    result = np.empty_like(filled)
    for block in blocks(len(image), rows):
        part = result[block]
        down = np.array([[1, 0, 0], [0, 1, block.start], [0, 0, 1]])
        x, y = coordinates(matrix @ down, part.shape)
        x = np.round(x * STEPS) / STEPS
        y = np.round(y * STEPS) / STEPS
        map_x = x.astype(np.float32)
        map_y = y.astype(np.float32)
        part[:] = cv2.remap(filled, map_x, map_y, cv2.INTER_CUBIC)
        row = padded_place(y, image.shape[0])
        column = padded_place(x, image.shape[1])
        whole_x = x == np.floor(x)
        whole_y = y == np.floor(y)
        for (height, width), lost in touched.items():
            right_height = whole_y == (height == 1)
            right_width = whole_x == (width == 1)
            here = right_height & right_width
            is_lost = lost[row, column]
            part[here & is_lost] = np.nan
    return result


def touched_stencils(missing: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """Return, for stencils of 1 or 4 rows and columns, where they touch a missing pixel, bool, padded by MARGIN."""
    padded = np.pad(missing, MARGIN, constant_values=True).astype(np.uint8)
    touched = {}
    for height in (1, 4):
        for width in (1, 4):
            stencil = np.ones((height, width), np.uint8)
            anchor = (min(1, width - 1), min(1, height - 1))
            touched[height, width] = cv2.dilate(padded, stencil, anchor=anchor) > 0
    return touched


def padded_place(places: np.ndarray, length: int) -> np.ndarray:
    """Return in which row or column of a padded image places [px] lie; those far outside at its edge."""
    whole = np.floor(places)
    near = np.clip(whole, -MARGIN, length + 1)
    return near.astype(int) + MARGIN


def resample_sharply(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return a scene on the common frame as in `resample`, by Lanczos interpolation over 8 x 8 px, to be compared.

    Cubic interpolation shifts edges by up to 0.05 px. NaN only where a next pixel is missing: a gap may reach 3 px
    further in.
    """
    missing = ~np.isfinite(image)
    filled = np.where(missing, 0, image).astype(np.float32)
    marked = 255 * missing.astype(np.uint8)
    values = np.empty_like(filled)
    for rows in blocks(len(image), ROWS):
        part = values[rows]
        x, y = sampling_maps(matrix, part.shape, rows.start)
        part[:] = cv2.remap(filled, x, y, cv2.INTER_LANCZOS4)
        lost = cv2.remap(marked, x, y, cv2.INTER_LINEAR, borderValue=255)
        part[lost > 0] = np.nan
    return values


def seen_through(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return a local-contrast image on the first one's frame, by linear interpolation, 0 where a gap is touched."""
    seen = (image != 0).astype(np.float32)
    moved = np.empty_like(image)
    for rows in blocks(len(image), ROWS):
        x, y = sampling_maps(matrix, moved[rows].shape, rows.start)
        whole = cv2.remap(seen, x, y, cv2.INTER_LINEAR) > 0.99
        moved[rows] = cv2.remap(image, x, y, cv2.INTER_LINEAR) * whole
    return moved


def agreement(
    first: np.ndarray, second: np.ndarray, stable: np.ndarray, matrix: np.ndarray
) -> tuple[float, float]:
    """Return correlation and NMAD of the difference of two local-contrast images, the second seen through `matrix`.

    Over stable ground seen in both; 0 and NaN if there is none. NMAD [deviations of local contrast]: see robust.nmad.
    """
    moved = seen_through(second, matrix)
    both = stable & (first != 0) & (moved != 0)
    one = first[both].astype(float)
    another = moved[both].astype(float)
    power = one @ one
    power_of_another = another @ another
    norm = np.sqrt(power * power_of_another)
    if norm == 0:
        return 0.0, np.nan
    difference = another - one
    correlation = float(one @ another / norm)
    return correlation, nmad(difference[::3])  # enough for a median


def phase_residual(
    first: np.ndarray, second: np.ndarray, stable: np.ndarray, matrix: np.ndarray
) -> float:
    """Return the shift [px] that phase correlation finds between two local-contrast images, second through matrix."""
    moved = seen_through(second, matrix)
    both = stable & (first != 0) & (moved != 0)
    x, y = cv2.phaseCorrelateIterative(first * both, moved * both)
    return float(np.hypot(x, y))
