"""Where each scene of a series lies: transforms from a common frame to every scene, estimated over stable ground.

Pure functions of arrays. Scenes of different seasons differ more by snow and shadow than by position, so each scene is
compared with the few that look most like it, in several images (brightness, snow index), and all comparisons are
adjusted together.
"""
from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
from scipy.sparse import csgraph
from threadpoolctl import threadpool_limits

import store
from config import GlacierError
from matching import (
    MODELS,
    agreement,
    corner_shift,
    local_contrast,
    register_ecc,
    register_orientation,
    seen_through,
    unit_frame,
)

log = logging.getLogger(__name__)

TURNED = 10.0  # times ARCHIVE_SHAPE, from where on a rotation or scale is believed rather than held back
NEIGHBOURS, FAR = 3, 3  # scenes that each scene is compared with: the most similar ones, and any others
MAX_SHIFT = 60.0  # px between two scenes; a larger one is not believed
MIN_STABLE = 0.03  # part of the scene that must be stable ground
MIN_PIXELS = 100 * 100  # stable ground for more than shifts [px]
CLEAR = 3.0  # times its expected error that a correction must be to stand against one of two checks
ARCHIVE_SHIFT, ARCHIVE_SHAPE = 0.4, 0.03  # px, how far scenes as delivered lie apart: shifts; rotations and scales
MEASURES = ("strength", "expected_error", "residual", "nmad_before", "nmad_after")
METHODS = {"orientation": register_orientation, "ecc": register_ecc}


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


class Pair(NamedTuple):
    """One comparison: a Match of scene `first` with scene `second`."""
    first: int
    second: int
    matrix: np.ndarray
    error: float
    strength: float


# ── The series as a whole ────────────────────────────────────────────────────────────────────────────────────────

def similarity(stack: Sequence, side: int = 64) -> np.ndarray:
    """Return how alike scenes (T, B, H, W) look, (T, T): correlation of shrunk local contrast x root of the overlap."""
    size = tuple(min(side, length) for length in stack[0].shape[:-3:-1])

    def shrunk(image):
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA).ravel()

    contrasts, seen = [], []
    for scene in stack:
        images = [local_contrast(image) for image in scene]
        contrasts.append(np.concatenate([shrunk(image) for image in images]))
        seen.append(np.concatenate([shrunk((image != 0).astype(np.float32)) for image in images]))
    contrast, seen = np.array(contrasts), np.array(seen)
    power = contrast**2 @ seen.T
    overlap = seen @ seen.T / seen.shape[1]
    return contrast @ contrast.T / np.sqrt(np.maximum(power * power.T, 1e-12)) * np.sqrt(overlap)


def neighbour_pairs(alike: np.ndarray, near: int = NEIGHBOURS, far: int = FAR) -> list[tuple[int, int]]:
    """Return sorted pairs of scenes: each with its `near` most similar ones and with `far` others, drawn by lot.

    The tree that connects all is among them. The most similar scenes are of the same season; without the others, each
    season would drift away with its shadows.
    """
    count, random = len(alike), np.random.default_rng(0)
    ranked = np.argsort(-(alike - 3 * np.eye(count)), axis=1, kind="stable")[:, :-1]
    tree = csgraph.minimum_spanning_tree(np.triu(2.0 - alike, 1)).nonzero()
    ends = list(zip(*(part.tolist() for part in tree), strict=True))
    for scene, order in enumerate(ranked):
        others = order[near:]
        chosen = [*order[:near], *random.choice(others, min(far, len(others)), replace=False)]
        ends += [(scene, int(other)) for other in chosen]
    return sorted({(min(pair), max(pair)) for pair in ends})


def one_thread() -> None:
    """Keep this process to one thread: many small matrix products lose more by waiting for each other than they win."""
    cv2.setNumThreads(1)
    threadpool_limits(1)


def compare(ends: tuple[int, int], stack: Sequence, stable: np.ndarray, model: str, register: Callable) -> list[Pair]:
    """Return the believable matches of two scenes (numbers in the stack), one for each of their images."""
    first, second = ends
    matches = [register(one, other, stable, model) for one, other in zip(stack[first], stack[second], strict=True)]
    return [Pair(first, second, *match) for match in matches
            if match is not None and corner_shift(match.matrix, stable.shape) <= MAX_SHIFT]


