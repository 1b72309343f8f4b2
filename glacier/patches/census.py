"""What the parts of a split hold: target dates and pixels really observed, and whether they can decide anything."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from glacier.distribution import SNOW
from glacier.patches.split import Split, target_steps
from glacier.seasons import step_date, year_step

FEWEST_DATES = 8  # observed target dates below which scores of a part are of single days
COUNTED = ("train", "validation", "test")


@dataclass(frozen=True)
class Holding:
    """What one part of the split holds.

    dates : target steps with an observed pixel. of : all its target steps. pixels : observed target pixels, each step
    counted once. snow : part of them with snow, NaN where none was observed or the series is no snow index.
    """

    dates: int
    of: int
    pixels: int
    snow: float


def count_parts(
    values: np.ndarray, observed: np.ndarray, split: Split, length: int, horizon: int, index: bool
) -> dict[str, Holding]:
    """Return what each part of the split holds.

    values : (T, C, H, W). observed : bool (T, H, W). index : whether the first channel is a snow index.
    """
    targets = target_steps(split.parts, length, horizon)
    holdings = {}
    for part in COUNTED:
        dates = pixels = snow = 0
        for step in targets[part]:
            seen = np.asarray(observed[step])  # (H, W)
            dates += bool(seen.any())
            pixels += int(seen.sum())
            snow += int((values[step, 0][seen] > SNOW).sum())
        share = np.nan
        if index and pixels:
            share = snow / pixels
        holdings[part] = Holding(dates, len(targets[part]), pixels, share)
    return holdings


def warnings(holdings: dict[str, Holding], split: Split, deciding_years: int) -> list[str]:
    """Return what a user should know of a split before trusting its scores, one line each.

    deciding_years : whole years of validation; 0 where it decides nothing.
    """
    lines = []
    for part, held in holdings.items():
        if held.dates < FEWEST_DATES:
            lines.append(
                f"{part} holds {held.dates} observed target dates of {held.of}, fewer than "
                f"{FEWEST_DATES}: its scores are those of single days"
            )
        if held.snow == 0:
            lines.append(f"{part} holds no snow: it cannot show who forecasts snow well")
        elif held.snow == 1:
            lines.append(f"{part} holds only snow: it cannot show who forecasts melt well")
    if deciding_years == 0:
        lines.append(
            "the series is too short for a whole year of validation: validation decides nothing, "
            "networks stay at climatology"
        )
    if split.block is None:
        lines.append(
            "no kept-out block fits into the scene beside the patches: nothing is scored where "
            "no network was trained"
        )
    return lines


def unseen_months(
    dates: Sequence[date], observed: np.ndarray, steps_per_year: int
) -> tuple[str, ...]:
    """Return the names of the months in which no pixel of the series was ever observed.

    dates : first day of each step. observed : bool (T, H, W). A step stands for every month it reaches into.
    """
    months: set[int] = set()
    for step, first in enumerate(dates):
        if not observed[step].any():
            continue
        after = step_date(year_step(first, steps_per_year) + 1, steps_per_year)
        last = after - timedelta(days=1)
        count = 12 * (last.year - first.year) + last.month - first.month + 1
        months.update((first.month - 1 + number) % 12 + 1 for number in range(count))
    return tuple(calendar.month_name[month] for month in range(1, 13) if month not in months)
