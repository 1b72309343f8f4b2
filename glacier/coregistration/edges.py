"""The direction of an image's edges, worked out some rows at a time. Pure functions of arrays."""

from __future__ import annotations

import cv2
import numpy as np

from glacier.blocks import blocks, widened

FLAT = 8.0  # gradients much below this many times the median one count as flat
LEAST_GRADIENT = 1e-6  # below it a gradient has no direction
BLOCK = 512  # rows of an image worked on at once
STENCIL = 4  # px, further than any stencil of the gradient reaches


def orientation(image: np.ndarray) -> np.ndarray:
    """Return the direction of edges at twice its angle, complex64 (H, W), of length near 1 where it is clear.

    0 where flat or where a missing pixel touches the stencil. image : (H, W), NaN where missing. Edges keep their
    direction when light and snow change their strength (Fitch et al., Orientation Correlation, BMVC 2002); at twice its
    angle (Granlund 1978, 10.1016/0146-664X(78)90047-3) also when the bright side becomes the dark one.
    """
    field = np.empty(image.shape, np.complex64)
    sample = []
    for rows in blocks(len(image), BLOCK):
        field[rows] = gradient(image, rows)
        sample.append(strength_of(field[rows], image, rows)[-rows.start % 3 :: 3, ::3])
    strengths = np.concatenate(sample)  # enough for a median
    clear = strengths[strengths > LEAST_GRADIENT]
    usual = 1
    if len(clear):
        usual = np.median(clear)
    for rows in blocks(len(image), BLOCK):
        slope = field[rows]
        strength = strength_of(slope, image, rows)
        length = strength + FLAT * usual
        directed = strength > LEAST_GRADIENT
        divisor = length * np.maximum(strength, LEAST_GRADIENT)
        field[rows] = slope * slope * directed / divisor
    return field


def gradient(image: np.ndarray, rows: slice) -> np.ndarray:
    """Return the gradient in some rows of an image, along columns + i along rows, complex64; a gap counts as 0."""
    around, inner = widened(rows, STENCIL, len(image))
    part = image[around]
    filled = np.where(np.isfinite(part), part, 0).astype(np.float32)
    smooth = cv2.GaussianBlur(filled, (3, 3), 0.4)
    slope = cv2.Scharr(smooth, cv2.CV_32F, 1, 0) + 1j * cv2.Scharr(smooth, cv2.CV_32F, 0, 1)
    return slope[inner]


def strength_of(slope: np.ndarray, image: np.ndarray, rows: slice) -> np.ndarray:
    """Return how steep gradients of some rows of an image are, 0 where a missing pixel touches the stencil."""
    around, inner = widened(rows, STENCIL, len(image))
    missing = ~np.isfinite(image[around])
    stencil = np.ones((5, 5), np.uint8)
    touched = cv2.dilate(missing.astype(np.uint8), stencil, borderValue=1) > 0
    strength = np.abs(slope)
    strength[touched[inner]] = 0
    return strength
