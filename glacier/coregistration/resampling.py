"""Images seen through a matrix, and how well two of them agree. Pure functions of arrays."""

from __future__ import annotations

import cv2
import numpy as np

from glacier.robust import nmad


def local_contrast(image: np.ndarray, sigma: float = 5.0) -> np.ndarray:
    """Return (image - local mean) / local deviation, float32 (H, W), cut at 3 deviations, 0 where missing.

    image : (H, W), NaN where missing. sigma : of the Gaussian neighbourhood [px].
    """
    seen = np.isfinite(image).astype(np.float32)
    values = np.where(seen > 0, image, 0).astype(np.float32)
    share = np.maximum(cv2.GaussianBlur(seen, (0, 0), sigma), 1e-3)
    centred = (values - cv2.GaussianBlur(values, (0, 0), sigma) / share) * seen
    deviation = np.sqrt(cv2.GaussianBlur(centred**2, (0, 0), sigma) / share)
    floor = 0.1 * np.median(deviation[seen > 0]) if seen.any() else 0
    return np.clip(centred / (deviation + floor + 1e-6), -3, 3)


def coordinates(matrix: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return where in the scene each pixel of the common frame lies: x and y, each float64 (H, W) [px]."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    x, y, scale = (matrix[i, 0] * columns + matrix[i, 1] * rows + matrix[i, 2] for i in range(3))
    return x / scale, y / scale


def resample(image: np.ndarray, matrix: np.ndarray, rows: int = 1024) -> np.ndarray:
    """Return a scene on the common frame, float32 (H, W), by cubic interpolation (in steps of 1/32 px).

    image : (H, W), NaN where missing. matrix : (3, 3), common frame px (x, y, 1) -> scene px. rows : done at a time.
    NaN where a pixel that the interpolation uses (4 x 4; one row or column at whole coordinates) is missing or outside.
    """
    missing = ~np.isfinite(image)
    filled = np.where(missing, 0, image).astype(np.float32)
    padded = np.pad(missing, 3, constant_values=True).astype(np.uint8)
    touched = {
        (height, width): cv2.dilate(
            padded,
            np.ones((height, width), np.uint8),
            anchor=(min(1, width - 1), min(1, height - 1)),
        )
        > 0
        for height in (1, 4)
        for width in (1, 4)
    }
    result = np.empty_like(filled)
    for top in range(0, len(image), rows):
        down = np.array([[1, 0, 0], [0, 1, top], [0, 0, 1]])
        part = result[top : top + rows]
        x, y = (np.round(places * 32) / 32 for places in coordinates(matrix @ down, part.shape))
        part[:] = cv2.remap(filled, x.astype(np.float32), y.astype(np.float32), cv2.INTER_CUBIC)
        row, column = (
            np.clip(np.floor(places), -3, size + 1).astype(int) + 3
            for places, size in zip((y, x), image.shape, strict=True)
        )
        whole_x, whole_y = x == np.floor(x), y == np.floor(y)
        for (height, width), lost in touched.items():
            at = (whole_y == (height == 1)) & (whole_x == (width == 1))
            part[at & lost[row, column]] = np.nan
    return result


def resample_sharply(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return a scene on the common frame as in `resample`, by Lanczos interpolation over 8 x 8 px, to be compared.

    Cubic interpolation shifts edges by up to 0.05 px. NaN only where a next pixel is missing: a gap may reach 3 px
    further in.
    """
    x, y = (
        part.astype(np.float32) for part in np.broadcast_arrays(*coordinates(matrix, image.shape))
    )
    missing = ~np.isfinite(image)
    values = cv2.remap(np.where(missing, 0, image).astype(np.float32), x, y, cv2.INTER_LANCZOS4)
    values[
        cv2.remap(255 * missing.astype(np.uint8), x, y, cv2.INTER_LINEAR, borderValue=255) > 0
    ] = np.nan
    return values


def seen_through(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return a local-contrast image on the first one's frame, by linear interpolation, 0 where a gap is touched."""
    x, y = (
        part.astype(np.float32) for part in np.broadcast_arrays(*coordinates(matrix, image.shape))
    )
    whole = cv2.remap((image != 0).astype(np.float32), x, y, cv2.INTER_LINEAR) > 0.99
    return cv2.remap(image, x, y, cv2.INTER_LINEAR) * whole


def agreement(
    first: np.ndarray, second: np.ndarray, stable: np.ndarray, matrix: np.ndarray
) -> tuple[float, float]:
    """Return correlation and NMAD of the difference of two local-contrast images, the second seen through `matrix`.

    Over stable ground seen in both; 0 and NaN if there is none. NMAD : 1.4826 x median absolute deviation
    [deviations of local contrast]; Höhle & Höhle (2009), 10.1016/j.isprsjprs.2009.02.003.
    """
    moved = seen_through(second, matrix)
    both = stable & (first != 0) & (moved != 0)
    a, b = first[both].astype(float), moved[both].astype(float)
    norm = np.sqrt((a @ a) * (b @ b))
    if norm == 0:
        return 0.0, np.nan
    left = (b - a)[::3]  # enough for a median
    return float(a @ b / norm), nmad(left)
