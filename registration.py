"""Where each scene of a series lies: transforms from a common frame to every scene, estimated over stable ground.

Pure functions of arrays. Scenes of different seasons differ more by snow and shadow than by position, so each scene is
compared with the few that look most like it, in several images (brightness, snow index), and all comparisons are
adjusted together.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from scipy.linalg import expm, logm
from scipy.sparse import csgraph

import store
from config import GlacierError

NEIGHBOURS = 4  # scenes that each scene is compared with
MODELS = {"translation": cv2.MOTION_TRANSLATION, "euclidean": cv2.MOTION_EUCLIDEAN,
          "affine": cv2.MOTION_AFFINE, "homography": cv2.MOTION_HOMOGRAPHY}
MAX_SHIFT = 15.0  # px; a larger correction is not believed
MIN_CORRELATION = 0.1  # of the local contrast of two scenes; below it they show nothing in common
MIN_STABLE = 0.03  # part of the scene that must be stable ground
TRUST_SHIFT, TRUST_SHAPE = 0.3, 10.0  # weight of the archive: its shifts, and its rotations and scales, against a pair


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
    """One comparison: the matrix from scene `first` px to scene `second` px, and the correlation it reaches."""
    first: int
    second: int
    matrix: np.ndarray
    strength: float


# ── Two images ───────────────────────────────────────────────────────────────────────────────────────────────────

def local_contrast(image: np.ndarray, sigma: float = 5.0) -> np.ndarray:
    """Return (image - local mean) / local deviation, float32 (H, W), cut at 3 deviations, 0 where missing.

    image : (H, W), NaN where missing. sigma : of the Gaussian neighbourhood [px].
    """
    seen = np.isfinite(image).astype(np.float32)
    values = np.where(seen > 0, image, 0).astype(np.float32)
    share = np.maximum(cv2.GaussianBlur(seen, (0, 0), sigma), 1e-3)
    centred = (values - cv2.GaussianBlur(values, (0, 0), sigma) / share) * seen
    deviation = np.sqrt(cv2.GaussianBlur(centred**2, (0, 0), sigma) / share)
    floor = 0.1 * np.median(deviation[seen > 0]) if seen.any() else 0
    return np.clip(centred / (deviation + floor + 1e-6), -3, 3)


def coordinates(matrix: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return where in the scene each pixel of the common frame lies: x and y, each float64 (H, W) [px]."""
    rows, columns = np.ogrid[:shape[0], :shape[1]]
    x, y, scale = (matrix[i, 0] * columns + matrix[i, 1] * rows + matrix[i, 2] for i in range(3))
    return x / scale, y / scale


