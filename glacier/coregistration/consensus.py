"""Which comparisons agree with the positions that all of them gave together, and which scenes two of them confirm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from glacier.coregistration.adjustment import Pair
from glacier.lazily import load

sparse = load("scipy.sparse")
csgraph = load("scipy.sparse.csgraph")

CERTAIN = 3.0  # times its expected error: what differs by less may be the same
LEAST_DISAGREEMENT = 0.5  # px; expected errors can be too small, as shadows mislead


def frame_places(shape: tuple[int, int]) -> np.ndarray:
    """Return nine places over a (H, W) frame, homogeneous px (9, 3)."""
    columns, rows = np.meshgrid(np.linspace(0, shape[1], 3), np.linspace(0, shape[0], 3))
    return np.stack([columns.ravel(), rows.ravel(), np.ones(9)], axis=1)


def disagreements(
    pairs: Sequence[Pair], matrices: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Return how far each comparison lies from the positions of its scenes, (P,) px, the mean over the frame.

    matrices : (T, 3, 3), common frame px -> scene px, as adjusted.
    """
    first = np.array([pair.first for pair in pairs])
    second = np.array([pair.second for pair in pairs])
    measured = np.array([pair.matrix for pair in pairs])  # (P, 3, 3), first px -> second px
    adjusted = matrices[second] @ np.linalg.inv(matrices[first])
    places = frame_places(shape)
    difference = moved(places, measured) - moved(places, adjusted)
    return np.linalg.norm(difference, axis=-1).mean(axis=1)


def moved(places: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Return where matrices (P, 3, 3) take homogeneous places (N, 3), (P, N, 2) px."""
    homogeneous = places @ matrices.transpose(0, 2, 1)
    return homogeneous[..., :2] / homogeneous[..., 2:]


def agreeing_pairs(
    pairs: Sequence[Pair], matrices: np.ndarray, shape: tuple[int, int]
) -> list[Pair]:
    """Return the comparisons that agree with the adjusted positions, to CERTAIN times their error."""
    error = np.array([pair.error for pair in pairs])
    allowed = np.maximum(CERTAIN * error, LEAST_DISAGREEMENT)
    agrees = disagreements(pairs, matrices, shape) <= allowed
    return [pair for pair, agreed in zip(pairs, agrees, strict=True) if agreed]


def confirmed_scenes(pairs: Sequence[Pair], count: int) -> np.ndarray:
    """Return which scenes two independent partners confirm, (T,) bool, given the comparisons that agree.

    A scene is confirmed if no single comparison holds it: whichever is taken away, another way still leads from it to
    the others. A chain of scenes at the end of one comparison is not confirmed, however well it agrees with itself.
    Of two scenes each has only the other, which then is enough.
    """
    links = sparse.lil_matrix((count, count), dtype=bool)
    for pair in pairs:
        links[pair.first, pair.second] = True
    if count == 2:
        return np.full(2, links.nnz > 0)
    groups = bridgeless_groups(links.tocsr())
    sizes = np.bincount(groups, minlength=count)
    largest = sizes.argmax()
    return (groups == largest) & (sizes[largest] > 2)


def bridgeless_groups(links: Any) -> np.ndarray:
    """Return a number for each scene, (T,): equal where two ways without a common link join two scenes.

    links : (T, T), an entry where two scenes are joined. Every link outside a spanning tree closes a ring with it; the
    scenes of a ring belong together, and so do rings that share a scene.
    """
    count = links.shape[0]
    tree = csgraph.minimum_spanning_tree(links.astype(float))
    _, component = csgraph.connected_components(links, directed=False)
    parent = np.full(count, -1)
    depth = np.zeros(count, int)
    for start in np.unique(component, return_index=True)[1]:
        order, before = csgraph.breadth_first_order(tree, start, directed=False)
        for scene in order[1:]:
            parent[scene] = before[scene]
            depth[scene] = depth[before[scene]] + 1
    top = np.arange(count)  # the scene of its group that is nearest to the start of the tree

    def group(scene: int) -> int:
        while top[scene] != scene:
            top[scene] = top[top[scene]]
            scene = top[scene]
        return scene

    outside = (links.astype(int) - (tree > 0).astype(int)).tocoo()
    for one, another, number in zip(outside.row, outside.col, outside.data, strict=True):
        if number == 0:
            continue
        one = group(one)
        another = group(another)
        while one != another:
            if depth[one] < depth[another]:
                one, another = another, one
            top[one] = parent[one]
            one = group(parent[one])
    return np.array([group(scene) for scene in range(count)])
