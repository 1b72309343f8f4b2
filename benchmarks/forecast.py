"""How good the forecasts that need no training are, on real series:  python benchmarks/forecast.py

Every step from the second year on is forecast from the steps before it, and nothing else, one step ahead (--lead=4:
four). Prints for each series and method the CRPS, its skill against climatology, the kernel ensemble and the
same-season mean with 95 % intervals (jackknife-t over 3-month blocks crossed with tiles), how many of the values lie in
the 50 % and 90 % band (by randomised ranks), the width of the 90 % band, and the MSE of the mean. All of values as they
are; CRPS also of values clipped at snowThreshold. Series: Colorado at 12 and 23 steps a year and Brunswick, from
../shared/data where that is there, and a demo glacier. Stages that are finished under GLACIER_HOME are not made again.
Beside the figures stands their bound; exit code 1 if one is missed. Takes some ten minutes, again one.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np

import alignment
import config
import dataAPI
from config import Config, setting
from DeepLearning.verification import intervals, references
from demo import makeGlacier
from glacier import aligned, console, distribution
from glacier.climatology import Climatology
from glacier.seasons import step_middle, year_step

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
}
DEMO = {"size": 128, "years": (2013, 2020)}
AGAINST = ("climatology", "kernel ensemble", "same-season mean")
TILES = 5  # a side
FEWEST_STEPS = 8  # of a series shorter than two years: forecast from this step on
LEAST_SKILL = 0.02  # of climatology against the kernel ensemble, on real series of several years
COVERAGE = (0.82, 0.95)  # of the 90 % band


@dataclass(frozen=True)
class Settings(Config):
    lead: int = setting(1, "steps ahead", low=1, high=46)


# ── A series as the reference forecasts read it ──────────────────────────────────────────────────────────────────


class Base:
    """Climatology of the steps of a series, from the steps before one."""

    def __init__(self, climatology: Climatology, days: list[date]):
        self.climatology, self.days = climatology, days

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
    """A glacier's composites, with what the reference forecasts read of a glacier."""

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
        truth, x = past.series.unclipped[step], past.x
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

    def mean(self, name: str, pixels: int) -> float:
        """Return the mean of a score over all pixels of all targets."""
        return float(np.sum(getattr(self, name)) / pixels)


def score(past: Past, lead: int) -> tuple[dict[str, Scores], list[int], int]:
    """Return the scores of every method, the steps forecast, and how many pixels."""
    methods = references.references(past)
    scores = {name: Scores() for name in methods}
    random = np.random.default_rng(0)
    steps = [step for step in past.targets() if step - lead + 1 >= 1]
    pixels = 0
    for step in console.progress(steps, "targets"):
        drawn = random.random((1, *past.shape), dtype=np.float32)
        pixels += int(past.series.observed[step].sum())
        for name, method in methods.items():
            function = method.function(step - lead + 1, step, slice(None))
            scores[name].add(past, function, step, drawn)
    return scores, steps, pixels


def skill(scores: dict[str, Scores], name: str, against: str, score_name: str, blocks) -> tuple:
    """Return the skill of a method against another, and its interval."""
    own, other = (np.array(getattr(scores[method], score_name)) for method in (name, against))
    return 1 - own.sum() / other.sum(), *intervals.skill_interval(own, other, blocks)


def percent(numbers: tuple[float, float, float]) -> str:
    """Return a skill and its interval in percent."""
    middle, low, high = (100 * number for number in numbers)
    return f"{middle:+.1f} [{low:+.1f}, {high:+.1f}]"


def table(past: Past, lead: int) -> tuple[list[tuple], dict]:
    """Return the table of one series, and the figures that have a bound."""
    scores, steps, pixels = score(past, lead)
    blocks = intervals.date_blocks([past.middle(step) for step in steps])
    heads = [f"skill vs {name} [%]" for name in AGAINST]
    clipped = "clipped, vs kernel ensemble [%]"
    lines = [("method", "CRPS", *heads, clipped, "in 50 %", "in 90 %", "width", "MSE")]
    for name, sums in scores.items():
        skills = [percent(skill(scores, name, other, "crps", blocks)) for other in AGAINST]
        skills.append(percent(skill(scores, name, AGAINST[1], "clipped", blocks)))
        means = [sums.mean(key, pixels) for key in ("in_50", "in_90", "width", "squared")]
        numbers = [f"{100 * means[0]:.0f}", f"{100 * means[1]:.0f}"]
        numbers += [f"{means[2]:.3f}", f"{means[3]:.4f}"]
        lines.append((name, f"{sums.mean('crps', pixels):.4f}", *skills, *numbers))
    figures = {
        "dates": len(steps),
        "skill": skill(scores, AGAINST[0], AGAINST[1], "crps", blocks),
        "coverage": scores[AGAINST[0]].mean("in_90", pixels),
    }
    return lines, figures


def bounds(name: str, figures: dict) -> list[tuple[str, bool]]:
    """Return what must hold for a series, each with whether it does."""
    low, high = COVERAGE
    held = [
        (
            f"90 % band holds {100 * figures['coverage']:.0f} % (82 to 95)",
            low <= figures["coverage"] <= high,
        )
    ]
    if name.startswith("colorado"):
        middle, lowest, _ = figures["skill"]
        text = f"climatology against the kernel ensemble {percent(figures['skill'])} % (2 or more, clear of 0)"
        held.append((text, middle >= LEAST_SKILL and lowest > 0))
    return held


# ── The series ───────────────────────────────────────────────────────────────────────────────────────────────────


def prepare(name: str, settings: dict) -> Config:
    """Run the stages up to the composites, where they are not finished; return the settings of the series."""
    workers = os.cpu_count() or 1
    if name == "demo":
        makeGlacier.run(config.load(makeGlacier.Settings, name=name, **DEMO))
    cfg = config.load(Config, name=name, workers=workers, **settings)
    dataAPI.run(cfg)
    alignment.run(cfg)
    return cfg


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
        for name, settings in SERIES.items():
            source = settings.get("source")
            if source and not Path(source).is_file():
                print(f"\n{name}: left out, {source} is missing")
                continue
            past = Past(prepare(name, settings))
            lines, figures = table(past, cfg.lead)
            print(f"\n{name}: {figures['dates']} dates, {cfg.lead} step(s) ahead")
            print("\n".join(console.lines_of(lines)))
            for text, held in bounds(name, figures) if cfg.lead == 1 else ():
                print(f"  {'holds' if held else 'MISSED'}: {text}")
                missed += not held
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(console.main(run, Settings))
