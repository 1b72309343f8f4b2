"""Which corrections are believed: checks of each scene against its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np

from glacier.coregistration.adjustment import Pair
from glacier.coregistration.resampling import agreement, local_contrast, seen_through
from glacier.coregistration.transforms import corner_shift

CLEAR = 3.0  # times its expected error that a correction must be to stand against one of two checks
MEASURES = ("strength", "expected_error", "residual", "nmad_before", "nmad_after")


class Transforms(NamedTuple):
    """Where the scenes lie, and whether that is believed.

    matrices : (T, 3, 3), common frame px (x, y, 1) -> scene px; the identity if not accepted. quality : (T,) in [0, 1],
    correlation with its neighbours over stable ground. accepted : (T,) bool. reasons : why not, empty if accepted.
    measures : (T,) arrays by name, NaN where unknown: strength (of the clearest match, see Match), expected_error [px],
    residual [px] (what an independent method, phase correlation, still finds against the neighbours; where that does
    not hold, the expected error), nmad_before and nmad_after (of the difference of local contrast to the neighbours).
    """

    matrices: np.ndarray
    quality: np.ndarray
    accepted: np.ndarray
    reasons: tuple[str, ...]
    measures: dict[str, np.ndarray]


def judge(
    stack: Sequence,
    stable: np.ndarray,
    pairs: Sequence[Pair],
    matrices: np.ndarray,
    limit: float,
    central: int | None,
    run: Callable = map,
) -> Transforms:
    """Return the transforms, with scenes taken back that match no other or lie worse on their neighbours than before,
    by correlation and by NMAD. Moving shadows and snow lines easily mislead one of them: where only one got better, the
    correction must be CLEAR.

    Before means: this scene as delivered, its two best neighbours where they are now. central : a scene that is right;
    None: the frame is the archive's, and a scene whose corners are in place within the expected error stays there.
    """
    count = len(stack)
    best = [
        sorted((pair for pair in pairs if scene in pair[:2]), key=lambda pair: pair.error)[:2]
        for scene in range(count)
    ]
    error = np.array([min((pair.error for pair in chosen), default=np.nan) for chosen in best])
    if central is None:
        in_place = np.array([corner_shift(matrix, stable.shape) for matrix in matrices]) < error
        matrices = np.where(in_place[:, None, None], np.eye(3), matrices)
    checks: list[list[tuple]] = [[] for _ in range(count)]
    ends = sorted({pair[:2] for chosen in best for pair in chosen})
    for both, found in zip(
        ends,
        run(partial(check_pair, stack=stack, stable=stable, matrices=matrices), ends),
        strict=True,
    ):
        for scene, check in zip(both, found, strict=True):
            checks[scene].append(check)
    means = np.array([mean_seen(check) if check else np.full(5, np.nan) for check in checks])
    before, after, residual, nmad_before, nmad_after = means.T
    strength = np.array(
        [max((pair.strength for pair in chosen), default=np.nan) for chosen in best]
    )
    shift = np.array([corner_shift(matrix, stable.shape) for matrix in matrices])
    gains = (after >= before).astype(int) + (nmad_after <= nmad_before)
    better = (gains == 2) | ((gains == 1) & (shift > CLEAR * error)) | (np.arange(count) == central)
    reasons = tuple(
        "it matches no other scene"
        if not chosen
        else f"the correction is larger than {limit:.1f} px"
        if moved > limit
        else ""
        if fits
        else "the correction made it worse"
        for chosen, moved, fits in zip(best, shift, better, strict=True)
    )
    accepted = np.array([not reason for reason in reasons])
    residual = np.where(residual < 1, residual, error)
    measures = dict(
        zip(MEASURES, (strength, error, residual, nmad_before, nmad_after), strict=True)
    )
    quality = np.clip(np.nan_to_num(after), 0, 1)
    return Transforms(
        np.where(accepted[:, None, None], matrices, np.eye(3)), quality, accepted, reasons, measures
    )


def check_pair(
    ends: tuple[int, int], stack: Sequence, stable: np.ndarray, matrices: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each of two scenes: correlation before and after, residual [px], NMAD before and after.

    ends : their numbers in the stack. matrices : (T, 3, 3), common frame px -> scene px, of all scenes.
    The residual is what phase correlation, which had no part in the alignment, still finds between them.
    """
    checks, to_other, back = [], matrices[ends[1]], np.linalg.inv(matrices[ends[0]])
    for one, other in zip(*(stack[scene] for scene in ends), strict=True):
        first, second = (
            cv2.GaussianBlur(image, (0, 0), 1)
            * (image != 0)  # lest it counts that resampling smooths
            for image in (local_contrast(one), local_contrast(other))
        )
        after, nmad_after = agreement(first, second, stable, to_other @ back)
        moved = seen_through(second, to_other @ back)
        both = stable & (first != 0) & (moved != 0)
        residual = np.hypot(*cv2.phaseCorrelateIterative(first * both, moved * both))
        for matrix in (to_other, back):
            before, nmad_before = agreement(first, second, stable, matrix)
            checks.append((before, after, residual, nmad_before, nmad_after))
    return mean_seen(checks[::2]), mean_seen(checks[1::2])


def mean_seen(values: Sequence) -> np.ndarray:
    """Return the mean over the first axis of what is not NaN; NaN where nothing is."""
    values = np.array(values, float)
    seen = np.isfinite(values)
    return np.where(seen, values, 0).sum(axis=0) / np.where(
        seen.any(axis=0), seen.sum(axis=0), np.nan
    )