def adjust(pairs: Sequence[Pair], count: int, shape: tuple[int, int], archive: tuple[float, float] = (1e3, 1e3),
           rounds: int = 10) -> np.ndarray:
    """Return matrices (T, 3, 3) that agree best with all pairs at once; a pair that disagrees counts less.

    archive : how far scenes as delivered lie apart [px], by shift and by the rest of the matrix. That each lies about
    where the archive put it holds back the drift that adds up along the seasons, as the sun moves the shading; from the
    second round on, and a scene that is clearly turned or stretched is let go.
    Least squares on the logarithms of the matrices, which keeps every motion model exact, with Cauchy weights.
    """
    unit = unit_frame(shape)
    measured = unit @ np.array([pair.matrix for pair in pairs]) @ np.linalg.inv(unit)
    ends, precision = np.array([pair[:2] for pair in pairs]), np.array([pair.error**-2.0 for pair in pairs])
    design = np.zeros((len(pairs), count))
    for row, (i, j) in zip(design, ends, strict=True):
        row[i], row[j] = -1, 1
    matrices = np.tile(np.eye(3), (count, 1, 1))
    least = 2 / max(shape) * np.median([pair.error for pair in pairs])  # disagreement that is none, in the unit frame
    for number in range(rounds):
        left = logarithms(np.linalg.inv(matrices[ends[:, 1]]) @ measured @ matrices[ends[:, 0]]).reshape(-1, 9)
        own = logarithms(matrices).reshape(-1, 9)
        size = np.linalg.norm(left, axis=1)
        weights = precision / (1 + (size / (2 * max(np.median(size), least))) ** 2)
        turned = max(shape) / 2 * np.linalg.norm(np.delete(own, (2, 5), axis=1), axis=1)  # px; 2 and 5 hold the shift
        held = archive[1] ** -2 / (1 + (turned / (TURNED * archive[1])) ** 2) * (number > 0)
        step = np.empty((count, 9))
        for part in range(9):
            keep = np.full(count, archive[0] ** -2) if part in (2, 5) else held
            normal = design.T @ (weights[:, None] * design) + np.diag(keep + 1e-6)
            step[:, part] = np.linalg.solve(normal, design.T @ (weights * left[:, part]) - keep * own[:, part])
        matrices = matrices @ exponentials(step.reshape(-1, 3, 3))
    return scaled(np.linalg.inv(unit) @ matrices @ unit)


def logarithms(matrices: np.ndarray) -> np.ndarray:
    """Return the logarithms of matrices (..., 3, 3) near the identity, by their power series."""
    power, total = np.eye(3), 0.0
    for order in range(1, 16):
        power = power @ (matrices - np.eye(3))
        total = total - (-1) ** order / order * power
    return total


def exponentials(matrices: np.ndarray) -> np.ndarray:
    """Return the exponentials of small matrices (..., 3, 3), by their power series."""
    total = power = np.eye(3)
    for order in range(1, 16):
        power = power @ matrices / order
        total = total + power
    return total


def scaled(matrices: np.ndarray) -> np.ndarray:
    """Return matrices (T, 3, 3) with 1 in the last corner."""
    return matrices / matrices[:, 2:, 2:]


@threadpool_limits.wrap(limits=1)
def estimate_transforms(stack: np.ndarray | Sequence, model: str = "affine", method: str = "orientation",
                        weights: np.ndarray | None = None, *, gauge: str = "central", limit: float = np.inf,
                        criterion: float = 1e-5, iterations: int = 100, executor: Executor | None = None) -> Transforms:
    """Return the transform of every scene onto a common frame, estimated over stable ground.

    stack : (T, H, W), NaN where missing, in any unit; or (T, B, H, W), several images of each scene. Any sequence that
        gives (B, H, W) by number will do: a few scenes are read at a time.
    weights : (H, W) in [0, 1], how stable the ground is; None: all of it.
    model, method : a key of MODELS, METHODS. criterion, iterations : when ECC stops.
    gauge : "central": the common frame is that of the scene most like the others; "archive": the middle of all scenes
        as delivered, whose positions then also count as weak measurements.
    limit : largest correction that is believed [px]. executor : where pairs are compared, in processes; None: here.
    A scene whose correction cannot be believed keeps the identity, and a reason.
    """
    for word, value, known in (("motionModel", model, MODELS), ("alignmentMethod", method, METHODS)):
        if value not in known:
            raise GlacierError(f"{word} must be one of {', '.join(known)}; got {value!r}")
    stack = stack[:, None] if getattr(stack, "ndim", 4) == 3 else stack
    count, shape = len(stack), stack[0].shape[-2:]
    run = map if executor is None else executor.map
    stable = np.ones(shape, bool) if weights is None else np.asarray(weights) > 0.5
    model = affordable(model, stable)
    if count < 2 or not model:
        reason = "the only scene" if count < 2 else f"only {stable.mean():.1%} of the scene is stable ground"
        return unaligned(count, reason)
    alike = similarity(stack)
    register = partial(register_ecc, criterion=criterion, iterations=iterations) if method == "ecc" else METHODS[method]
    ends = neighbour_pairs(alike)
    work = partial(compare, stack=stack, stable=stable, model=model, register=register)
    found = store.progress(run(work, ends), "pairs of scenes", len(ends))
    pairs, members = largest_group([pair for matches in found for pair in matches], count)
    if not pairs:
        return unaligned(count, "it matches no other scene")
    matrices = adjust(pairs, count, shape, (ARCHIVE_SHIFT, ARCHIVE_SHAPE) if gauge == "archive" else (1e3, 1e3))
    central = int(np.where(members, alike @ members, -np.inf).argmax())
    frame = np.median(matrices[members], axis=0) if gauge == "archive" else matrices[central]
    matrices = scaled(matrices @ np.linalg.inv(frame))
    return judge(stack, stable, pairs, matrices, limit, None if gauge == "archive" else central, run)


