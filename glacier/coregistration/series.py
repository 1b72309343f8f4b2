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

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from config import GlacierError
from glacier import console
from glacier.coregistration.adjustment import FREE, Pair, adjust, largest_group, scaled
from glacier.coregistration.ecc import register_ecc
from glacier.coregistration.orientation import register_orientation
from glacier.coregistration.resampling import local_contrast
from glacier.coregistration.transforms import MODELS, corner_shift
from glacier.coregistration.verdict import NO_MATCH, Transforms, judge, unaligned
from glacier.lazily import load

csgraph = load("scipy.sparse.csgraph")

log = logging.getLogger(__name__)
# scenes that each scene is compared with: the most similar ones, and any others
NEIGHBOURS, FAR = 3, 3
MAX_SHIFT = 0.5  # of the frame's shorter side, between two scenes; further off, they share too little ground
MIN_STABLE = 0.03  # part of the scene that must be stable ground
MIN_PIXELS = 100 * 100  # stable ground for more than shifts [px]
# px, how far scenes as delivered lie apart: shifts; rotations and scales
ARCHIVE_SHIFT, ARCHIVE_SHAPE = 0.4, 0.03
METHODS = {"orientation": register_orientation, "ecc": register_ecc}


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


def neighbour_pairs(
    alike: np.ndarray, near: int = NEIGHBOURS, far: int = FAR
) -> list[tuple[int, int]]:
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


def compare(
    ends: tuple[int, int], stack: Sequence, stable: np.ndarray, model: str, register: Callable
) -> list[Pair]:
    """Return the believable matches of two scenes (numbers in the stack), one for each of their images."""
    first, second = ends
    furthest = MAX_SHIFT * min(stable.shape)
    matches = [
        register(one, other, stable, model)
        for one, other in zip(stack[first], stack[second], strict=True)
    ]
    return [
        Pair(first, second, *match)
        for match in matches
        if match is not None and corner_shift(match.matrix, stable.shape) <= furthest
    ]


@threadpool_limits.wrap(limits=1)
def estimate_transforms(
    stack: np.ndarray | Sequence,
    model: str = "affine",
    method: str = "orientation",
    weights: np.ndarray | None = None,
    *,
    gauge: str = "central",
    limit: float = np.inf,
    criterion: float = 1e-5,
    iterations: int = 100,
    executor: Executor | None = None,
) -> Transforms:
    """Return the transform of every scene onto a common frame, estimated over stable ground.

    stack : (T, H, W), NaN where missing, in any unit; or (T, B, H, W), several images of each scene. Any sequence that
        gives (B, H, W) by number will do: a few scenes are read at a time.
    weights : (H, W) in [0, 1], how stable the ground is; None: all of it.
    model, method : a key of MODELS, METHODS. criterion, iterations : when ECC stops.
    gauge : "central": the common frame is that of the scene most like the others; "archive": the middle of all scenes
        as delivered, whose positions then also count as weak measurements.
    limit : how far from its place the product may put a scene [px]; see verdict.judge.
    executor : where pairs are compared, in processes; None: here.
    A scene whose correction cannot be believed keeps the identity, and a reason.
    """
    for word, value, known in (
        ("motionModel", model, MODELS),
        ("alignmentMethod", method, METHODS),
    ):
        if value not in known:
            raise GlacierError(f"{word} must be one of {', '.join(known)}; got {value!r}")
    stack = stack[:, None] if getattr(stack, "ndim", 4) == 3 else stack
    count, shape = len(stack), stack[0].shape[-2:]
    run = map if executor is None else executor.map
    stable = np.ones(shape, bool) if weights is None else np.asarray(weights) > 0.5
    model = affordable(model, stable)
    if count < 2 or not model:
        reason = (
            "the only scene"
            if count < 2
            else f"only {stable.mean():.1%} of the scene is stable ground"
        )
        return unaligned(count, reason)
    alike = similarity(stack)
    register = (
        partial(register_ecc, criterion=criterion, iterations=iterations)
        if method == "ecc"
        else METHODS[method]
    )
    ends = neighbour_pairs(alike)
    work = partial(compare, stack=stack, stable=stable, model=model, register=register)
    found = console.progress(run(work, ends), "pairs of scenes", len(ends))
    pairs, members = largest_group([pair for matches in found for pair in matches], count)
    if not pairs:
        return unaligned(count, NO_MATCH)
    matrices = adjust(
        pairs, count, shape, (ARCHIVE_SHIFT, ARCHIVE_SHAPE) if gauge == "archive" else FREE
    )
    central = int(np.where(members, alike @ members, -np.inf).argmax())
    frame = np.median(matrices[members], axis=0) if gauge == "archive" else matrices[central]
    matrices = scaled(matrices @ np.linalg.inv(frame))
    return judge(
        stack, stable, pairs, matrices, limit, None if gauge == "archive" else central, run
    )


def affordable(model: str, stable: np.ndarray) -> str:
    """Return the model that the stable ground (H, W) bool can carry: shifts only if it is little, "" if hardly any."""
    if stable.mean() < MIN_STABLE:
        return ""
    if (stable.mean() < 3 * MIN_STABLE or stable.sum() < MIN_PIXELS) and model != "translation":
        log.warning(
            "  only %d px, %.0f %%, are stable ground: shifts only, no motionModel %s",
            stable.sum(),
            100 * stable.mean(),
            model,
        )
        return "translation"
    return model
