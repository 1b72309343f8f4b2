"""From displacements between pairs of scenes to one velocity field with errors. Pure functions of arrays.

A velocity is (2, ...) in metres a year, to the east and to the north, NaN where unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from rasterio import Affine

from glacier.grid import Grid
from glacier.robust import nmad
from glacier.velocity import displacement
from glacier.velocity.pairs import MAX_YEARS, SEASON, Pair, choose_pairs, longest_span  # noqa: F401
from glacier.velocity.refinement import SIGMA
from glacier.velocity.sampling import blur

MIN_PAIRS = 3  # that a velocity needs
MIN_STABLE = 30  # nodes on stable ground that a pair needs
REPLICATES = 40  # of the bootstrap
CERTAIN = 3.0  # times its standard error: a slower velocity may be none
WINDOW_ERROR = 0.4  # share of what one more smoothing by the tracking window takes away that is counted as error
SPACING = 4  # px between the nodes of the velocity grid
MAX_GROUND_NOISE = (
    1.0  # px, NMAD over stable ground; beyond it a pair shows no ground that stands still
)
MAX_GROUND_SHIFT = 0.5  # px, that co-registration may leave
NOT_STILL = "stable ground is not still"
NOT_SEEN = "too little stable ground in common"


@dataclass(frozen=True)
class Nodes:
    """Where the nodes of the velocity grid lie: every `spacing` px, at `rows` (h,) and `columns` (w,) of a grid."""

    grid: Grid
    spacing: int
    rows: np.ndarray
    columns: np.ndarray

    @classmethod
    def over(cls, grid: Grid, spacing: int) -> Nodes:
        """Return the nodes every `spacing` px of a grid."""
        height, width = grid.shape
        rows = displacement.nodes(height, spacing)
        return cls(grid, spacing, rows, displacement.nodes(width, spacing))

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), len(self.columns)

    @property
    def transform(self) -> Affine:
        """The transform of the nodes' own grid: each is the middle of its pixel."""
        a, b, c, d, e, f = self.grid.transform
        column = self.columns[0] + 0.5 - self.spacing / 2
        row = self.rows[0] + 0.5 - self.spacing / 2
        return Affine(
            self.spacing * a,
            self.spacing * b,
            c + a * column + b * row,
            self.spacing * d,
            self.spacing * e,
            f + d * column + e * row,
        )

    @property
    def places(self) -> np.ndarray:
        """The map coordinates x, y of the nodes, (2, h, w) [m]."""
        a, b, c, d, e, f = self.grid.transform
        column, row = np.meshgrid(self.columns + 0.5, self.rows + 0.5)
        return np.stack([c + a * column + b * row, f + d * column + e * row])

    def of(self, image: np.ndarray) -> np.ndarray:
        """Return what an image (..., H, W) shows at the nodes, (..., h, w)."""
        return image[..., self.rows[:, None], self.columns]


class Field(NamedTuple):
    """velocity (2, h, w) [m/yr, east and north]; error: its standard error, alike; count (h, w) of the pairs used.

    NaN where fewer than MIN_PAIRS pairs have a velocity.
    """

    velocity: np.ndarray
    error: np.ndarray
    count: np.ndarray  # type: ignore[assignment]  # hides tuple's own, which nobody asks for


def to_velocity(displacement: np.ndarray, years: float, transform: Sequence[float]) -> np.ndarray:
    """Return the velocity [m/yr, east and north] of a displacement (2, ...) [px] over some years.

    transform : a, b, c, d, e, f of the grid: x = a * column + b * row + c, y = d * column + e * row + f.
    """
    a, b, _, d, e, _ = transform
    right, down = displacement
    return np.stack([a * right + b * down, d * right + e * down]) / years


