"""How good the forecasts that need no training are:  python benchmarks/forecast.py [--series=colorado12,demo]

Every step from the second year on is forecast from the steps before it, and nothing else, one step ahead (--lead=4:
four). Prints for each series and method the CRPS, its skill against climatology, the kernel ensemble and the
same-season mean with 95 % intervals (jackknife-t over 3-month blocks crossed with tiles), how many of the values lie in
the 50 % and 90 % band (by randomised ranks), the width of the 90 % band, and the MSE of the mean. All of values as they
are; CRPS also of values clipped at snowThreshold.

Series: Colorado at 12 and 23 steps a year and Brunswick, from ../shared/data where that is there; a demo glacier; and
eight valleys under one regional weather, monthly, with the ideal forecast and the share that each method has of its
skill. Stages that are finished under GLACIER_HOME are not made again. Beside the figures stands their bound; exit code
1 if one is missed. Takes half an hour, of which the forecasts take five minutes.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import numpy as np

import alignment
import config
import dataAPI
from config import Config, setting
from DeepLearning.verification import baselines, intervals
from demo import makeGlacier
from demo.ideal import IdealForecast
from glacier import aligned, console, distribution
from glacier.climatology import Climatology
from glacier.seasons import step_date, step_middle, year_step

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
COLORADO = {
    "boundingBox": (-106.9251759, 40.279843, -106.9031935, 40.296677),
    "years": (2008, 2013),
    "sensor": "landsat-4-5-7",
    "source": str(SHARED / "colorado" / "catalog.json"),
    "maxCloudPercent": 100,
    "maxMissingFraction": 0.97,
}
BRUNSWICK = {
    "boundingBox": (-71.6, -53.4, -70.8, -53.0),
    "years": (2015, 2015),
    "platforms": ("terra",),
    "source": str(SHARED / "brunswick" / "catalog.json"),
    "maxCloudPercent": 100,
    "maxMissingFraction": 0.97,
    "pixelSize": 460,
    "stepsPerYear": 46,
}
SERIES = {
    "colorado12": COLORADO | {"stepsPerYear": 12},
    "colorado23": COLORADO | {"stepsPerYear": 23},
    "brunswick": BRUNSWICK,
    "demo": {},
    "valley": {},
}
MADE = {
    "demo": {"size": 128, "years": (2013, 2020)},
    "valley": {"size": 64, "years": (2015, 2021), "glaciers": 8},
}
IDEAL = "ideal"
AGAINST = ("climatology", "kernel ensemble", "same-season mean")
TILES = 5  # a side
FEWEST_STEPS = 8  # of a series shorter than two years: forecast from this step on
LEAST_SKILL = 0.02  # of climatology against the kernel ensemble, on real series of several years
COVERAGE = (0.82, 0.95)  # of the 90 % band


@dataclass(frozen=True)
class Settings(Config):
    lead: int = setting(1, "steps ahead", low=1, high=46)
    series: tuple[str, ...] = setting(tuple(SERIES), "which series")


# ── A series as the baselines read it ──────────────────────────────────────────────────────────────────


class Base:
    """Climatology of the steps of a series, from the steps before one."""

    def __init__(self, climatology: Climatology, days: list[date]):
        self.climatology = climatology
        self.days = days

    def distribution(self, step: int, before: int, rows: slice = slice(None)) -> np.ndarray:
        """Return F (K, C, h, W) of a step, from the steps before `before`."""
        return self.climatology.distribution(self.days[step], range(before), rows)


@dataclass(frozen=True)
class Series:
    """unclipped : (T, C, H, W). observed : bool (T, H, W)."""

    unclipped: np.ndarray
    observed: np.ndarray
    steps_per_year: int


class Past:
    """A glacier's composites, with what the baselines read of a glacier."""

    def __init__(self, cfg: Config):
        composites = aligned.read_composites(cfg)
        every = composites.steps_per_year
        start = year_step(date.fromisoformat(composites.dates[0]), every)
        self.days = [step_middle(start + step, every) for step in range(len(composites.dates))]
        self.x = distribution.thresholds(ndsi=True)
        self.floor = cfg.snowThreshold
        self.shape = composites.values.shape[-2:]
        self.series = Series(
            np.array(composites.values), np.array(composites.observed), composites.steps_per_year
        )
        climatology = Climatology(self.series.unclipped, self.series.observed, self.days, self.x)
        self.base = Base(climatology, self.days)
        self.methods = {
            name: baseline.function for name, baseline in baselines.unfitted(self).items()
        }
        if (cfg.folder / "archive" / "truth" / "weather.json").is_file():
            self.methods[IDEAL] = self.ideal(cfg, composites.transform)

    def ideal(self, cfg: Config, transform: tuple[float, ...]):
        """Return the ideal forecast of a made valley: (origin, step, rows) -> F (K, 1, h, W)."""
        forecast = IdealForecast(cfg, self.shape, transform, self.x)
        every = self.series.steps_per_year
        start = year_step(self.days[0], every)

        def function(origin: int, step: int, rows: slice) -> np.ndarray:
            known = step_date(start + origin, every) - timedelta(days=1)
            return forecast.distribution(known, step_date(start + step, every))[:, :, rows]

        return function

    def middle(self, step: int) -> date:
        """Return the day in the middle of a step."""
        return self.days[step]

    def targets(self) -> list[int]:
        """Return the steps to forecast: from the second year on, and in a shorter series from the eighth on."""
        steps = len(self.days)
        first = self.series.steps_per_year
        if steps < 2 * first:
            first = FEWEST_STEPS
        return [step for step in range(first, steps) if self.series.observed[step].any()]

    def tiles(self) -> np.ndarray:
        """Return the number of each pixel's tile, (H, W)."""
        row, column = (np.arange(length) * TILES // length for length in self.shape)
        return row[:, None] * TILES + column


# ── Scores ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Scores:
    """Sums of one method over the observed pixels of each target and tile, (targets, tiles) each."""

    crps: list[np.ndarray] = field(default_factory=list)
    clipped: list[np.ndarray] = field(default_factory=list)
    squared: list[np.ndarray] = field(default_factory=list)
    in_50: list[np.ndarray] = field(default_factory=list)
    in_90: list[np.ndarray] = field(default_factory=list)
    width: list[np.ndarray] = field(default_factory=list)

    def add(self, past: Past, function: np.ndarray, step: int, drawn: np.ndarray) -> None:
        """Add the forecast F (K, 1, H, W) of a step. drawn : even numbers (1, H, W), to draw ranks within lumps."""
        truth = past.series.unclipped[step]
        x = past.x
        low, high = distribution.rank(function, truth, x)
        rank = low + drawn * (high - low)
        band = distribution.quantile(function, 0.95, x) - distribution.quantile(function, 0.05, x)
        maps = {
            "crps": distribution.crps(function, truth, x),
            "clipped": distribution.crps(function, truth, x, past.floor),
            "squared": (distribution.mean(function, x) - truth) ** 2,
            "in_50": np.abs(rank - 0.5) <= 0.25,
            "in_90": np.abs(rank - 0.5) <= 0.45,
            "width": band,
        }
        observed = past.series.observed[step]
        tiles = past.tiles()[observed]
        for name, values in maps.items():
            sums = np.bincount(tiles, values[0][observed], minlength=TILES**2)
            getattr(self, name).append(sums)


@dataclass
class Table:
    """The scores of every method over the glaciers of a series. days : middle of each target, glacier by glacier."""

    scores: dict[str, Scores]
    days: list[date]
    pixels: int

    def mean(self, method: str, name: str) -> float:
        """Return the mean of a score over all pixels of all targets."""
        return float(np.sum(getattr(self.scores[method], name)) / self.pixels)

    def skill(self, method: str, against: str, name: str = "crps") -> tuple[float, float, float]:
        """Return the skill of a method against another, and its interval."""
        errors, reference = (np.array(getattr(self.scores[key], name)) for key in (method, against))
        blocks = intervals.date_blocks(self.days)
        interval = intervals.skill_interval(errors, reference, blocks)
        return 1 - errors.sum() / reference.sum(), *interval

    def share(self, method: str) -> str:
        """Return how much a method wins over climatology of what the ideal forecast wins, in percent."""
        usual, best, score = (self.mean(key, "crps") for key in (AGAINST[0], IDEAL, method))
        return f"{100 * (usual - score) / (usual - best):.0f}"

    def lines(self) -> list[tuple]:
        """Return the table as it is printed."""
        heads = ["method", "CRPS", *(f"skill vs {name} [%]" for name in AGAINST)]
        heads += ["clipped, vs kernel ensemble [%]", "in 50 %", "in 90 %", "width", "MSE"]
        has_ideal = IDEAL in self.scores
        if has_ideal:
            heads.append("share of attainable [%]")
        lines = [tuple(heads)]
        for name in self.scores:
            skills = [percent(self.skill(name, other)) for other in AGAINST]
            skills.append(percent(self.skill(name, AGAINST[1], "clipped")))
            coverage = [f"{100 * self.mean(name, key):.0f}" for key in ("in_50", "in_90")]
            size = [f"{self.mean(name, 'width'):.3f}", f"{self.mean(name, 'squared'):.4f}"]
            share = []
            if has_ideal:
                share = [self.share(name)]
            lines.append(
                (name, f"{self.mean(name, 'crps'):.4f}", *skills, *coverage, *size, *share)
            )
        return lines


def score(pasts: list[Past], lead: int) -> Table:
    """Return the scores of every method, on the same pixels of the same targets."""
    table = Table({name: Scores() for name in pasts[0].methods}, [], 0)
    random = np.random.default_rng(0)
    for past in pasts:
        for step in console.progress(past.targets(), "targets"):
            drawn = random.random((1, *past.shape), dtype=np.float32)
            table.days.append(past.middle(step))
            table.pixels += int(past.series.observed[step].sum())
            for name, method in past.methods.items():
                function = method(max(step - lead + 1, 1), step, slice(None))
                table.scores[name].add(past, function, step, drawn)
    return table


def percent(numbers: tuple[float, float, float]) -> str:
    """Return a skill and its interval in percent."""
    middle, low, high = (100 * number for number in numbers)
    return f"{middle:+.1f} [{low:+.1f}, {high:+.1f}]"


def bounds(name: str, table: Table) -> list[tuple[str, bool]]:
    """Return what must hold for a series, each with whether it does."""
    coverage = table.mean(AGAINST[0], "in_90")
    low, high = COVERAGE
    text = f"90 % band of climatology holds {100 * coverage:.0f} % (82 to 95)"
    held = [(text, low <= coverage <= high)]
    if name.startswith("colorado"):
        middle, lowest, highest = table.skill(AGAINST[0], AGAINST[1])
        numbers = percent((middle, lowest, highest))
        text = f"climatology against the kernel ensemble {numbers} % (2 or more, clear of 0)"
        held.append((text, middle >= LEAST_SKILL and lowest > 0))
    return held


# ── The series ───────────────────────────────────────────────────────────────────────────────────────────────────


def prepare(name: str, settings: dict) -> list[Config]:
    """Run the stages up to the composites, where they are not finished; return the settings of each glacier."""
    workers = os.cpu_count() or 1
    made = MADE.get(name, {})
    if made:
        makeGlacier.run(config.load(makeGlacier.Settings, name=name, **made))
    names = [name]
    if "glaciers" in made:
        names = [f"{name}{number}" for number in range(1, made["glaciers"] + 1)]
    glaciers = [config.load(Config, name=glacier, workers=workers, **settings) for glacier in names]
    for cfg in glaciers:
        dataAPI.run(cfg)
        alignment.run(cfg)
    return glaciers


@contextlib.contextmanager
def workplace():
    """Give a folder for the stages: GLACIER_HOME, or one that is removed afterwards."""
    if "GLACIER_HOME" in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory() as home:
        os.environ["GLACIER_HOME"] = home
        yield


def run(cfg: Settings) -> int:
    """Print the tables of all series; return 1 if a bound is missed."""
    missed = 0
    with workplace():
        for name in cfg.series:
            settings = SERIES[name]
            source = settings.get("source")
            if source and not Path(source).is_file():
                print(f"\n{name}: left out, {source} is missing")
                continue
            pasts = [Past(glacier) for glacier in prepare(name, settings)]
            table = score(pasts, cfg.lead)
            print(f"\n{name}: {len(table.days)} dates, {cfg.lead} step(s) ahead")
            print("\n".join(console.lines_of(table.lines())))
            for text, held in bounds(name, table) if cfg.lead == 1 else ():
                print(f"  {'holds' if held else 'MISSED'}: {text}")
                missed += not held
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(console.main(run, Settings))
