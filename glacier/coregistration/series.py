"""Where each scene of a series lies: transforms from a common frame to every scene, estimated over stable ground.

Pure functions of arrays. Scenes of different seasons differ more by snow and shadow than by position, so each scene is
compared with the few that look most like it, in several images (brightness, snow index), and all comparisons are
adjusted together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from config import GlacierError
from glacier import console
from glacier.coregistration.adjustment import Pair, adjust, largest_group, scaled
from glacier.coregistration.ecc import reference_ecc, register_ecc
from glacier.coregistration.orientation import reference_orientation, register_orientation
from glacier.coregistration.resampling import local_contrast
from glacier.coregistration.transforms import MODELS, corner_shift
from glacier.coregistration.verdict import NO_MATCH, Transforms, judge, unaligned
from glacier.lazily import load

csgraph = load("scipy.sparse.csgraph")

log = logging.getLogger(__name__)
# scenes that each scene is compared with: the most similar ones, and any others
NEIGHBOURS = 3
FAR = 3
MAX_SHIFT = 0.5  # of the frame's shorter side, between two scenes; further off, they share too little ground
MIN_STABLE = 0.03  # part of the scene that must be stable ground
MIN_PIXELS = 100 * 100  # stable ground without clouds for more than shifts [px]
# px, how far scenes as delivered lie apart: shifts; rotations and scales
ARCHIVE_SHIFT = 0.4
ARCHIVE_SHAPE = 0.03


class Method(NamedTuple):
    """How two images are compared: `prepare` makes what is needed of the first, `register` finds the second on it."""

    prepare: Callable
    register: Callable


METHODS = {
    "orientation": Method(reference_orientation, register_orientation),
    "ecc": Method(reference_ecc, register_ecc),
}


class Likeness(NamedTuple):
    """How alike scenes look, (T, T), and which part of the frame each shows, (T,)."""

    alike: np.ndarray
    seen: np.ndarray


def likeness(stack: Sequence, side: int = 64) -> Likeness:
    """Return how alike scenes (T, B, H, W) look: the correlation of shrunk local contrast x root of the overlap."""
    size = tuple(min(side, length) for length in stack[0].shape[:-3:-1])  # width, height
    contrasts = []
    shares = []
    for scene in stack:
        images = [local_contrast(image) for image in scene]
        seen = [(image != 0).astype(np.float32) for image in images]
        contrasts.append(shrunk(images, size))
        shares.append(shrunk(seen, size))
    contrast = np.array(contrasts)  # (T, B * size)
    share = np.array(shares)
    power = contrast**2 @ share.T  # of the first where the second is seen
    norm = np.sqrt(np.maximum(power * power.T, 1e-12))
    overlap = share @ share.T / share.shape[1]
    alike = contrast @ contrast.T / norm * np.sqrt(overlap)
    return Likeness(alike, share.mean(axis=1))


def shrunk(images: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Return the images (H, W) at width and height `size`, one after the other in one row."""
    small = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images]
    return np.concatenate([image.ravel() for image in small])


def neighbour_pairs(
    alike: np.ndarray, near: int = NEIGHBOURS, far: int = FAR
) -> list[tuple[int, int]]:
    """Return sorted pairs of scenes: each with its `near` most similar ones and with `far` others, drawn by lot.

    The tree that connects all is among them. The most similar scenes are of the same season; without the others, each
    season would drift away with its shadows.
    """
    count = len(alike)
    random = np.random.default_rng(0)
    ranked = np.argsort(-(alike - 3 * np.eye(count)), axis=1, kind="stable")[:, :-1]
    tree = csgraph.minimum_spanning_tree(np.triu(2.0 - alike, 1))
    first, second = tree.nonzero()
    ends = set(zip(first.tolist(), second.tolist(), strict=True))
    for scene, order in enumerate(ranked):
        others = order[near:]
        drawn = random.choice(others, min(far, len(others)), replace=False)
        for partner in [*order[:near].tolist(), *drawn.tolist()]:
            ends.add((min(scene, partner), max(scene, partner)))
    return sorted(ends)


def one_thread() -> None:
    """Keep this process to one thread: many small matrix products lose more by waiting for each other than they win."""
    cv2.setNumThreads(1)
    threadpool_limits(1)