def correct(velocity: np.ndarray, stable: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the velocity less its median over stable ground, and the NMAD there [m/yr].

    velocity : (2, h, w). stable : bool (h, w). All NaN if fewer than MIN_STABLE stable nodes have a velocity.
    """
    ground = velocity[:, stable & np.isfinite(velocity[0])]  # (2, N)
    if ground.shape[1] < MIN_STABLE:
        return np.full_like(velocity, np.nan), float("nan")
    ground_median = np.median(ground, axis=1)[:, None, None]
    return velocity - ground_median, ground_noise(ground)


def ground_noise(ground: np.ndarray) -> float:
    """Return the NMAD of vectors (2, N), the mean of both parts in square."""
    east, north = (nmad(part) for part in ground)
    return float(np.hypot(east, north) / np.sqrt(2))


def ground_fault(displacement: np.ndarray, stable: np.ndarray) -> str:
    """Return why a pair is not to be believed by its stable ground, empty if it is.

    displacement : (2, h, w) px. Stable ground must be seen, its scatter must be that of a match, and it must not move
    by more than co-registration leaves and its scatter allows.
    """
    ground = displacement[:, stable & np.isfinite(displacement[0])]  # (2, N)
    count = ground.shape[1]
    if count < MIN_STABLE:
        return NOT_SEEN
    noise = ground_noise(ground)
    windows = max(count * SPACING**2 / (4 * np.pi * SIGMA**2), 1.0)  # that share no pixel
    shift = np.hypot(*np.median(ground, axis=1))
    allowed = MAX_GROUND_SHIFT + CERTAIN * noise / np.sqrt(windows)
    return NOT_STILL if noise > MAX_GROUND_NOISE or shift > allowed else ""


def weighted_median(ranked: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the value that half of the weight lies at or below, along the first axis; NaN without weight.

    ranked : sorted along the first axis. weights : same shape, 0 where it does not count.
    """
    total = np.cumsum(weights, axis=0)
    place = (total >= total[-1] / 2).argmax(axis=0)[None]
    middle = np.take_along_axis(ranked, place, axis=0)[0]
    return np.where(total[-1] > 0, middle, np.nan)


def combine(
    velocities: np.ndarray, weights: np.ndarray, pairs: Sequence[Pair], least: int = MIN_PAIRS
) -> Field:
    """Return the weighted median over pairs, and its standard error from a bootstrap over the scenes.

    velocities : (P, 2, ...) m/yr, NaN where refused. weights : (P, ...). least : pairs that a velocity needs. Pairs
    that share a scene share its error, so scenes are drawn, not pairs: each draw gives every scene a random weight, and
    a pair the product of its two. Pairs-median as in Dehecq et al. (2015), 10.1016/j.rse.2015.01.031; random weights
    as in Rubin (1981), 10.1214/aos/1176345338.
    """
    seen = np.isfinite(velocities[:, 0])
    count = seen.sum(axis=0)
    weights = np.where(seen, weights, 0).astype(np.float32)
    ends = np.array([(pair.first, pair.second) for pair in pairs])
    rng = np.random.default_rng(0)
    draws = rng.exponential(size=(REPLICATES, ends.max() + 1)).astype(np.float32)
    pair_draws = draws[:, ends[:, 0]] * draws[:, ends[:, 1]]  # (replicates, P)
    velocity, error = (np.full(velocities.shape[1:], np.nan, np.float32) for _ in range(2))
    for part in range(2):
        values = np.where(seen, velocities[:, part], 0)
        order = values.argsort(axis=0)
        ranked = np.take_along_axis(values, order, axis=0)
        ranked_weights = np.take_along_axis(weights, order, axis=0)
        velocity[part] = weighted_median(ranked, ranked_weights)
        replicates = [weighted_median(ranked, ranked_weights * draw[order]) for draw in pair_draws]
        error[part] = np.std(replicates, axis=0)
    few = count < least
    velocity[:, few] = np.nan
    error[:, few] = np.nan
    return Field(velocity, error, count)


def ground_error(weights: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return the standard error (h, w) of a mean of pairs by their noise over stable ground, NaN without a pair.

    weights : (P, h, w). noise : (P,) m/yr, which falls with the time between the scenes.
    """
    total = weights.sum(axis=0)
    spread = np.sqrt(np.sum((weights * noise[:, None, None]) ** 2, axis=0))
    return np.where(total > 0, spread / np.maximum(total, 1e-12), np.nan)


def finish(field: Field, stable: np.ndarray, spacing: int) -> tuple[Field, float]:
    """Return the field at rest over stable ground, its error with what tracking smooths away, and the ground's NMAD.

    A window cannot follow the ice right up to its edge. How much it takes off shows in what a second such smoothing
    would take off; a share of that, WINDOW_ERROR, is added to the error (in square).
    """
    velocity, ground = correct(field.velocity, stable)
    measured = np.isfinite(velocity[0]).astype(np.float32)
    sigma = SIGMA / spacing
    weight = np.maximum(blur(measured, sigma), 1e-6)
    lost = [part - blur(np.nan_to_num(part), sigma) / weight for part in velocity]
    error = np.hypot(field.error, WINDOW_ERROR * np.hypot(*lost))
    return field._replace(velocity=velocity, error=error), ground


def certain(field: Field) -> np.ndarray:
    """Return where the ice surely moves, bool (h, w)."""
    return np.hypot(*field.velocity) > CERTAIN * np.hypot(*field.error)


# ── Along the glacier ────────────────────────────────────────────────────────────────────────────────────────────


def velocity_at(velocity: np.ndarray, place: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the velocity (2,) at the node nearest to a place (row, column), NaN outside the grid."""
    row, column = place
    height, width = velocity.shape[1:]
    inside = 0 <= row <= height - 1 and 0 <= column <= width - 1
    if inside:
        return velocity[:, round(row), round(column)]
    return np.full(2, np.nan)


def heading(velocity: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return the direction of flow at a place, a step of one node (rows, columns); rows run south."""
    east, north = velocity_at(velocity, place)
    return np.array([-north, east]) / max(float(np.hypot(east, north)), 1e-9)


def trace(velocity: np.ndarray, start: tuple[float, float], step: float = 0.5) -> np.ndarray:
    """Return the flow line through a node, places (N, 2) of row and column in nodes, from its upper to its lower end.

    velocity : (2, h, w) east and north on a grid whose rows run south. It ends where the speed is less than a tenth of
    that at the start, unknown, or leaves the grid. Steps of half a node, second-order Runge-Kutta.
    """
    longest = 4 * sum(velocity.shape[1:])
    least = 0.1 * np.hypot(*velocity_at(velocity, start))
    upper = trace_one_way(velocity, start, -step, least, longest)
    lower = trace_one_way(velocity, start, step, least, longest)
    return np.array(upper[:0:-1] + lower)


def trace_one_way(
    velocity: np.ndarray, start: tuple[float, float], step: float, least: float, longest: int
) -> list[np.ndarray]:
    """Return the places of a flow line from its start on, upstream where the step is negative."""
    line: list[np.ndarray] = []
    place = np.array(start, float)
    while len(line) < longest and np.hypot(*velocity_at(velocity, place)) > least:
        line.append(place)
        halfway = place + step / 2 * heading(velocity, place)
        place = place + step * heading(velocity, halfway)
    return line
