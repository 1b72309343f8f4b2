"""Where one image lies on another, by the enhanced correlation coefficient."""

from __future__ import annotations

import cv2
import numpy as np

from glacier.coregistration.resampling import agreement, local_contrast
from glacier.coregistration.transforms import MODELS, Match

MIN_CORRELATION = 0.1  # of the local contrast of two scenes; below it they show nothing in common


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
    masks = [(stable & (first != 0)).astype(np.uint8), (second != 0).astype(np.uint8)]
    window = cv2.createHanningWindow(first.shape[::-1], cv2.CV_32F)
    starts = [np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)]
    starts[1][:2, 2] = cv2.phaseCorrelate(first * stable, second * stable, window)[0]
    start = max(starts, key=lambda matrix: agreement(first, second, stable, matrix)[0])
    matrix = start if model == "homography" else start[:2].copy()
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, iterations, criterion)
    try:
        _, matrix = cv2.findTransformECCWithMask(
            first, second, *masks, matrix, MODELS[model], criteria, 3
        )
    except cv2.error:  # raised where the iteration does not converge
        return None
    matrix = np.vstack([matrix, [0, 0, 1]])[:3].astype(float)
    reached = agreement(first, second, stable, matrix)[0]
    if reached < max(MIN_CORRELATION, agreement(first, second, stable, np.eye(3))[0]):
        return None
    return Match(matrix, 0.1 * np.sqrt(1.001 - reached**2) / reached, reached)
