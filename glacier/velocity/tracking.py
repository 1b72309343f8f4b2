"""The velocity of pairs of scenes, tracked over a grid of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from glacier import console, machine
from glacier.velocity import displacement, velocities
from glacier.velocity.fields import combine, pixel_displacement
from glacier.velocity.pairs import HALF_YEAR
from glacier.velocity.velocities import SPACING, Nodes, Pair

PAIR_A_PIXEL = 130  # bytes that the tracking of a pair takes


def track_pair(
    images: np.ndarray,
    pair: Pair,
    nodes: Nodes,
    stable: np.ndarray,
    max_velocity: float,
    yearly_guess: np.ndarray | None,
) -> tuple[np.ndarray, dict]:
    """Return a pair's velocity and its weight, (3, h, w): vx, vy [m/yr, at rest over stable ground], weight [yr].

    The weight is the time between the scenes, as an error in pixels counts less the longer that is, times the
    correlation; NaN and 0 where the match was refused, and everywhere if the stable ground speaks against the pair.
    The record says how far the pair can be trusted, and why not.
    """
    reach = max_velocity * pair.years / abs(nodes.grid.transform[0])
    guess = None if yearly_guess is None else yearly_guess * np.float32(pair.years)
    tracks = displacement.track(images[pair.first], images[pair.second], SPACING, reach, guess)
    fault = velocities.ground_fault(tracks.displacement, stable)
    velocity = velocities.to_velocity(tracks.displacement, pair.years, nodes.grid.transform)
    velocity, ground = velocities.correct(velocity, stable)
    matched = np.isfinite(tracks.displacement[0])
    record = {
        "first": pair.first,
        "second": pair.second,
        "years": round(pair.years, 4),
        "found": round(float(matched.mean()), 4),
        "stable_nmad": None if np.isnan(ground) else round(ground, 3),
        "correlation": typical(tracks.correlation[matched]),
        "departure": typical(tracks.departure[matched]),
        "peak_ratio": typical(tracks.peak_ratio[matched]),
        "refused": fault,
    }
    if fault:
        velocity = np.full_like(velocity, np.nan)
    weight = np.where(np.isfinite(velocity[0]), pair.years * tracks.correlation, 0)
    return np.concatenate([velocity, weight[None]]), record


def typical(values: np.ndarray) -> float | None:
    """Return the median of what is known among values (N,), None if nothing is."""
    measured = values[np.isfinite(values)]
    return round(float(np.median(measured)), 3) if measured.size else None


def track_pairs(
    images: np.ndarray,
    pairs: Sequence[Pair],
    nodes: Nodes,
    stable: np.ndarray,
    max_velocity: float,
    workers: int,
    out: np.ndarray,
) -> list[dict]:
    """Fill `out` (P, 3, h, w) with the velocities of all pairs, some at a time; return their records.

    The shortest pairs are searched. The longer ones start from what those found: over years ice deforms, and a search
    would rather find what does not move, shade and the banks of a narrow glacier.
    """
    shortest = min(pair.years for pair in pairs)
    short = np.array([pair.years < shortest + HALF_YEAR for pair in pairs])
    records: list = [None] * len(pairs)
    guess = None

    def work(number):
        out[number], records[number] = track_pair(
            images, pairs[number], nodes, stable, max_velocity, guess
        )

    pairs_at_once = machine.at_once(workers, images[0].size, PAIR_A_PIXEL)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the pairs run side by side
    try:
        with ThreadPoolExecutor(pairs_at_once) as pool:
            for what, members in (("short pairs", short), ("longer pairs", ~short)):
                numbers = np.flatnonzero(members).tolist()
                for _ in console.progress(pool.map(work, numbers), what, len(numbers)):
                    pass
                guess = guess_from(out, pairs, short, nodes, stable)
    finally:
        cv2.setNumThreads(threads)
    return records


def guess_from(
    tracked: np.ndarray, pairs: Sequence[Pair], short: np.ndarray, nodes: Nodes, stable: np.ndarray
) -> np.ndarray:
    """Return where longer pairs start from, the displacement in a year by the short pairs, (2, H, W) px."""
    least = min(velocities.MIN_PAIRS, int(short.sum()))
    field, _ = combine(tracked, pairs, short, stable, least=least)
    moving = velocities.certain(field) | np.isnan(field.velocity)
    velocity = np.where(moving, field.velocity, 0)
    return pixel_displacement(field._replace(velocity=velocity), nodes)
