"""From displacements between pairs of scenes to one velocity field with errors. Pure functions of arrays.

A velocity is (2, ...) in metres a year, to the east and to the north, NaN where unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np
from rasterio import Affine

from glacier.grid import Grid
from glacier.robust import nmad
from glacier.velocity import displacement
from glacier.velocity.refinement import SIGMA
from glacier.velocity.sampling import blur

# days; scenes whose day of the year differs by no more than this have like sun and snow
SEASON = 24
MAX_YEARS = 4  # between the scenes of a pair; ice deforms and melts beyond recognition
MAX_REACH = 24.0  # px; where the ice may have moved further, its speed along the way is no longer that of one place
DAYS = 365.25  # a year
MIN_PAIRS = 3  # that a velocity needs
MIN_STABLE = 30  # nodes on stable ground that a pair needs
REPLICATES = 40  # of the bootstrap
CERTAIN = 3.0  # times its standard error: a slower velocity may be none
WINDOW_ERROR = 0.4  # share of what one more smoothing by the tracking window takes away that is counted as error


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
        return cls(grid, spacing, *(displacement.nodes(length, spacing) for length in grid.shape))

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), len(self.columns)

    @property
    def transform(self) -> Affine:
        """The transform of the nodes' own grid: each is the middle of its pixel."""
        a, b, c, d, e, f = self.grid.transform
        column, row = (first[0] + 0.5 - self.spacing / 2 for first in (self.columns, self.rows))
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


class Pair(NamedTuple):
    """Two scenes of the same season, by their place in the series, and the time between them."""

    first: int
    second: int
    years: float


class Field(NamedTuple):
    """velocity (2, h, w) [m/yr, east and north]; error: its standard error, alike; count (h, w) of the pairs used.

    NaN where fewer than MIN_PAIRS pairs have a velocity.
    """

    velocity: np.ndarray
    error: np.ndarray
    count: np.ndarray


def longest_span(max_velocity: float, pixel_size: float) -> int:
    """Return the number of years that the scenes of a pair may be apart, 1 to MAX_YEARS.

    max_velocity : of the ice [m/yr]. pixel_size : m.
    """
    return int(np.clip(MAX_REACH * pixel_size / max_velocity, 1, MAX_YEARS))


def choose_pairs(dates: Sequence[date], max_years: int = MAX_YEARS) -> list[Pair]:
    """Return for every scene, and every whole number of years up to max_years, the later scene nearest in season."""
    days = np.array([day.toordinal() for day in dates])
    pairs = []
    for first, day in enumerate(days):
        for years in range(1, max_years + 1):
            off = np.abs(days - day - years * DAYS)
            second = int(off.argmin())
            if off[second] <= SEASON:
                pairs.append(Pair(first, second, float(days[second] - day) / DAYS))
    return pairs


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
    ground = velocity[:, stable & np.isfinite(velocity[0])]
    if ground.shape[1] < MIN_STABLE:
        return np.full_like(velocity, np.nan), float("nan")
    ground_median = np.median(ground, axis=1)[:, None, None]
    return velocity - ground_median, float(np.hypot(*(nmad(part) for part in ground)) / np.sqrt(2))


def weighted_median(ranked: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the value that half of the weight lies at or below, along the first axis; NaN without weight.

    ranked : sorted along the first axis. weights : same shape, 0 where it does not count.
    """
    total = np.cumsum(weights, axis=0)
    place = (total >= total[-1] / 2).argmax(axis=0)[None]
    return np.where(total[-1] > 0, np.take_along_axis(ranked, place, axis=0)[0], np.nan)


def combine(velocities: np.ndarray, weights: np.ndarray, pairs: Sequence[Pair]) -> Field:
    """Return the weighted median over pairs, and its standard error from a bootstrap over the scenes.

    velocities : (P, 2, ...) m/yr, NaN where refused. weights : (P, ...). Pairs that share a scene share its error, so
    scenes are drawn, not pairs: each draw gives every scene a random weight, and a pair the product of its two.
    Pairs-median as in Dehecq et al. (2015), 10.1016/j.rse.2015.01.031; random weights as in Rubin (1981),
    10.1214/aos/1176345338.
    """
    seen = np.isfinite(velocities[:, 0])
    count = seen.sum(axis=0)
    weights = np.where(seen, weights, 0).astype(np.float32)
    ends = np.array([pair[:2] for pair in pairs])
    draws = (
        np.random.default_rng(0).exponential(size=(REPLICATES, ends.max() + 1)).astype(np.float32)
    )
    velocity, error = (np.full(velocities.shape[1:], np.nan, np.float32) for _ in range(2))
    for part in range(2):
        values = np.where(seen, velocities[:, part], 0)
        order = values.argsort(axis=0)
        ranked, ranked_weights = (
            np.take_along_axis(array, order, axis=0) for array in (values, weights)
        )
        velocity[part] = weighted_median(ranked, ranked_weights)
        replicates = [
            weighted_median(ranked, ranked_weights * (draw[ends[:, 0]] * draw[ends[:, 1]])[order])
            for draw in draws
        ]
        error[part] = np.std(replicates, axis=0)
    few = count < MIN_PAIRS
    velocity[:, few], error[:, few] = np.nan, np.nan
    return Field(velocity, error, count)


def finish(field: Field, stable: np.ndarray, spacing: int) -> tuple[Field, float]:
    """Return the field at rest over stable ground, its error with what tracking smooths away, and the ground's NMAD.

    A window cannot follow the ice right up to its edge. How much it takes off shows in what a second such smoothing
    would take off; a share of that, WINDOW_ERROR, is added to the error (in square).
    """
    velocity, ground = correct(field.velocity, stable)
    known = np.isfinite(velocity[0]).astype(np.float32)
    sigma = SIGMA / spacing
    weight = np.maximum(blur(known, sigma), 1e-6)
    lost = [part - blur(np.nan_to_num(part), sigma) / weight for part in velocity]
    return field._replace(
        velocity=velocity, error=np.hypot(field.error, WINDOW_ERROR * np.hypot(*lost))
    ), ground


def certain(field: Field) -> np.ndarray:
    """Return where the ice surely moves, bool (h, w)."""
    return np.hypot(*field.velocity) > CERTAIN * np.hypot(*field.error)


# ── Along the glacier ────────────────────────────────────────────────────────────────────────────────────────────


def trace(velocity: np.ndarray, start: tuple[float, float], step: float = 0.5) -> np.ndarray:
    """Return the flow line through a node, places (N, 2) of row and column in nodes, from its upper to its lower end.

    velocity : (2, h, w) east and north on a grid whose rows run south. It ends where the speed is less than a tenth of
    that at the start, unknown, or leaves the grid. Steps of half a node, second-order Runge-Kutta.
    """
    height, width = velocity.shape[1:]

    def heading(place):
        row, column = place
        if not (0 <= row <= height - 1 and 0 <= column <= width - 1):
            return np.full(2, np.nan), 0.0
        east, north = velocity[:, round(row), round(column)]
        speed = float(np.hypot(east, north))
        return np.array([-north, east]) / max(speed, 1e-9), speed

    least = 0.1 * heading(start)[1]
    halves = []
    for way in (-1, 1):
        line, place = [], np.array(start, float)
        while len(line) < 4 * (height + width) and heading(place)[1] > least:
            line.append(place)
            place = place + way * step * heading(place + way * step / 2 * heading(place)[0])[0]
        halves.append(line)
    return np.array(halves[0][:0:-1] + halves[1])


SPACING = 4  # px between the nodes of the velocity grid
