"""The best forecast of a made valley: from the rules by which it was made, and its snow line until now.

Nobody can know more of the next steps: the departure of the snow line fades by a known law, and what is added to it is
chance. What a forecast wins over climatology, of what this one wins, is its share of the attainable skill. Clouds are
not forecast: all scenes of a step count.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import rasterio
from scipy.special import ndtr

from config import Config
from demo import landscape as land
from demo.archive import landscape_of, reference_day
from demo.landscape import BANDS
from demo.scene import illuminated, photograph, state_of_snow, usual_snow_line
from demo.truth import read_truth, read_weather
from glacier.ground import ndsi
from glacier.seasons import step_date, year_step
from glacier.storage import runner

DRAWS = 60  # of what may come
LEVELS = np.linspace(-700, 700, 21)  # m, departures for which the index is worked out
NOISE = 0.03  # of the index: sensor, haze and resampling
GREEN = BANDS.index("green")
SWIR16 = BANDS.index("swir16")


class IdealForecast:
    """The ideal forecast of a valley that `makeGlacier --glaciers` made.

    shape, transform : of the glacier's grid. x : (K,) thresholds.
    """

    def __init__(self, cfg: Config, shape: tuple[int, int], transform: tuple, x: np.ndarray):
        archive = cfg.folder / "archive"
        truth = read_truth(archive)
        settings = runner.read_manifest(archive)["settings"]
        self.weather = read_weather(archive)
        self.landscape = landscape_of(settings)
        self.dates = truth.dates
        self.reference = reference_day(truth.dates)
        step = ~truth.transform @ rasterio.Affine(*transform)
        top = round(step.f)
        left = round(step.c)
        self.window = (slice(top, top + shape[0]), slice(left, left + shape[1]))
        self.steps_per_year = cfg.stepsPerYear
        self.x = x
        self._tables: dict[date, np.ndarray] = {}

    def distribution(self, known: date, step: date) -> np.ndarray:
        """Return F (K, 1, H, W) of the step that begins on a day, for who knows the snow line until the day `known`."""
        end = step_date(year_step(step, self.steps_per_year) + 1, self.steps_per_year)
        scenes = [day for day in self.dates if step <= day < end]
        days = scenes or [step + (end - step) / 2]
        random = np.random.default_rng([known.toordinal(), step.toordinal()])
        tables = [self.table(day) for day in days]
        levels = self.x[:, None, None]
        function = np.zeros((len(self.x), *tables[0].shape[1:]))
        for _ in range(DRAWS):
            path = self.draw(random, known, days)
            images = [at_level(*pair) for pair in zip(tables, path, strict=True)]
            composite = np.median(images, axis=0)  # (H, W)
            function += ndtr((levels - composite) / NOISE)
        function[-1] = DRAWS
        return (function / DRAWS).astype(np.float32)[:, None]

    def draw(self, random: np.random.Generator, known: date, days: Sequence[date]) -> list[float]:
        """Return departures [m] of later days, in their order, as they may come after those known."""
        last = known
        value = self.weather.on(known)
        path = []
        for day in days:
            memory = np.exp(-(day - last).days / self.weather.memory)
            value = memory * value + self.weather.spread * np.sqrt(1 - memory**2) * random.normal()
            path.append(float(value))
            last = day
        return path

    def table(self, day: date) -> np.ndarray:
        """Return the index (levels, H, W) of a day for each departure of LEVELS."""
        if day not in self._tables:
            images = [self.index(day, departure) for departure in LEVELS]
            self._tables[day] = np.stack(images)
        return self._tables[day]

    def index(self, day: date, departure: float) -> np.ndarray:
        """Return the snow index (H, W) of a clear day with the snow line `departure` m above the usual one."""
        season = day.timetuple().tm_yday
        freshness, greenness = state_of_snow(season, departure)
        years = (day - self.reference).days / 365.25
        line = usual_snow_line(season) + departure
        surface, _ = land.surface_reflectance(self.landscape, years, line, freshness, greenness)
        light = land.sunlight(self.landscape, *land.sun_position(season))
        bands = illuminated(surface[[GREEN, SWIR16]], light, land.SKYLIGHT[[GREEN, SWIR16]])
        green, swir16 = photograph(bands.astype(np.float32), 0.0, 0.0)[:, *self.window]
        return ndsi(green, swir16)


def at_level(table: np.ndarray, departure: float) -> np.ndarray:
    """Return the index (H, W) of a departure [m], between those of a table (levels, H, W)."""
    place = np.interp(departure, LEVELS, np.arange(len(LEVELS)))
    lower = min(int(place), len(LEVELS) - 2)
    share = place - lower
    return (1 - share) * table[lower] + share * table[lower + 1]
