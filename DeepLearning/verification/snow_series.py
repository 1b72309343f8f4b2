"""Snow-covered area, snow line and hydrological years of a glacier, past and forecast, with 5, 50 and 95 %.

Pixels that were observed are what they were. The others are drawn as members of climatology, given how the observed
part of that day differs from it; steps to come are drawn from the forecast. So the band of a past step is as wide as
its gaps allow. Long series of large scenes are looked at on every n-th pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from config import Config
from DeepLearning.data.glacier import Glacier
from DeepLearning.verification import members
from DeepLearning.verification.members import Agreement
from glacier import distribution
from glacier.elevation import read_elevation
from glacier.figures.snow import area_band
from glacier.grid import Grid, centre_latitude
from glacier.outlines import outline_mask
from glacier.snow_cover import Altitudes, SnowYear, covered_area, year_end, year_start

FINEST = 256  # px a side that are looked at; of a larger scene every n-th pixel
FITTED_STEPS = 60  # the last ones, on which the agreement of maps is fitted
LEVELS = (0.05, 0.5, 0.95)
UNITS = {
    "snow_covered_area": "km2",
    "snow_line": "m",
    "first_snow_day": "date",
    "last_snow_day": "date",
    "snow_cover_days": "d",
    "end_of_summer_snow_line": "m",
    "accumulation_area_ratio": "1",
}


@dataclass(frozen=True)
class Ground:
    """What is known of the ground, on every n-th pixel of a glacier.

    thinning : n. pixel_area : what one pixel stands for [m2]. altitudes : None without a DEM. ice : bool (h, w), None
    without an outline. southern : south of the equator.
    """

    thinning: int
    pixel_area: float
    altitudes: Altitudes | None
    ice: np.ndarray | None
    southern: bool

    @property
    def every(self) -> slice:
        """The rows, or the columns, that are looked at."""
        return slice(None, None, self.thinning)


def make_ground(
    shape: tuple[int, int],
    transform: Sequence[float],
    elevation: np.ndarray | None,
    ice: np.ndarray | None,
    southern: bool,
) -> Ground:
    """Return what is known of the ground of a scene. elevation [m], ice : (H, W) or None."""
    thinning = -(-max(shape) // FINEST)
    every = slice(None, None, thinning)
    area = abs(transform[0] * transform[4]) * thinning**2
    if elevation is None:
        altitudes = None
    else:
        altitudes = Altitudes(elevation[every, every])
    if ice is None:
        thin_ice = None
    else:
        thin_ice = ice[every, every]
    if thin_ice is not None and not thin_ice.any():
        thin_ice = None
    return Ground(thinning, area, altitudes, thin_ice, southern)


def read_ground(cfg: Config, glacier: Glacier) -> Ground:
    """Return what is known of a glacier's ground: its elevation if stage 1 read one, its outline if there is one."""
    series = glacier.series
    grid = Grid(series.crs, tuple(series.transform), glacier.shape)
    elevation = read_elevation(cfg)
    ice = None
    if cfg.iceOutline:
        ice = outline_mask(cfg.iceOutline, grid)
    southern = centre_latitude(grid) < 0
    return make_ground(glacier.shape, series.transform, elevation, ice, southern)


# ── The past ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class PastStep:
    """A past step on every n-th pixel, each (h, w). snow : bool, where observed. observed : bool.

    snow_level : the level of a member from which on a pixel is snow, 1 - P(snow) of climatology. scores : normal
    scores of the observed values, NaN elsewhere.
    """

    step: int
    snow: np.ndarray
    observed: np.ndarray
    snow_level: np.ndarray
    scores: np.ndarray


def past_step(glacier: Glacier, step: int, rows: slice, columns: slice) -> PastStep:
    """Return a past step, beside the climatology of the steps before it."""
    F = glacier.base.distribution(step, step, rows, columns)
    values = np.array(glacier.series.unclipped[step, :, rows, columns])
    observed = glacier.series.observed[step, rows, columns]
    values[:, ~observed] = np.nan
    random = np.random.default_rng(step)
    scores = members.normal_scores(F, values, glacier.x, random)
    snow = values[0] > distribution.SNOW
    snow_level = 1 - distribution.exceedance(F, distribution.SNOW, glacier.x)
    return PastStep(step, snow, observed, snow_level[0], scores[0])


