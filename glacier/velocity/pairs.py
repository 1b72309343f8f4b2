"""Which scenes are compared: pairs of one season whole years apart, and short pairs where the ice is fast."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

import numpy as np

# days; scenes whose day of the year differs by no more than this have like sun and snow
SEASON = 24
MAX_YEARS = 4  # between the scenes of a pair; ice deforms and melts beyond recognition
MAX_REACH = 24.0  # px; where the ice may have moved further, its speed along the way is no longer that of one place
DAYS = 365.25  # a year
SHORT_DAYS = (8.0, 100.0)  # between the scenes of a short pair
RESOLVED = 4.0  # px, that the fastest ice must move between the scenes of a short pair
PARTNERS = 6  # of a scene, each of whole years and of short pairs
MIN_SHARED = 0.1  # of the scene that both must see
HALF_YEAR = 0.5  # years; what is less apart is a short pair


class Pair(NamedTuple):
    """Two scenes by their place in the series, and the time between them."""

    first: int
    second: int
    years: float


def longest_span(max_velocity: float, pixel_size: float) -> int:
    """Return the number of years that the scenes of a pair may be apart, 1 to MAX_YEARS.

    max_velocity : of the ice [m/yr]. pixel_size : m.
    """
    return int(np.clip(MAX_REACH * pixel_size / max_velocity, 1, MAX_YEARS))


def short_range(max_velocity: float, pixel_size: float) -> tuple[float, float] | None:
    """Return the fewest and the most days between the scenes of short pairs; None where the ice is too slow for them.

    Within them the fastest ice moves by RESOLVED to MAX_REACH px.
    """
    days_per_pixel = DAYS * pixel_size / max_velocity
    fewest = max(SHORT_DAYS[0], RESOLVED * days_per_pixel)
    most = min(SHORT_DAYS[1], max(MAX_REACH * days_per_pixel, SHORT_DAYS[0]))
    if fewest <= most:
        return (fewest, most)
    return None


def spans(
    max_velocity: float, pixel_size: float, pair_days: Sequence[float] | None
) -> tuple[tuple[float, float] | None, int]:
    """Return the range of days of short pairs (None: none) and the most whole years, 0 for none.

    pair_days : the user's range [days], which then holds for all pairs; None: what the speed of the ice allows.
    """
    years = longest_span(max_velocity, pixel_size)
    if pair_days is not None:
        fewest, most = pair_days
        return (fewest, min(most, HALF_YEAR * DAYS)), int((most + SEASON) // DAYS)
    short = short_range(max_velocity, pixel_size)
    if short is not None and max_velocity > 2 * MAX_REACH * pixel_size:
        years = 0  # in a year it moves beyond recognition
    return short, years


def choose_pairs(
    dates: Sequence[date],
    max_years: int = MAX_YEARS,
    short_days: tuple[float, float] | None = None,
    seen: np.ndarray | None = None,
    quality: np.ndarray | None = None,
    fewest_days: float = 0.0,
) -> list[Pair]:
    """Return for every scene its best later partners, at most PARTNERS whole years and PARTNERS days apart.

    seen : (T, N) bool, what each scene shows of the scene. quality : (T,), of its co-registration. A partner is the
    better the more both see, the better it lies, and the nearer its season is; of each number of years the best comes
    first. Linear in the number of scenes. fewest_days : that any pair is apart.
    """
    ordinals = np.array([day.toordinal() for day in dates])
    worth = np.ones(len(dates))
    if quality is not None and len(dates):
        worth = np.clip(quality / max(float(np.median(quality)), 1e-9), 0.1, 1)
    pairs = []
    for first in range(len(dates)):
        lag = ordinals - ordinals[first]
        years = np.rint(lag / DAYS).astype(int)
        off_season = np.abs(lag - years * DAYS)
        yearly = (years >= 1) & (years <= max_years) & (off_season <= SEASON)
        short = np.zeros(len(dates), bool)
        if short_days is not None:
            short = (lag >= short_days[0]) & (lag <= short_days[1]) & (lag > 0)
        candidates = np.flatnonzero((yearly | short) & (lag >= fewest_days))
        shared = shared_view(seen, first, candidates)
        merit = shared * worth[candidates]
        merit *= np.where(yearly[candidates], 1 - off_season[candidates] / (2 * SEASON), 1)
        merit[shared < MIN_SHARED] = 0
        partners = best_partners(merit, years[candidates] * yearly[candidates])
        for second in candidates[partners]:
            pairs.append(Pair(first, int(second), float(lag[second]) / DAYS))
    return pairs


def shared_view(seen: np.ndarray | None, first: int, candidates: np.ndarray) -> np.ndarray:
    """Return which part of the scene the first and each candidate both see, (candidates,)."""
    if seen is None:
        return np.ones(len(candidates))
    return (seen[first] & seen[candidates]).mean(axis=1)


def best_partners(merit: np.ndarray, years: np.ndarray) -> np.ndarray:
    """Return the places of the best candidates, in time order; years : apart, 0 for short pairs."""
    ranked = [place for place in np.argsort(-merit, kind="stable") if merit[place] > 0]
    whole_years = [place for place in ranked if years[place] > 0]
    short = [place for place in ranked if years[place] == 0]
    leaders = {
        years[place]: place for place in reversed(whole_years)
    }  # the best of each number of years
    others = [place for place in whole_years if place not in leaders.values()]
    chosen = [*leaders.values(), *others][: max(PARTNERS, len(leaders))]
    return np.sort(np.array(chosen + short[:PARTNERS], int))
