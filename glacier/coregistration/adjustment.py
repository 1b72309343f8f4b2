"""Comparisons of many pairs of scenes, adjusted together to one transform a scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csgraph

from glacier.coregistration.transforms import unit_frame

# times ARCHIVE_SHAPE, from where on a rotation or scale is believed rather than held back
TURNED = 10.0


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
    archive: tuple[float, float] = (1e3, 1e3),
    rounds: int = 10,
) -> np.ndarray:
    """Return matrices (T, 3, 3) that agree best with all pairs at once; a pair that disagrees counts less.

    archive : how far scenes as delivered lie apart [px], by shift and by the rest of the matrix. That each lies about
    where the archive put it holds back the drift that adds up along the seasons, as the sun moves the shading; from the
    second round on, and a scene that is clearly turned or stretched is let go.
    Least squares on the logarithms of the matrices, which keeps every motion model exact, with Cauchy weights.
    """
    unit = unit_frame(shape)
    measured = unit @ np.array([pair.matrix for pair in pairs]) @ np.linalg.inv(unit)
    ends, precision = (
        np.array([pair[:2] for pair in pairs]),
        np.array([pair.error**-2.0 for pair in pairs]),
    )
    design = np.zeros((len(pairs), count))
    for row, (i, j) in zip(design, ends, strict=True):
        row[i], row[j] = -1, 1
    matrices = np.tile(np.eye(3), (count, 1, 1))
    least = (
        2 / max(shape) * np.median([pair.error for pair in pairs])
    )  # disagreement that is none, in the unit frame
    for number in range(rounds):
        left = logarithms(
            np.linalg.inv(matrices[ends[:, 1]]) @ measured @ matrices[ends[:, 0]]
        ).reshape(-1, 9)
        own = logarithms(matrices).reshape(-1, 9)
        size = np.linalg.norm(left, axis=1)
        weights = precision / (1 + (size / (2 * max(np.median(size), least))) ** 2)
        turned = (
            max(shape) / 2 * np.linalg.norm(np.delete(own, (2, 5), axis=1), axis=1)
        )  # px; 2 and 5 hold the shift
        held = archive[1] ** -2 / (1 + (turned / (TURNED * archive[1])) ** 2) * (number > 0)
        step = np.empty((count, 9))
        for part in range(9):
            keep = np.full(count, archive[0] ** -2) if part in (2, 5) else held
            normal = design.T @ (weights[:, None] * design) + np.diag(keep + 1e-6)
            step[:, part] = np.linalg.solve(
                normal, design.T @ (weights * left[:, part]) - keep * own[:, part]
            )
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


def largest_group(pairs: Sequence[Pair], count: int) -> tuple[list[Pair], np.ndarray]:
    """Return the pairs of the largest group of connected scenes, and which scenes (T,) bool belong to it."""
    links = np.zeros((count, count))
    for pair in pairs:
        links[pair.first, pair.second] = 1
    _, group = csgraph.connected_components(links, directed=False)
    members = group == np.bincount(group).argmax()
    return [pair for pair in pairs if members[pair.first]], members
