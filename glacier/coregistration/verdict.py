"""Which corrections are believed, and which scenes are known to lie in the wrong place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from glacier.coregistration.adjustment import Pair
from glacier.coregistration.checks import CHECKS, check_pair, mean_seen
from glacier.coregistration.consensus import CERTAIN, agreeing_pairs, confirmed_scenes
from glacier.coregistration.transforms import corner_shift

GEOLOCATION = 60.0  # m, five times what Landsat's Tier 1 allows (12 m RMSE)
LEAST_GEOLOCATION = 2.0  # px, for coarser sensors
MIN_QUALITY = 0.15  # correlation with its neighbours, below which a scene shows the same ground by chance only
MEASURES = ("strength", "expected_error", "residual", "nmad_before", "nmad_after")
NO_MATCH = "it matches no other scene"
NOT_CONFIRMED = "no two other scenes agree on where it lies"
NOTHING_IN_COMMON = "it has too little in common with its neighbours"
WORSE = "the correction made it worse"


class Transforms(NamedTuple):
    """Where the scenes lie, and whether that is believed.

    matrices : (T, 3, 3), common frame px (x, y, 1) -> scene px; the identity if not accepted. quality : (T,) in [0, 1],
    correlation with its neighbours over stable ground. accepted : (T,) bool, True if two other scenes confirm where it
    lies and the correction makes it fit better. reasons : why not, empty if accepted.
    measures : (T,) arrays by name, NaN where unknown: strength (of the clearest match, see Match), expected_error [px],
    residual [px] (what an independent method, phase correlation, still finds against the neighbours; where that does
    not hold, the expected error), nmad_before and nmad_after (of the difference of local contrast to the neighbours).
    displaced : (T,) bool, True if two other scenes prove that it lies far off and it cannot be put right.
    """

    matrices: np.ndarray
    quality: np.ndarray
    accepted: np.ndarray
    reasons: tuple[str, ...]
    measures: dict[str, np.ndarray]
    displaced: np.ndarray


def unaligned(count: int, reason: str) -> Transforms:
    """Return the transforms of scenes that all stay as delivered, for one reason."""
    identity = np.tile(np.eye(3), (count, 1, 1))
    unknown = {name: np.full(count, np.nan) for name in MEASURES}
    none = np.zeros(count, bool)
    return Transforms(identity, np.zeros(count), none, (reason,) * count, unknown, none)


def judge(
    stack: Sequence,
    stable: np.ndarray,
    pairs: Sequence[Pair],
    matrices: np.ndarray,
    limit: float,
    central: int | None,
    run: Callable = map,
) -> Transforms:
    """Return the transforms; those count that two other scenes confirm and that make their scene fit better.

    A scene fits better if both checks say so, correlation and NMAD; moving shadows and snow lines easily mislead one of
    them: where only one got better, the correction must be CERTAIN times its error.
    limit : how far from its place the product may put a scene [px]. One that two others see further off is put right
    as any other; where the checks do not agree to that, it is displaced.
    central : a scene that is right; None: the frame is the archive's, and a scene whose corners are in place within the
    expected error stays there.
    """
    count = len(stack)
    shape = stable.shape
    agreeing = agreeing_pairs(pairs, matrices, shape)
    confirmed = confirmed_scenes(agreeing, count)
    best = pairs_to_check(agreeing, pairs, count)
    error, strength = certainty(best)
    if central is None:
        in_place = corner_shifts(matrices, shape) < error
        matrices = np.where(in_place[:, None, None], np.eye(3), matrices)
    checks = check_scenes(stack, stable, best, matrices, run)
    fits = fits_better(checks, corner_shifts(matrices, shape) > CERTAIN * error)
    if central is not None:
        fits[central] = True
    quality = np.clip(np.nan_to_num(checks["after"]), 0, 1)
    failures = {  # the first that holds is the reason
        NO_MATCH: np.array([not two for two in best]),
        NOT_CONFIRMED: ~confirmed,
        NOTHING_IN_COMMON: quality < MIN_QUALITY,
        WORSE: ~fits,
    }
    accepted = ~np.any(list(failures.values()), axis=0)
    far = is_far(matrices, confirmed, shape, limit, error)
    displaced = far & confirmed & ~accepted
    reasons = first_failures(failures, count)
    for scene in np.flatnonzero(displaced):
        reasons[scene] = f"it lies more than {limit:.1f} px off and cannot be put right"
    measures = {
        "strength": strength,
        "expected_error": error,
        "residual": np.where(checks["residual"] < 1, checks["residual"], error),
        "nmad_before": checks["nmad_before"],
        "nmad_after": checks["nmad_after"],
    }
    matrices = np.where(accepted[:, None, None], matrices, np.eye(3))
    return Transforms(matrices, quality, accepted, tuple(reasons), measures, displaced)


def first_failures(failures: dict[str, np.ndarray], count: int) -> list[str]:
    """Return for each scene the first reason that holds, or nothing. failures : (T,) bool by reason."""
    reasons = [""] * count
    for reason, fails in reversed(failures.items()):
        for scene in np.flatnonzero(fails):
            reasons[scene] = reason
    return reasons


def pairs_to_check(agreeing: Sequence[Pair], pairs: Sequence[Pair], count: int) -> list[list[Pair]]:
    """Return the comparisons by which each scene is checked: the best that agree, else the best of all."""
    checked = []
    for agreeing_few, few in zip(
        best_pairs(agreeing, count), best_pairs(pairs, count), strict=True
    ):
        checked.append(agreeing_few or few)
    return checked


def certainty(best: Sequence[Sequence[Pair]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the least expected error [px] and the greatest strength of each scene's pairs, (T,); NaN without one."""
    error = np.full(len(best), np.nan)
    strength = np.full(len(best), np.nan)
    for scene, few in enumerate(best):
        if few:
            error[scene] = min(pair.error for pair in few)
            strength[scene] = max(pair.strength for pair in few)
    return error, strength


