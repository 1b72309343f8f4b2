"""Where each scene of a series lies: transforms from a common frame to every scene, estimated over stable ground.

Pure functions of arrays. Scenes of different seasons differ more by snow and shadow than by position, so each scene is
compared with the few that look most like it, in several images (brightness, snow index), and all comparisons are
adjusted together.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
from scipy.sparse import csgraph

import store
from config import GlacierError
from matching import (
    MODELS,
    corner_shift,
    correlation,
    local_contrast,
    register_ecc,
    register_orientation,
    unit_frame,
)

NEIGHBOURS = 4  # scenes that each scene is compared with
MAX_SHIFT = 60.0  # px between two scenes; a larger one is not believed
MIN_STABLE = 0.03  # part of the scene that must be stable ground
ARCHIVE_SHIFT, ARCHIVE_SHAPE = 0.4, 0.03  # px, how far scenes as delivered lie apart: shifts; rotations and scales
METHODS = {"orientation": register_orientation, "ecc": register_ecc}


class Transforms(NamedTuple):
    """Where the scenes lie, and whether that is believed.

    matrices : (T, 3, 3), common frame px (x, y, 1) -> scene px; the identity if not accepted. quality : (T,) in [0, 1],
    correlation with its neighbours over stable ground. accepted : (T,) bool. reasons : why not, empty if accepted.
    """
    matrices: np.ndarray
    quality: np.ndarray
    accepted: np.ndarray
    reasons: tuple[str, ...]


class Pair(NamedTuple):
    """One comparison: the matrix from scene `first` px to scene `second` px, and its expected error [px]."""
    first: int
    second: int
    matrix: np.ndarray
    error: float


# ── The series as a whole ────────────────────────────────────────────────────────────────────────────────────────

def similarity(stack: np.ndarray, side: int = 64) -> np.ndarray:
    """Return how alike scenes (T, B, H, W) look, (T, T): correlation of shrunk local contrast x root of the overlap."""
    size = tuple(min(side, length) for length in stack.shape[:-3:-1])

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


def neighbour_pairs(alike: np.ndarray, count: int) -> list[tuple[int, int]]:
    """Return sorted pairs of scenes: each with its `count` most similar ones, and the tree that connects all."""
    ranked = np.argsort(-(alike - 3 * np.eye(len(alike))), axis=1, kind="stable")[:, :min(count, len(alike) - 1)]
    tree = csgraph.minimum_spanning_tree(np.triu(2.0 - alike, 1)).nonzero()
    ends = [(i, j) for i, row in enumerate(ranked.tolist()) for j in row]
    ends += list(zip(*(part.tolist() for part in tree), strict=True))
    return sorted({(min(pair), max(pair)) for pair in ends})


def compare(stack: np.ndarray, ends: Sequence[tuple[int, int]], stable: np.ndarray, model: str, register: Callable
            ) -> list[Pair]:
    """Return the believable matches of pairs of scenes, one for each pair and image. stack : (T, B, H, W)."""
    pairs = []
    for i, j in store.progress(ends, "pairs of scenes"):
        for one, other in zip(stack[i], stack[j], strict=True):
            match = register(one, other, stable, model)
            if match is not None and corner_shift(match.matrix, stable.shape) <= MAX_SHIFT:
                pairs.append(Pair(i, j, *match))
    return pairs


def adjust(pairs: Sequence[Pair], count: int, shape: tuple[int, int], archive: tuple[float, float] = (1e3, 1e3),
           rounds: int = 10) -> np.ndarray:
    """Return matrices (T, 3, 3) that agree best with all pairs at once; a pair that disagrees counts less.

    archive : how far scenes as delivered lie apart [px], by shift and by the rest of the matrix. That each lies about
    where the archive put it holds back the drift that adds up along the seasons, as the sun moves the shading.
    Least squares on the logarithms of the matrices, which keeps every motion model exact, with Cauchy weights.
    """
    unit = unit_frame(shape)
    measured = unit @ np.array([pair.matrix for pair in pairs]) @ np.linalg.inv(unit)
    ends, precision = np.array([pair[:2] for pair in pairs]), np.array([pair.error**-2.0 for pair in pairs])
    design = np.zeros((len(pairs), count))
    for row, (i, j) in zip(design, ends, strict=True):
        row[i], row[j] = -1, 1
    matrices = np.tile(np.eye(3), (count, 1, 1))
    for _ in range(rounds):
        left = logarithms(np.linalg.inv(matrices[ends[:, 1]]) @ measured @ matrices[ends[:, 0]]).reshape(-1, 9)
        own = logarithms(matrices).reshape(-1, 9)
        size = np.linalg.norm(left, axis=1)
        weights = precision / (1 + (size / (2 * np.median(size) + 1e-9)) ** 2)
        step = np.empty((count, 9))
        for part in range(9):
            keep = archive[part not in (2, 5)] ** -2  # 2 and 5 hold the shift
            normal = design.T @ (weights[:, None] * design) + keep * np.eye(count)
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


def estimate_transforms(stack: np.ndarray, model: str = "affine", method: str = "orientation",
                        weights: np.ndarray | None = None, *, gauge: str = "central", criterion: float = 1e-5,
                        iterations: int = 100) -> Transforms:
    """Return the transform of every scene onto a common frame, estimated over stable ground.

    stack : (T, H, W), NaN where missing, in any unit; or (T, B, H, W), several images of each scene. Scenes are read
        two at a time, so it may be memory-mapped.
    weights : (H, W) in [0, 1], how stable the ground is; None: all of it.
    model, method : a key of MODELS, METHODS. criterion, iterations : when ECC stops.
    gauge : "central": the common frame is that of the scene most like the others; "archive": the middle of all scenes
        as delivered, whose positions then also count as weak measurements.
    A scene whose correction cannot be believed keeps the identity, and a reason.
    """
    for word, value, known in (("motionModel", model, MODELS), ("alignmentMethod", method, METHODS)):
        if value not in known:
            raise GlacierError(f"{word} must be one of {', '.join(known)}; got {value!r}")
    stack = stack[:, None] if stack.ndim == 3 else stack
    count, shape = len(stack), stack.shape[2:]
    stable = np.ones(shape, bool) if weights is None else np.asarray(weights) > 0.5
    if count < 2 or stable.mean() < MIN_STABLE:
        reason = "the only scene" if count < 2 else f"only {stable.mean():.1%} of the scene is stable ground"
        return Transforms(np.tile(np.eye(3), (count, 1, 1)), np.zeros(count), np.zeros(count, bool), (reason,) * count)
    alike = similarity(stack)
    register = partial(register_ecc, criterion=criterion, iterations=iterations) if method == "ecc" else METHODS[method]
    pairs = compare(stack, neighbour_pairs(alike, NEIGHBOURS), stable, model, register)
    pairs, members = largest_group(pairs, count)
    archive = (ARCHIVE_SHIFT, ARCHIVE_SHAPE) if gauge == "archive" else (1e3, 1e3)
    matrices = adjust(pairs, count, shape, archive) if pairs else np.tile(np.eye(3), (count, 1, 1))
    central = int(np.where(members, alike @ members, -np.inf).argmax())
    frame = np.median(matrices[members], axis=0) if gauge == "archive" else matrices[central]
    matrices = scaled(matrices @ np.linalg.inv(frame))
    return judge(stack, stable, pairs, matrices, None if gauge == "archive" else central)


def largest_group(pairs: Sequence[Pair], count: int) -> tuple[list[Pair], np.ndarray]:
    """Return the pairs of the largest group of connected scenes, and which scenes (T,) bool belong to it."""
    links = np.zeros((count, count))
    for pair in pairs:
        links[pair.first, pair.second] = 1
    _, group = csgraph.connected_components(links, directed=False)
    members = group == np.bincount(group).argmax()
    return [pair for pair in pairs if members[pair.first]], members


def judge(stack: np.ndarray, stable: np.ndarray, pairs: Sequence[Pair], matrices: np.ndarray,
          central: int | None) -> Transforms:
    """Return the transforms with scenes that match no other, or fit their neighbours worse than before, taken back.

    Before means: this scene as delivered, its neighbours where they are now. central : a scene that is always right.
    """
    count = len(stack)
    before, after, weight = np.zeros(count), np.zeros(count), np.zeros(count)
    for i, j in sorted({pair[:2] for pair in pairs}):
        for one, other in zip(stack[i], stack[j], strict=True):
            first, second = local_contrast(one), local_contrast(other)
            back = np.linalg.inv(matrices[i])
            reached = correlation(first, second, stable, matrices[j] @ back)
            for scene, unaligned in ((i, matrices[j]), (j, back)):
                before[scene] += correlation(first, second, stable, unaligned)
                after[scene] += reached
                weight[scene] += 1
    quality = np.clip(after / np.maximum(weight, 1), 0, 1)
    accepted = (weight > 0) & (after >= before)
    if central is not None and weight[central]:
        accepted[central] = True
    reasons = tuple("" if good else "the correction made it worse" if links else "it matches no other scene"
                    for good, links in zip(accepted, weight, strict=True))
    return Transforms(np.where(accepted[:, None, None], matrices, np.eye(3)), quality, accepted, reasons)