def compare(
    ends: tuple[int, Sequence[int]], stack: Sequence, stable: np.ndarray, model: str, method: Method
) -> list[Pair]:
    """Return the believable matches of one scene with others, one for each of their images.

    ends : the number of the scene in the stack, and those of the others.
    """
    first, others = ends
    furthest = MAX_SHIFT * min(stable.shape)
    references = [method.prepare(image, stable, model) for image in stack[first]]
    pairs = []
    for second in others:
        for reference, image in zip(references, stack[second], strict=True):
            match = None
            if reference is not None:
                match = method.register(reference, image)
            if match is not None and corner_shift(match.matrix, stable.shape) <= furthest:
                pairs.append(Pair(first, second, *match))
    return pairs


def by_first(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, list[int]]]:
    """Return sorted pairs as each first scene with its second ones, so that what it needs is made once."""
    partners: dict[int, list[int]] = {}
    for first, second in pairs:
        partners.setdefault(first, []).append(second)
    return list(partners.items())


@threadpool_limits.wrap(limits=1)
def estimate_transforms(
    stack: Any,
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
    check_choice("motionModel", model, MODELS)
    check_choice("alignmentMethod", method, METHODS)
    if getattr(stack, "ndim", 4) == 3:
        stack = stack[:, None]
    count = len(stack)
    shape = stack[0].shape[-2:]
    if weights is None:
        stable = np.ones(shape, bool)
    else:
        stable = np.asarray(weights) > 0.5
    if count < 2:
        return unaligned(count, "the only scene")
    if stable.mean() < MIN_STABLE:
        return unaligned(count, f"only {stable.mean():.1%} of the scene is stable ground")
    alike, seen = likeness(stack)
    model = affordable(model, stable, float(np.median(seen)))
    how = METHODS[method]
    if method == "ecc":
        register = partial(register_ecc, criterion=criterion, iterations=iterations)
        how = how._replace(register=register)
    run = map if executor is None else executor.map
    ends = by_first(neighbour_pairs(alike))
    work = partial(compare, stack=stack, stable=stable, model=model, method=how)
    matches = console.progress(run(work, ends), "scenes compared", len(ends))
    pairs, members = largest_group(list(chain.from_iterable(matches)), count)
    if not pairs:
        return unaligned(count, NO_MATCH)
    central = None
    if gauge == "central":
        central = int(np.where(members, alike @ members, -np.inf).argmax())
    matrices = placed(pairs, members, shape, central)
    return judge(stack, stable, pairs, matrices, limit, central, run)


def placed(
    pairs: Sequence[Pair], members: np.ndarray, shape: tuple[int, int], central: int | None
) -> np.ndarray:
    """Return where the scenes lie by all comparisons, (T, 3, 3), common frame px -> scene px.

    members : (T,) bool, the scenes that the pairs connect. central : the scene whose frame is common; None: the middle
    of all as delivered, whose positions then count as weak measurements.
    """
    if central is None:
        matrices = adjust(pairs, len(members), shape, (ARCHIVE_SHIFT, ARCHIVE_SHAPE))
        frame = np.median(matrices[members], axis=0)
    else:
        matrices = adjust(pairs, len(members), shape)
        frame = matrices[central]
    return scaled(matrices @ np.linalg.inv(frame))


def check_choice(setting: str, value: str, choices: Iterable[str]) -> None:
    """Raise GlacierError if the value of a setting is none of its choices."""
    if value not in choices:
        raise GlacierError(f"{setting} must be one of {', '.join(choices)}; got {value!r}")


def affordable(model: str, stable: np.ndarray, seen: float) -> str:
    """Return the model that the ground can carry: shifts only, where little of it is stable and without clouds.

    stable : (H, W) bool. seen : the part of the frame that scenes show, most of them more.
    Turns and stretches are found from places far apart. On frames of 101 x 120 px, a quarter of them clear, affine
    motions misplace the corners by several px: of 121 scenes two others then confirm 3, with shifts only 48.
    """
    pixels = seen * stable.sum()
    little = stable.mean() < 3 * MIN_STABLE or pixels < MIN_PIXELS
    if not little or model == "translation":
        return model
    log.warning(
        "  most scenes show some %d px of stable ground without clouds: shifts only, no motionModel %s",
        pixels,
        model,
    )
    return "translation"
