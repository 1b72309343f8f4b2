"""Where one image lies on another, by the enhanced correlation coefficient."""

from __future__ import annotations

import cv2
import numpy as np

from glacier.coregistration.resampling import agreement, local_contrast
from glacier.coregistration.transforms import MODELS, Match

MIN_CORRELATION = 0.1  # of the local contrast of two scenes; below it they show nothing in common
SMOOTHING = 3  # px, side of the Gaussian filter over both images
BLUNT = 0.1  # px of error at a correlation of 0.7


def register_ecc(
    first: np.ndarray,
    second: np.ndarray,
    stable: np.ndarray,
    model: str,
    criterion: float = 1e-5,
    iterations: int = 100,
) -> Match | None:
    """Return the match of the greatest enhanced correlation coefficient; None if it fails or helps nothing.

    first, second : (H, W), NaN where missing. stable : bool, True where nothing moves.
    Starts at the phase correlation. Evangelidis & Psarakis (2008), 10.1109/TPAMI.2008.113.
    """
    first, second = local_contrast(first), local_contrast(second)
    first_mask = (stable & (first != 0)).astype(np.uint8)
    second_mask = (second != 0).astype(np.uint8)
    matrix = starting_matrix(first, second, stable)
    if model != "homography":
        matrix = matrix[:2].copy()
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, iterations, criterion)
    masks = (first_mask, second_mask)
    try:
        _, matrix = cv2.findTransformECCWithMask(
            first, second, *masks, matrix, MODELS[model], criteria, SMOOTHING
        )
    except cv2.error:  # raised where the iteration does not converge
        return None
    matrix = np.vstack([matrix, [0, 0, 1]])[:3].astype(float)
    correlation, _ = agreement(first, second, stable, matrix)
    as_delivered, _ = agreement(first, second, stable, np.eye(3))
    if correlation < max(MIN_CORRELATION, as_delivered):
        return None
    error = BLUNT * np.sqrt(1.001 - correlation**2) / correlation
    return Match(matrix, error, correlation)


def starting_matrix(first: np.ndarray, second: np.ndarray, stable: np.ndarray) -> np.ndarray:
    """Return no shift or that of phase correlation, whichever agrees better, float32 (3, 3)."""
    window = cv2.createHanningWindow(first.shape[::-1], cv2.CV_32F)
    still = np.eye(3, dtype=np.float32)
    shifted = still.copy()
    shifted[:2, 2] = cv2.phaseCorrelate(first * stable, second * stable, window)[0]
    return max(still, shifted, key=lambda matrix: agreement(first, second, stable, matrix)[0])
