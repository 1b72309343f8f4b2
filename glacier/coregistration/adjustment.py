"""Comparisons of many pairs of scenes, adjusted together to one transform a scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from glacier.coregistration.transforms import unit_frame
from glacier.lazily import load

sparse = load("scipy.sparse")
csgraph = load("scipy.sparse.csgraph")
linalg = load("scipy.sparse.linalg")

# times what the archive's scenes lie apart, from where on a shift, a turn or a stretch is believed, not held back
LET_GO = 10.0
SHIFT = (2, 5)  # where a matrix (3, 3), read row by row, holds the shift
SHAPE = (0, 1, 3, 4, 6, 7, 8)  # and where a turn, a stretch and the like
FREE = (1e3, 1e3)  # px; positions of the archive that hold nothing back
TERMS = 15  # of a power series: for logarithms of matrices near the identity exact to 2e-15


class Pair(NamedTuple):
    """One comparison: a Match of scene `first` with scene `second`."""

    first: int
    second: int
    matrix: np.ndarray
    error: float
    strength: float


def adjust(
    pairs: Sequence[Pair],
    count: int,
    shape: tuple[int, int],
    archive: tuple[float, float] = FREE,
    rounds: int = 10,
) -> np.ndarray:
    """Return matrices (T, 3, 3) that agree best with all pairs at once; a pair that disagrees counts less.

    archive : how far scenes as delivered lie apart [px], by shift and by the rest of the matrix. That each lies about
    where the archive put it holds back the drift that adds up along the seasons, as the sun moves the shading; a scene
    that is clearly shifted, turned or stretched is let go.
    Least squares on the logarithms of the matrices, which keeps every motion model exact, with Cauchy weights. It
    starts from a tree of the least doubtful pairs: else a scene that lies far off would look like many wrong pairs.
    """
    unit = unit_frame(shape)
    half = max(shape) / 2  # px of one unit
    measured = unit @ np.array([pair.matrix for pair in pairs]) @ np.linalg.inv(unit)
    error = np.array([pair.error for pair in pairs])
    first = np.array([pair.first for pair in pairs])
    second = np.array([pair.second for pair in pairs])
    design = incidence(first, second, count)
    moved = half * np.linalg.norm(measured[:, :2, 2], axis=1)  # (P,) px
    # a scene that lies far off is rarer than a wrong pair
    doubt = error * (1 + (moved / (LET_GO * archive[0])) ** 2)
    matrices = chained(measured, doubt, first, second, count)
    for _ in range(rounds):
        back = np.linalg.inv(matrices[second])
        misfit = logarithms(back @ measured @ matrices[first]).reshape(-1, 9)
        size = np.linalg.norm(misfit, axis=1)
        usual_size = max(np.median(size), np.median(error) / half)
        weights = error**-2.0 / (1 + (size / (2 * usual_size)) ** 2)
        positions = logarithms(matrices).reshape(-1, 9)  # from where the archive put the scenes
        step = np.empty((count, 9))
        for parts, usual in zip((SHIFT, SHAPE), archive, strict=True):
            away = half * np.linalg.norm(positions[:, parts], axis=1)  # (T,) px
            hold = usual**-2 / (1 + (away / (LET_GO * usual)) ** 2)
            step[:, parts] = solve(design, weights, hold, misfit[:, parts], positions[:, parts])
        matrices = matrices @ exponentials(step.reshape(-1, 3, 3))
    return scaled(np.linalg.inv(unit) @ matrices @ unit)


def incidence(first: np.ndarray, second: np.ndarray, count: int) -> Any:
    """Return the matrix (P, T) that takes a number of each scene to the differences of all pairs, second - first."""
    rows = np.arange(len(first))
    minus = sparse.coo_matrix((-np.ones(len(first)), (rows, first)), (len(first), count))
    plus = sparse.coo_matrix((np.ones(len(first)), (rows, second)), (len(first), count))
    return (minus + plus).tocsr()


def solve(
    design: Any,
    weights: np.ndarray,
    hold: np.ndarray,
    misfit: np.ndarray,
    positions: np.ndarray,
) -> np.ndarray:
    """Return the steps (T, K) of least squares that take away the misfit of the pairs and the scenes' own positions.

    design : (P, T), of `incidence`. weights : (P,) and hold : (T,), of misfit (P, K) and of positions (T, K).
    By conjugate gradients: each scene has a few pairs, so time and memory grow with the number of scenes, where a
    dense solution grows with its cube.
    """
    diagonal = design.power(2).T @ weights + hold + 1e-6
    normal = design.T @ sparse.diags(weights) @ design + sparse.diags(hold + 1e-6)
    right = design.T @ (weights[:, None] * misfit) - hold[:, None] * positions
    rescaled = sparse.diags(1 / diagonal)
    steps = [
        linalg.cg(normal, column, rtol=1e-9, maxiter=1000, M=rescaled)[0] for column in right.T
    ]
    return np.stack(steps, axis=1)


def chained(
    measured: np.ndarray, doubt: np.ndarray, first: np.ndarray, second: np.ndarray, count: int
) -> np.ndarray:
    """Return matrices (T, 3, 3) that follow the least doubtful pairs from scene to scene, their median the identity.

    measured : (P, 3, 3), pairs that connect scenes; a scene that has none keeps the identity. doubt : (P,), of each.
    """
    uncertain = np.argsort(-doubt, kind="stable")
    number = {}
    for pair in uncertain:  # of several comparisons of two scenes the least doubtful stays
        number[first[pair], second[pair]] = pair
    best = np.array(list(number.values()))
    links = sparse.coo_matrix((doubt[best], (first[best], second[best])), (count, count))
    tree = csgraph.minimum_spanning_tree(links.tocsr())
    root = first[best[0]]
    order, before = csgraph.breadth_first_order(tree, root, directed=False)
    matrices = np.tile(np.eye(3), (count, 1, 1))
    for scene in order[1:]:
        parent = before[scene]
        if (parent, scene) in number:
            step = measured[number[parent, scene]]
        else:
            step = np.linalg.inv(measured[number[scene, parent]])
        matrices[scene] = step @ matrices[parent]
    middle = np.median(matrices[order], axis=0)
    matrices[order] = matrices[order] @ np.linalg.inv(middle)
    return scaled(matrices)


def logarithms(matrices: np.ndarray) -> np.ndarray:
    """Return the logarithms of matrices (..., 3, 3) near the identity, by their power series.

    7000 times faster than scipy's `logm` of one matrix after the other, and equal to 2e-15.
    """
    power = np.eye(3)
    total = np.zeros_like(matrices)
    for order in range(1, TERMS + 1):
        power = power @ (matrices - np.eye(3))
        total = total - (-1) ** order / order * power
    return total


def exponentials(matrices: np.ndarray) -> np.ndarray:
    """Return the exponentials of small matrices (..., 3, 3), by their power series."""
    total = power = np.eye(3)
    for order in range(1, TERMS + 1):
        power = power @ matrices / order
        total = total + power
    return total


def scaled(matrices: np.ndarray) -> np.ndarray:
    """Return matrices (T, 3, 3) with 1 in the last corner."""
    return matrices / matrices[:, 2:, 2:]


def largest_group(pairs: Sequence[Pair], count: int) -> tuple[list[Pair], np.ndarray]:
    """Return the pairs of the largest group of connected scenes, and which scenes (T,) bool belong to it."""
    first = [pair.first for pair in pairs]
    second = [pair.second for pair in pairs]
    links = sparse.coo_matrix((np.ones(len(pairs)), (first, second)), (count, count))
    _, group = csgraph.connected_components(links, directed=False)
    members = group == np.bincount(group).argmax()
    return [pair for pair in pairs if members[pair.first]], members
