"""What snow maps say of a glacier: covered area, altitude of the snow line, and the numbers of a hydrological year."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

# first month of the hydrological year
NORTHERN_START = 10
SOUTHERN_START = 4
SUMMER_MONTHS = 3  # the last ones of a hydrological year, in which the snow line climbs highest


def year_start(day: date, southern: bool) -> date:
    """Return the first day of the hydrological year that holds a day: 1 October, in the south 1 April."""
    month = SOUTHERN_START if southern else NORTHERN_START
    if day.month >= month:
        year = day.year
    else:
        year = day.year - 1
    return date(year, month, 1)


def year_end(start: date) -> date:
    """Return the first day after a hydrological year."""
    return date(start.year + 1, start.month, 1)


def summer_start(start: date) -> date:
    """Return the first day of the summer at the end of a hydrological year: 1 July, in the south 1 January."""
    end = year_end(start)
    month = end.month - SUMMER_MONTHS
    return date(end.year, month, 1)


def covered_area(snow: np.ndarray, pixel_area: float) -> float:
    """Return the snow-covered area [km2] of a map (H, W) of snow or of its probability. pixel_area [m2]."""
    return float(snow.sum(dtype=np.float64) * pixel_area / 1e6)


class Altitudes:
    """The pixels of a scene in the order of their altitude. elevation : [m] (H, W), NaN where it is not known."""

    def __init__(self, elevation: np.ndarray):
        flat = elevation.ravel()
        order = np.argsort(flat, kind="stable")  # NaN comes last
        self.order = order[: int(np.isfinite(flat).sum())]
        self.heights = flat[self.order]

    def snow_line(self, snow: np.ndarray) -> float:
        """Return the altitude [m] that best parts bare ground below from snow above; NaN without any altitude.

        snow : of each pixel (H, W), yes or no, or its probability. The fewest pixels are on the wrong side: Krajci et
        al. (2014), 10.1016/j.jhydrol.2014.08.064. Where all is snow the lowest altitude, where nothing is the highest.
        """
        if not len(self.order):
            return float("nan")
        sorted_snow = snow.ravel()[self.order].astype(np.float64)
        snow_below = np.concatenate([[0], sorted_snow.cumsum()])
        bare_below = np.concatenate([[0], (1 - sorted_snow).cumsum()])
        wrong = (
            snow_below + bare_below[-1] - bare_below
        )  # for a line below each pixel, and above all
        line = int(wrong.argmin())
        under = self.heights[max(line - 1, 0)]
        over = self.heights[min(line, len(self.heights) - 1)]
        return float(under + over) / 2


class SnowYear:
    """One hydrological year, added up step by step: when snow came and went, how long it lay, what outlasted summer.

    start : its first day. altitudes : for the snow line; None: no line. ice : bool (H, W), the glacier; None: no
    accumulation area.
    """

    def __init__(
        self,
        start: date,
        shape: tuple[int, int],
        altitudes: Altitudes | None = None,
        ice: np.ndarray | None = None,
    ):
        self.start = start
        self.altitudes = altitudes
        self.ice = ice
        self.first = np.full(shape, -1, np.int16)  # day of the year, -1 before any snow
        self.last = np.full(shape, -1, np.int16)
        self.days = np.zeros(shape, np.int16)
        self.summer_lines: list[float] = []
        self.summer_shares: list[float] = []

    def add(self, begin: date, end: date, snow: np.ndarray) -> None:
        """Add a step from `begin` to before `end`, with its snow, bool (H, W). Steps come in the order of time."""
        begin = max(begin, self.start)
        end = min(end, year_end(self.start))
        number = (begin - self.start).days
        length = (end - begin).days
        self.first[snow & (self.first < 0)] = number
        self.last[snow] = number + length - 1
        self.days += np.int16(length) * snow
        if end <= summer_start(self.start):
            return
        if self.altitudes is not None:
            self.summer_lines.append(self.altitudes.snow_line(snow))
        if self.ice is not None:
            self.summer_shares.append(float(snow[self.ice].mean()))

    def numbers(self) -> dict[str, float]:
        """Return the numbers of the year; NaN where there is no snow, no altitude or no outline to tell them.

        first_snow_day, last_snow_day : day of the hydrological year, 0 its first, means of the pixels that had snow.
        snow_cover_days : mean of all pixels. end_of_summer_snow_line [m] : the highest one of the summer.
        accumulation_area_ratio : share of the ice that snow covered when it covered least.
        """
        nothing = float("nan")
        numbers = {
            "first_snow_day": nothing,
            "last_snow_day": nothing,
            "snow_cover_days": float(self.days.mean()),
            "end_of_summer_snow_line": max(self.summer_lines, default=nothing),
            "accumulation_area_ratio": min(self.summer_shares, default=nothing),
        }
        snowy = self.first >= 0
        if snowy.any():
            numbers["first_snow_day"] = float(self.first[snowy].mean())
            numbers["last_snow_day"] = float(self.last[snowy].mean())
        return numbers

    def day(self, number: float) -> date:
        """Return the date of a day of this year, rounded to whole days."""
        return self.start + timedelta(days=round(number))
