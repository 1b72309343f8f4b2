"""Images seen at other places. Pure functions of arrays; places and displacements are x to the right, y down [px]."""

from __future__ import annotations

import cv2
import numpy as np


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return the Gaussian mean, float32 (H, W); beyond the border is 0."""
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)


def pixels(shape: tuple[int, int]) -> np.ndarray:
    """Return the coordinates x, y of the pixels, float32 (2, H, W)."""
    return np.indices(shape, dtype=np.float32)[::-1]


def sample(
    image: np.ndarray,
    places: np.ndarray,
    how: int = cv2.INTER_LANCZOS4,
    border: int = cv2.BORDER_CONSTANT,
) -> np.ndarray:
    """Return the image (H, W) at places (2, ...) [px], float32; 0 beyond the border, or as `border` says."""
    x, y = np.asarray(places, np.float32)
    return cv2.remap(np.ascontiguousarray(image, np.float32), x, y, how, borderMode=border)


def midway(field: np.ndarray) -> np.ndarray:
    """Return a displacement (2, H, W) that starts at each pixel as one that has its middle there."""
    result = field
    for _ in range(3):
        start = pixels(field.shape[1:]) - result / 2
        parts = [sample(part, start, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE) for part in field]
        result = np.array(parts)
    return result


def halve(image: np.ndarray) -> np.ndarray:
    """Return an image (H, W) at half its resolution, the mean of 2 x 2 pixels each."""
    height, width = image.shape
    size = ((width + 1) // 2, (height + 1) // 2)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def enlarge(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return a halved image at the full resolution of `shape`, interpolated linearly."""
    return cv2.resize(image, shape[::-1], interpolation=cv2.INTER_LINEAR)