def best_pairs(pairs: Sequence[Pair], count: int) -> list[list[Pair]]:
    """Return the most certain comparisons of each scene with two others, fewer if there are fewer."""
    best: list[dict[int, Pair]] = [{} for _ in range(count)]  # of each scene, by partner
    for pair in sorted(pairs, key=attrgetter("error")):
        for scene, partner in ((pair.first, pair.second), (pair.second, pair.first)):
            if len(best[scene]) < 2:
                best[scene].setdefault(partner, pair)
    return [list(partners.values()) for partners in best]


def corner_shifts(matrices: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the largest displacement of the corners of each scene, (T,) px."""
    return np.array([corner_shift(matrix, shape) for matrix in matrices])


def check_scenes(
    stack: Sequence,
    stable: np.ndarray,
    best: Sequence[Sequence[Pair]],
    matrices: np.ndarray,
    run: Callable,
) -> dict[str, np.ndarray]:
    """Return the CHECKS of each scene by name, (T,), the mean over its best pairs; NaN without one."""
    ends = sorted({pair[:2] for few in best for pair in few})
    check = partial(check_pair, stack=stack, stable=stable, matrices=matrices)
    checks = dict(zip(ends, run(check, ends), strict=True))
    means = np.full((len(best), len(CHECKS)), np.nan)
    for scene, few in enumerate(best):
        results = []
        for pair in few:
            of_first, of_second = checks[pair[:2]]
            results.append(of_first if scene == pair.first else of_second)
        if results:
            means[scene] = mean_seen(results)
    return dict(zip(CHECKS, means.T, strict=True))


def fits_better(checks: dict[str, np.ndarray], clear: np.ndarray) -> np.ndarray:
    """Return which corrections make the scene fit better, (T,) bool.

    clear : (T,) bool, the corrections for which one of the two checks is enough.
    """
    correlates = checks["after"] >= checks["before"]
    differs_less = checks["nmad_after"] <= checks["nmad_before"]
    return (correlates & differs_less) | ((correlates | differs_less) & clear)


def is_far(
    matrices: np.ndarray,
    confirmed: np.ndarray,
    shape: tuple[int, int],
    limit: float,
    error: np.ndarray,
) -> np.ndarray:
    """Return which scenes lie beyond `limit` [px] and beyond CERTAIN times their error, (T,) bool.

    Seen from the middle of all confirmed scenes, wherever the common frame is.
    """
    if not confirmed.any():
        return np.zeros(len(matrices), bool)
    middle = np.median(matrices[confirmed], axis=0)
    shift = corner_shifts(matrices @ np.linalg.inv(middle), shape)
    return (shift > limit) & (shift > CERTAIN * error)


def allowed_error(pixel_size: float) -> float:
    """Return how far from its place a product may put a scene [px], at pixels of so many metres."""
    return max(LEAST_GEOLOCATION, GEOLOCATION / pixel_size)


def geometric_doubt(record: dict, most: float) -> str:
    """Return why the product itself is not sure where a scene lies, or nothing.

    record : of a SceneStack, with Landsat's tier, T1, T2 or RT, or empty, and the geometric_rmse of its ground control
    points [m], None where not told. most : what is taken without a doubt [m].
    """
    if record["tier"] == "T2":
        return "Landsat Tier 2"
    if record["geometric_rmse"] is not None and record["geometric_rmse"] > most:
        return f"geometric error above {most:g} m"
    return ""


def admit(transforms: Transforms, doubts: Sequence[str]) -> tuple[Transforms, np.ndarray]:
    """Return the transforms with complete reasons, and which scenes belong in the composites, (T,) bool.

    doubts : of geometric_doubt, for each scene. A scene is left out where others prove that it is displaced, or where
    its product doubts its place and no others confirm it. Any other unconfirmed scene stays: a rare state, such as the
    first snow, looks like no other.
    """
    doubtful = np.array([bool(doubt) for doubt in doubts])
    admitted = transforms.accepted | ~(doubtful | transforms.displaced)
    reasons = list(transforms.reasons)
    for scene in np.flatnonzero(doubtful & ~transforms.accepted).tolist():
        reasons[scene] = f"{doubts[scene]}, and {reasons[scene]}"
    return transforms._replace(reasons=tuple(reasons)), admitted
