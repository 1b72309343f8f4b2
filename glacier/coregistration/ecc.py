"""Where one image lies on another, by the enhanced correlation coefficient."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from glacier.coregistration.resampling import agreement, local_contrast, phase_residual
from glacier.coregistration.transforms import MODELS, Match, corner_shift

MIN_CORRELATION = 0.1  # of the local contrast of two scenes; below it they show nothing in common
SMOOTHING = 3  # px, side of the Gaussian filter over both images
BLUNT = 0.1  # px of error at a correlation of 0.7
# px of error that a px means which phase correlation still finds: measured on real scenes of different seasons, whose
# snow lines and shadows pull the intensities, and with them this method, to another place than the edges
PULL = 1.3
CLEAR = 3.0  # times that error: a smaller motion may be none


class Reference(NamedTuple):
    """What is compared of a first image: its local contrast (H, W), and where nothing moves, (H, W) bool.

    model : of the motion.
    """

    model: str
    contrast: np.ndarray
    stable: np.ndarray


def reference_ecc(first: np.ndarray, stable: np.ndarray, model: str) -> Reference:
    """Return what is compared of an image with any other. first : (H, W), NaN where missing."""
    return Reference(model, local_contrast(first), stable)


def register_ecc(
    reference: Reference, second: np.ndarray, criterion: float = 1e-5, iterations: int = 100
) -> Match | None:
    """Return the match of the greatest enhanced correlation coefficient; None if it fails or helps nothing.

    second : (H, W), NaN where missing. Starts at the phase correlation, which also judges the result: where the edges
    still lie apart, snow lines and shadows have pulled the intensities. That counts as error, and a motion which it may
    explain is refused, so that a series which lies well as delivered is not made worse.
    Evangelidis & Psarakis (2008), 10.1109/TPAMI.2008.113.
    """
    model, first, stable = reference
    second = local_contrast(second)
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
    pulled = PULL * phase_residual(first, second, stable, matrix)
    small = corner_shift(matrix, first.shape) < CLEAR * pulled
    if pulled > error and small:
        return None
    return Match(matrix, float(np.hypot(error, pulled)), correlation)


def starting_matrix(first: np.ndarray, second: np.ndarray, stable: np.ndarray) -> np.ndarray:
    """Return no shift or that of phase correlation, whichever agrees better, float32 (3, 3)."""
    window = cv2.createHanningWindow(first.shape[::-1], cv2.CV_32F)
    still = np.eye(3, dtype=np.float32)
    shifted = still.copy()
    shifted[:2, 2] = cv2.phaseCorrelate(first * stable, second * stable, window)[0]
    return max(still, shifted, key=lambda matrix: agreement(first, second, stable, matrix)[0])