def resample(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return a scene on the common frame, float32 (H, W), by cubic interpolation (in steps of 1/32 px).

    image : (H, W), NaN where missing. matrix : (3, 3), common frame px (x, y, 1) -> scene px.
    NaN where a pixel that the interpolation uses (4 x 4; one row or column at whole coordinates) is missing or outside.
    """
    x, y = (np.round(part * 32) / 32 for part in coordinates(matrix, image.shape))
    missing = ~np.isfinite(image)
    values = cv2.remap(np.where(missing, 0, image).astype(np.float32), x.astype(np.float32), y.astype(np.float32),
                       cv2.INTER_CUBIC)
    padded = np.pad(missing, 3, constant_values=True).astype(np.uint8)
    row, column = (np.clip(np.floor(part), -3, size + 1).astype(int) + 3
                   for part, size in zip((y, x), image.shape, strict=True))
    whole_x, whole_y = x == np.floor(x), y == np.floor(y)
    for width, in_x in ((1, whole_x), (4, ~whole_x)):
        for height, in_y in ((1, whole_y), (4, ~whole_y)):
            if (at := in_x & in_y).any():
                box = np.ones((height, width), np.uint8)
                touched = cv2.dilate(padded, box, anchor=(min(1, width - 1), min(1, height - 1)))
                values[at & (touched[row, column] > 0)] = np.nan
    return values


def corner_shift(matrix: np.ndarray, shape: tuple[int, int]) -> float:
    """Return the largest displacement of the four corners of a (H, W) frame [px]."""
    corners = np.array([[x, y, 1.0] for x in (0, shape[1] - 1) for y in (0, shape[0] - 1)])
    moved = corners @ matrix.T
    return float(np.hypot(*(moved[:, :2] / moved[:, 2:] - corners[:, :2]).T).max())


def correlation(first: np.ndarray, second: np.ndarray, stable: np.ndarray, matrix: np.ndarray) -> float:
    """Return the correlation [-1, 1] of two local-contrast images over stable ground, the second through `matrix`."""
    x, y = (part.astype(np.float32) for part in np.broadcast_arrays(*coordinates(matrix, first.shape)))
    moved = cv2.remap(second, x, y, cv2.INTER_LINEAR)
    seen = cv2.remap((second != 0).astype(np.float32), x, y, cv2.INTER_LINEAR) > 0.99
    both = stable & (first != 0) & seen
    a, b = first[both].astype(float), moved[both].astype(float)
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm > 0 else 0.0


def register_ecc(first: np.ndarray, second: np.ndarray, stable: np.ndarray, model: str, criterion: float,
                 iterations: int) -> np.ndarray | None:
    """Return the matrix (first px -> second px) of the greatest enhanced correlation coefficient; None if it fails.

    first, second : local-contrast images, 0 where missing. stable : bool, True where nothing moves.
    Starts at the phase correlation. Evangelidis & Psarakis (2008), 10.1109/TPAMI.2008.113.
    """
    masks = [(stable & (first != 0)).astype(np.uint8), (second != 0).astype(np.uint8)]
    window = cv2.createHanningWindow(first.shape[::-1], cv2.CV_32F)
    starts = [np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)]
    starts[1][:2, 2] = cv2.phaseCorrelate(first * stable, second * stable, window)[0]
    start = max(starts, key=lambda matrix: correlation(first, second, stable, matrix))
    matrix = start if model == "homography" else start[:2].copy()
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, iterations, criterion)
    try:
        _, matrix = cv2.findTransformECCWithMask(first, second, *masks, matrix, MODELS[model], criteria, 3)
    except cv2.error:  # raised where the iteration does not converge
        return None
    return np.vstack([matrix, [0, 0, 1]])[:3].astype(float)


METHODS = {"ecc": register_ecc}


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


def compare(stack: np.ndarray, ends: Sequence[tuple[int, int]], stable: np.ndarray, model: str, method: str,
            criterion: float, iterations: int) -> list[Pair]:
    """Return the comparisons of pairs of scenes that can be believed, one for each pair and image.

    stack : (T, B, H, W). Believed: converged, no absurd shift, and more alike than before and than chance.
    """
    pairs = []
    for i, j in store.progress(ends, "pairs of scenes"):
        for one, other in zip(stack[i], stack[j], strict=True):
            first, second = local_contrast(one), local_contrast(other)
            matrix = METHODS[method](first, second, stable, model, criterion, iterations)
            if matrix is None or corner_shift(matrix, stable.shape) > MAX_SHIFT:
                continue
            reached = correlation(first, second, stable, matrix)
            if reached > max(MIN_CORRELATION, correlation(first, second, stable, np.eye(3))):
                pairs.append(Pair(i, j, matrix, reached))
    return pairs


def adjust(pairs: Sequence[Pair], count: int, shape: tuple[int, int], trust: tuple[float, float] = (1e-6, 1e-6),
           rounds: int = 10) -> np.ndarray:
    """Return matrices (T, 3, 3) that agree best with all pairs at once; a pair that disagrees counts less.

    trust : weight of "this scene lies where the archive put it" against 1 for a pair of strength 0.7, for the shift
    and for the rest of the matrix. It holds back the drift that adds up along the seasons, as the sun moves the
    shading.
    Least squares on the logarithms of the matrices, which keeps every motion model exact, with Cauchy weights.
    """
    unit = np.array([[2 / shape[1], 0, -1], [0, 2 / shape[0], -1], [0, 0, 1]])  # px -> the square from -1 to 1
    measured = [unit @ pair.matrix @ np.linalg.inv(unit) for pair in pairs]
    ends = [pair[:2] for pair in pairs]
    strength = np.array([pair.strength**2 / (1.001 - pair.strength**2) for pair in pairs])  # as 1 / variance
    design = np.zeros((len(pairs), count))
    for row, (i, j) in zip(design, ends, strict=True):
        row[i], row[j] = -1, 1
    matrices = np.tile(np.eye(3), (count, 1, 1))
    for _ in range(rounds):
        left = np.array([logm(np.linalg.inv(matrices[j]) @ matrix @ matrices[i]).real.ravel()
                         for matrix, (i, j) in zip(measured, ends, strict=True)])
        own = np.array([logm(matrix).real.ravel() for matrix in matrices])
        size = np.linalg.norm(left, axis=1)
        weights = strength / (1 + (size / (2 * np.median(size) + 1e-9)) ** 2)
        step = np.empty((count, 9))
        for part in range(9):
            keep = trust[part not in (2, 5)]  # 2 and 5 hold the shift
            normal = design.T @ (weights[:, None] * design) + keep * np.eye(count)
            step[:, part] = np.linalg.solve(normal, design.T @ (weights * left[:, part]) - keep * own[:, part])
        matrices = matrices @ np.array([expm(part) for part in step.reshape(-1, 3, 3)])
    return scaled(np.linalg.inv(unit) @ matrices @ unit)


def scaled(matrices: np.ndarray) -> np.ndarray:
    """Return matrices (T, 3, 3) with 1 in the last corner."""
    return matrices / matrices[:, 2:, 2:]


def estimate_transforms(stack: np.ndarray, model: str = "affine", method: str = "ecc",
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
    pairs = compare(stack, neighbour_pairs(alike, NEIGHBOURS), stable, model, method, criterion, iterations)
    pairs, members = largest_group(pairs, count)
    trust = (TRUST_SHIFT, TRUST_SHAPE) if gauge == "archive" else (1e-6, 1e-6)
    matrices = adjust(pairs, count, shape, trust) if pairs else np.tile(np.eye(3), (count, 1, 1))
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
