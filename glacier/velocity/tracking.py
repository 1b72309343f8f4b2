"""The velocity of pairs of scenes, tracked over a grid of nodes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from glacier import console
from glacier.velocity import displacement, velocities
from glacier.velocity.fields import combine, pixel_displacement
from glacier.velocity.velocities import SPACING, Nodes, Pair


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
    correlation; NaN and 0 where the match was refused. The record says how far the pair can be trusted.
    """
    reach = max_velocity * pair.years / abs(nodes.grid.transform[0])
    guess = None if yearly_guess is None else yearly_guess * np.float32(pair.years)
    tracks = displacement.track(images[pair.first], images[pair.second], SPACING, reach, guess)
    moved = velocities.to_velocity(tracks.displacement, pair.years, nodes.grid.transform)
    moved, ground = velocities.correct(moved, stable)
    found = np.isfinite(moved[0])
    weight = np.where(found, pair.years * tracks.correlation, 0)

    def typical(values):
        values = values[found & np.isfinite(values)]
        return round(float(np.median(values)), 3) if values.size else None

    record = {
        "first": pair.first,
        "second": pair.second,
        "years": round(pair.years, 4),
        "found": round(float(found.mean()), 4),
        "stable_nmad": round(ground, 3) if found.any() else None,
        "correlation": typical(tracks.correlation),
        "departure": typical(tracks.departure),
        "peak_ratio": typical(tracks.peak_ratio),
    }
    return np.concatenate([moved, weight[None]]), record


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
    short = np.array([pair.years < shortest + 0.5 for pair in pairs])
    records: list = [None] * len(pairs)
    guess = None

    def work(number):
        out[number], records[number] = track_pair(
            images, pairs[number], nodes, stable, max_velocity, guess
        )

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the pairs run side by side
    try:
        with ThreadPoolExecutor(min(workers, os.cpu_count() or 1)) as pool:
            for what, members in (("short pairs", short), ("longer pairs", ~short)):
                for _ in console.progress(
                    pool.map(work, np.flatnonzero(members).tolist()), what, int(members.sum())
                ):
                    pass
                field = combine(out, pairs, short, stable)[0]
                moving = np.where(
                    velocities.certain(field) | np.isnan(field.velocity), field.velocity, 0
                )
                guess = pixel_displacement(field._replace(velocity=moving), nodes)
    finally:
        cv2.setNumThreads(threads)
    return records