def affordable(model: str, stable: np.ndarray) -> str:
    """Return the model that the stable ground (H, W) bool can carry: shifts only if it is little, "" if hardly any."""
    if stable.mean() < MIN_STABLE:
        return ""
    if (stable.mean() < 3 * MIN_STABLE or stable.sum() < MIN_PIXELS) and model != "translation":
        log.warning("  only %d px, %.0f %%, are stable ground: shifts only, no motionModel %s", stable.sum(),
                    100 * stable.mean(), model)
        return "translation"
    return model


def unaligned(count: int, reason: str) -> Transforms:
    """Return the transforms of scenes that all stay as delivered, for one reason."""
    unknown = {name: np.full(count, np.nan) for name in MEASURES}
    identity = np.tile(np.eye(3), (count, 1, 1))
    return Transforms(identity, np.zeros(count), np.zeros(count, bool), (reason,) * count, unknown)


def largest_group(pairs: Sequence[Pair], count: int) -> tuple[list[Pair], np.ndarray]:
    """Return the pairs of the largest group of connected scenes, and which scenes (T,) bool belong to it."""
    links = np.zeros((count, count))
    for pair in pairs:
        links[pair.first, pair.second] = 1
    _, group = csgraph.connected_components(links, directed=False)
    members = group == np.bincount(group).argmax()
    return [pair for pair in pairs if members[pair.first]], members


def judge(stack: Sequence, stable: np.ndarray, pairs: Sequence[Pair], matrices: np.ndarray, limit: float,
          central: int | None, run: Callable = map) -> Transforms:
    """Return the transforms, with scenes taken back that match no other or lie worse on their neighbours than before,
    by correlation and by NMAD. Moving shadows and snow lines easily mislead one of them: where only one got better, the
    correction must be CLEAR.

    Before means: this scene as delivered, its two best neighbours where they are now. central : a scene that is right;
    None: the frame is the archive's, and a scene whose corners are in place within the expected error stays there.
    """
    count = len(stack)
    best = [sorted((pair for pair in pairs if scene in pair[:2]), key=lambda pair: pair.error)[:2]
            for scene in range(count)]
    error = np.array([min((pair.error for pair in chosen), default=np.nan) for chosen in best])
    if central is None:
        in_place = np.array([corner_shift(matrix, stable.shape) for matrix in matrices]) < error
        matrices = np.where(in_place[:, None, None], np.eye(3), matrices)
    checks: list[list[tuple]] = [[] for _ in range(count)]
    ends = sorted({pair[:2] for chosen in best for pair in chosen})
    for both, found in zip(ends, run(partial(check_pair, stack=stack, stable=stable, matrices=matrices), ends),
                           strict=True):
        for scene, check in zip(both, found, strict=True):
            checks[scene].append(check)
    means = np.array([mean_seen(check) if check else np.full(5, np.nan) for check in checks])
    before, after, residual, nmad_before, nmad_after = means.T
    strength = np.array([max((pair.strength for pair in chosen), default=np.nan) for chosen in best])
    shift = np.array([corner_shift(matrix, stable.shape) for matrix in matrices])
    gains = (after >= before).astype(int) + (nmad_after <= nmad_before)
    better = (gains == 2) | ((gains == 1) & (shift > CLEAR * error)) | (np.arange(count) == central)
    reasons = tuple("it matches no other scene" if not chosen
                    else f"the correction is larger than {limit:.1f} px" if moved > limit
                    else "" if fits else "the correction made it worse"
                    for chosen, moved, fits in zip(best, shift, better, strict=True))
    accepted = np.array([not reason for reason in reasons])
    residual = np.where(residual < 1, residual, error)
    measures = dict(zip(MEASURES, (strength, error, residual, nmad_before, nmad_after), strict=True))
    quality = np.clip(np.nan_to_num(after), 0, 1)
    return Transforms(np.where(accepted[:, None, None], matrices, np.eye(3)), quality, accepted, reasons, measures)


def check_pair(ends: tuple[int, int], stack: Sequence, stable: np.ndarray, matrices: np.ndarray
               ) -> tuple[np.ndarray, np.ndarray]:
    """Return for each of two scenes: correlation before and after, residual [px], NMAD before and after.

    ends : their numbers in the stack. matrices : (T, 3, 3), common frame px -> scene px, of all scenes.
    The residual is what phase correlation, which had no part in the alignment, still finds between them.
    """
    checks, to_other, back = [], matrices[ends[1]], np.linalg.inv(matrices[ends[0]])
    for one, other in zip(*(stack[scene] for scene in ends), strict=True):
        first, second = (cv2.GaussianBlur(image, (0, 0), 1) * (image != 0)  # lest it counts that resampling smooths
                         for image in (local_contrast(one), local_contrast(other)))
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
    return np.where(seen, values, 0).sum(axis=0) / np.where(seen.any(axis=0), seen.sum(axis=0), np.nan)
