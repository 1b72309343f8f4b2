"""How well a scene lies on its neighbours, before and after its correction."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from glacier.coregistration.resampling import agreement, local_contrast, phase_residual

# what check_pair returns for a scene
CHECKS = ("before", "after", "residual", "nmad_before", "nmad_after")


def check_pair(
    ends: tuple[int, int], stack: Sequence, stable: np.ndarray, matrices: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return CHECKS of each of two scenes: correlation before and after, residual [px], NMAD before and after.

    ends : their numbers in the stack. matrices : (T, 3, 3), common frame px -> scene px, of all scenes.
    Before means: this scene as delivered, the other one where it is now. The residual is what phase correlation, which
    had no part in the alignment, still finds between them.
    """
    first, second = ends
    to_second = matrices[second]
    from_first = np.linalg.inv(matrices[first])
    corrected = to_second @ from_first  # first px -> second px
    checks_of_first = []
    checks_of_second = []
    for first_image, second_image in zip(stack[first], stack[second], strict=True):
        one = smooth_contrast(first_image)
        another = smooth_contrast(second_image)
        after, nmad_after = agreement(one, another, stable, corrected)
        residual = phase_residual(one, another, stable, corrected)
        before, nmad_before = agreement(one, another, stable, to_second)
        checks_of_first.append((before, after, residual, nmad_before, nmad_after))
        before, nmad_before = agreement(one, another, stable, from_first)
        checks_of_second.append((before, after, residual, nmad_before, nmad_after))
    return mean_seen(checks_of_first), mean_seen(checks_of_second)


def smooth_contrast(image: np.ndarray) -> np.ndarray:
    """Return the local contrast a little smoothed, so that the smoothing of a resampling does not count for it."""
    contrast = local_contrast(image)
    return cv2.GaussianBlur(contrast, (0, 0), 1) * (contrast != 0)


def mean_seen(layers: Sequence) -> np.ndarray:
    """Return the mean over the first axis of what is not NaN; NaN where nothing is."""
    values = np.array(layers, float)
    seen = np.isfinite(values)
    count = np.where(seen.any(axis=0), seen.sum(axis=0), np.nan)
    return np.where(seen, values, 0).sum(axis=0) / count