def fit(glacier: Glacier) -> Agreement:
    """Return how the maps of the last FITTED_STEPS steps agree, in the middle FINEST pixels of the scene."""
    height, width = glacier.shape
    top = max(0, (height - FINEST) // 2)
    left = max(0, (width - FINEST) // 2)
    rows = slice(top, top + FINEST)
    columns = slice(left, left + FINEST)
    last = len(glacier.series.dates)
    first = max(glacier.series.steps_per_year, last - FITTED_STEPS)
    steps = np.arange(first, last)
    scores = [past_step(glacier, step, rows, columns).scores for step in steps.tolist()]
    if not scores:
        return Agreement()
    return members.fit_agreement(np.array(scores), steps)


def past_members(
    past: PastStep, agreement: Agreement, count: int, ground: Ground
) -> Iterator[np.ndarray]:
    """Yield maps of snow of a past step, bool (h, w), as they may have been: as observed, and drawn elsewhere."""
    random = np.random.default_rng(past.step)
    mean, spread = members.known_common(past.scores, agreement)
    numbers = mean + spread * members.common_numbers(count, 1, agreement, random)[:, 0]
    smoothing = max(agreement.smoothing / ground.thinning, members.SMOOTHINGS[0])
    complete = past.observed.all()
    for number in numbers:
        if complete:
            yield past.snow
            continue
        noise = members.smooth_noise(past.snow.shape, smoothing, random)
        drawn = members.levels(number, noise, agreement) > past.snow_level
        yield np.where(past.observed, past.snow, drawn)


# ── Rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def row(
    part: str, span: tuple[date, date], quantity: str, values: Sequence, count: int
) -> dict[str, object]:
    """Return a row of snow.csv. span : first and last day. values : the 5, 50 and 95 %. count : observed pixels."""
    low, middle, high = values
    return {
        "part": part,
        "first_day": str(span[0]),
        "last_day": str(span[1]),
        "quantity": quantity,
        "unit": UNITS[quantity],
        "p5": low,
        "p50": middle,
        "p95": high,
        "observed_pixels": count,
    }


def map_numbers(snow: np.ndarray, ground: Ground) -> dict[str, float]:
    """Return what one map of snow (h, w) says of its day: area [km2], and with a DEM the snow line [m]."""
    numbers = {"snow_covered_area": covered_area(snow, ground.pixel_area)}
    if ground.altitudes is not None:
        numbers["snow_line"] = ground.altitudes.snow_line(snow)
    return numbers


class SnowSeries:
    """Adds up members' maps of snow step by step, in the order of time, and returns the rows of snow.csv.

    days(step) : first day of a step. shape : (h, w) of the maps. count : members.
    """

    def __init__(self, days, shape: tuple[int, int], ground: Ground, count: int):
        self.days = days
        self.shape = shape
        self.ground = ground
        self.count = count
        self.rows: list[dict] = []
        self.years: dict[date, list[SnowYear]] = {}
        self.observed: dict[date, int] = {}
        self.first_step: int | None = None

    def add(self, part: str, step: int, maps: Sequence[np.ndarray], observed_pixels: int) -> None:
        """Add a step. part : past or forecast. maps : of the members, bool (count, h, w)."""
        begin = self.days(step)
        end = self.days(step + 1)
        if self.first_step is None:
            self.first_step = step
        numbers = [map_numbers(snow, self.ground) for snow in maps]
        span = (begin, date.fromordinal(end.toordinal() - 1))
        for quantity in numbers[0]:
            values = np.array([member[quantity] for member in numbers])
            levels = members.quantiles(values, LEVELS).tolist()
            self.rows.append(row(part, span, quantity, levels, observed_pixels))
        starts = {year_start(day, self.ground.southern) for day in span}
        for start in sorted(starts):
            self.add_to_year(start, part, (begin, end), maps, observed_pixels)

    def add_to_year(
        self,
        start: date,
        part: str,
        step_days: tuple[date, date],
        maps: Sequence[np.ndarray],
        observed_pixels: int,
    ) -> None:
        """Add a step to a hydrological year; when the year is over, its rows are made."""
        if start < self.days(self.first_step):
            return  # its beginning is not known
        if start not in self.years:
            years = []
            for _ in range(self.count):
                years.append(SnowYear(start, self.shape, self.ground.altitudes, self.ground.ice))
            self.years[start] = years
            self.observed[start] = 0
        for year, snow in zip(self.years[start], maps, strict=True):
            year.add(*step_days, snow)
        self.observed[start] += observed_pixels
        if step_days[1] >= year_end(start):
            self.finish_year(start, part)

    def finish_year(self, start: date, part: str) -> None:
        """Make the rows of a hydrological year from its members; what cannot be told is left out."""
        years = self.years.pop(start)
        numbers = [year.numbers() for year in years]
        span = (start, date.fromordinal(year_end(start).toordinal() - 1))
        for quantity in numbers[0]:
            values = np.array([member[quantity] for member in numbers])
            known = values[np.isfinite(values)]
            if not len(known):
                continue
            levels = members.quantiles(known, LEVELS).tolist()
            if UNITS[quantity] == "date":
                levels = [str(years[0].day(level)) for level in levels]
            self.rows.append(row(part, span, quantity, levels, self.observed[start]))


def past_rows(glacier: Glacier, ground: Ground, agreement: Agreement, count: int) -> SnowSeries:
    """Return the series with all past steps added that have a year before them."""
    every = ground.every
    shape = tuple(len(range(0, side, ground.thinning)) for side in glacier.shape)
    series = SnowSeries(glacier.date, shape, ground, count)
    for step in range(glacier.series.steps_per_year, len(glacier.series.dates)):
        past = past_step(glacier, step, every, every)
        maps = list(past_members(past, agreement, count, ground))
        observed = int(glacier.series.observed[step].sum())
        series.add("past", step, maps, observed)
    return series


def all_rows(
    glacier: Glacier, ground: Ground, agreement: Agreement, forecast: np.ndarray
) -> list[dict]:
    """Return the rows of snow.csv: past steps, forecast steps, and the hydrological years that they complete.

    forecast : snow of the members on every n-th pixel, bool (members, horizon, h, w).
    """
    series = past_rows(glacier, ground, agreement, len(forecast))
    target = len(glacier.series.dates)
    for lead in range(forecast.shape[1]):
        series.add("forecast", target + lead, forecast[:, lead], 0)
    return series.rows


def draw(folder: Path, rows: Sequence[dict]) -> list[Path]:
    """Draw the snow-covered area, past and forecast; return the file."""
    steps = [row for row in rows if row["quantity"] == "snow_covered_area"]
    days = [date.fromisoformat(row["first_day"]) for row in steps]
    bands = np.array([[row["p5"], row["p50"], row["p95"]] for row in steps]).T
    ahead = np.array([row["part"] == "forecast" for row in steps])
    path = folder / "snow.png"
    return [area_band(path, days, bands, ahead, "snow-covered area [km²]")]
