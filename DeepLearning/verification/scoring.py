"""Scores of networks and baselines over whole test scenes, by region, lead time and season.

Scenes go through in bands of rows; what is kept of a forecast are sums over tiles. All methods are scored on the same
pixels, dates and lead times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import torch

from DeepLearning.data.glacier import Glacier
from DeepLearning.verification import diagnosis, intervals, metrics, regions
from DeepLearning.verification.diagnosis import Diagnosis
from DeepLearning.verification.similarity import REACH, similarity_map
from glacier import console, distribution
from glacier.blocks import blocks, widened
from glacier.patches.windows import is_index

REFERENCE = "climatology"
SIMILAR_ROWS = 1024  # of a map compared at once
ALL_YEARS = "seen, all years"
SEASONS = ("Dec-Feb", "Mar-May", "Jun-Aug", "Sep-Nov")
COLUMNS = (
    "region",
    "lead",
    "season",
    "method",
    "dates",
    "n_eff",
    "crps",
    "crpss",
    "crpss_low",
    "crpss_high",
    "brier",
    "coverage_50",
    "coverage_90",
    "width_90",
    "spread_error",
    "mse",
    "mae",
    "ssim",
    "bias",
    "f1",
    "factor",
    "worst_date_share",
)
PIXELS, CRPS = (metrics.ADDED.index(name) for name in ("pixels", "crps"))


def season_of(day: date) -> str:
    """Return the season that holds a day, of SEASONS."""
    return SEASONS[day.month % 12 // 3]


# ── Forecasts to sums ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Window:
    """What came in a window. first : step of its first input. steps : its target steps.

    truth : (horizon, C, H, W), not clipped; mapped, read in bands. observed : bool (horizon, H, W).
    """

    first: int
    steps: range
    truth: np.ndarray
    observed: np.ndarray


def window_at(glacier: Glacier, first: int) -> Window:
    """Return what came in the window whose first input is step `first`."""
    target = first + glacier.sequence_length
    steps = range(target, target + glacier.horizon)
    series = glacier.series
    return Window(first, steps, series.unclipped[steps], series.observed[steps])


class Judge:
    """Scores forecasts of one glacier, window by window.

    tiles : of all regions, int (H, W). data_range : span of the values, for SSIM.
    """

    def __init__(self, glacier: Glacier, device: torch.device):
        self.glacier = glacier
        self.device = device
        self.masks = regions.region_masks(glacier)
        self.tiles = regions.numbered_tiles(self.masks)
        self.is_index = is_index(glacier.series.channels)
        if self.is_index:
            self.data_range = 1.0
        else:
            self.data_range = span(glacier)

    def in_doubt(self, base: Callable, window: Window) -> np.ndarray:
        """Return where climatology is in doubt whether there will be snow, bool (horizon, H, W); nowhere in colours."""
        doubt = np.zeros(window.observed.shape, bool)
        if not self.is_index:
            return doubt
        low, high = regions.DOUBT
        for rows, F in self.bands(base, window):
            probability = distribution.exceedance(F, distribution.SNOW, self.glacier.x)[:, 0]
            doubt[:, rows] = (probability > low) & (probability < high)
        return doubt

    def bands(self, forecaster: Callable, window: Window):
        """Yield rows and F (horizon, K, C, rows, W) as arrays."""
        for rows, F in self.glacier.forecast_bands(forecaster, window.first, self.device):
            yield rows, F.numpy()

    def sums(
        self,
        forecaster: Callable,
        window: Window,
        classes: np.ndarray,
        diagnosed: Diagnosis | None = None,
    ) -> np.ndarray:
        """Return what a forecast of a window adds up to, (horizon, CLASSES, len(metrics.ADDED)).

        classes : of regions.classes_of. diagnosed : takes the ranks and probabilities of the region "seen".
        """
        glacier = self.glacier
        total = np.zeros((len(window.steps), regions.CLASSES, len(metrics.ADDED)))
        means = np.empty(window.truth.shape, np.float32)
        for rows, F in self.bands(forecaster, window):
            truth = np.asarray(window.truth[:, :, rows])
            maps = metrics.score_maps(F, truth, glacier.x, glacier.floor, self.is_index)
            here = classes[:, rows]
            assert np.isfinite(maps["crps"][np.broadcast_to(here[:, None] >= 0, truth.shape)]).all()
            for number, name in enumerate(metrics.ADDED[:-1]):
                total[..., number] += metrics.class_sums(maps[name], here, regions.CLASSES)
            means[:, :, rows] = maps["mean"]
            if diagnosed is not None:
                seen = here % (len(regions.REGIONS) * regions.COUNT) < regions.COUNT
                diagnosed.add(maps, seen & (here >= 0))
        for lead in range(len(means)):
            total[lead, :, -1] = self.similarity(means, window, classes, lead)
        return total

    def similarity(
        self, means: np.ndarray, window: Window, classes: np.ndarray, lead: int
    ) -> np.ndarray:
        """Return the sums (CLASSES,) of the structural similarity of the means (horizon, C, H, W) to the truth.

        Of one lead time, in bands of rows that reach a window's half further.
        """
        this = slice(lead, lead + 1)
        height = means.shape[-2]
        total = np.zeros(regions.CLASSES)
        for block in blocks(height, SIMILAR_ROWS):
            rows, inner = widened(block, REACH, height)
            truth = np.array(window.truth[this, :, rows])
            if self.glacier.floor is not None:
                truth[truth < self.glacier.floor] = 0
            observed = window.observed[this, None, rows]
            likeness = similarity_map(means[this, :, rows], truth, observed, self.data_range)
            sums = metrics.class_sums(likeness[:, :, inner], classes[this, block], regions.CLASSES)
            total += sums[0]
        return total


def span(glacier: Glacier) -> float:
    """Return how far the values of the training steps reach, from their 1st to their 99th percentile."""
    every = max(1, max(glacier.shape) // 256)
    values = glacier.series.values[: glacier.training_steps(), :, ::every, ::every]
    low, high = np.nanpercentile(values, (1, 99))
    return float(high - low)


# ── Sums to scores ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Scored:
    """Sums of all methods over the tiles of all windows.

    sums : method -> (windows, horizon, CLASSES, len(metrics.ADDED)). steps : target steps (windows, horizon).
    days : the middle of each target step, by step. factors : method -> factor of each lead time.
    """

    sums: dict[str, np.ndarray]
    steps: np.ndarray
    days: Mapping[int, date]
    factors: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def rows(self, region: str) -> list[dict]:
        """Return the rows of a region: each lead time, each season and all together, and in them each method."""
        leads = np.broadcast_to(np.arange(1, self.steps.shape[1] + 1), self.steps.shape)
        season_names = [season_of(self.days[step]) for step in self.steps.ravel().tolist()]
        seasons = np.array(season_names).reshape(self.steps.shape)
        groups = [(lead, "all", leads == lead) for lead in range(1, self.steps.shape[1] + 1)]
        groups += [("all", name, seasons == name) for name in SEASONS if (seasons == name).any()]
        groups.append(("all", "all", leads > 0))
        rows = []
        for lead, season, cells in groups:
            labels = {"region": region, "lead": lead, "season": season}
            rows += self.group_rows(labels, cells)
        return rows

    def group_rows(self, labels: dict, cells: np.ndarray) -> list[dict]:
        """Return a row a method over some cells, bool (windows, horizon); none where nothing was observed."""
        by_date = {}
        steps = np.unique(self.steps[cells])
        for method, sums in self.sums.items():
            tiles = regions.region_sums(sums[cells], labels["region"])  # (cells, COUNT, S)
            by_date[method] = intervals.sum_by_block(tiles, self.steps[cells])
        observed = by_date[REFERENCE][..., PIXELS].sum(axis=1) > 0
        if not observed.any():
            return []
        steps = steps[observed]
        reference = by_date[REFERENCE][observed]
        rows = []
        for method, sums in by_date.items():
            scores = self.method_scores(sums[observed], reference, steps)
            row = labels | {"method": method, "factor": self.factor(method, labels["lead"])}
            row |= scores
            rows.append({column: row[column] for column in COLUMNS})
        return rows

    def method_scores(self, sums: np.ndarray, reference: np.ndarray, steps: np.ndarray) -> dict:
        """Return the scores of one method from its sums and climatology's, (dates, COUNT, S), of target steps."""
        total = metrics.summary(sums.sum(axis=(0, 1)))
        usual = metrics.summary(reference.sum(axis=(0, 1)))
        blocks = intervals.date_blocks([self.days[step] for step in steps.tolist()])
        low, high = intervals.skill_interval(sums[..., CRPS], reference[..., CRPS], blocks)
        errors = sums[..., CRPS].sum(axis=1)
        counts = sums[..., PIXELS].sum(axis=1)
        gains = errors / counts
        if sums is not reference and not np.array_equal(sums, reference):
            gains = gains - reference[..., CRPS].sum(axis=1) / counts
        return total | {
            "dates": len(steps),
            "n_eff": intervals.effective_dates(gains, steps),
            "crpss": metrics.skill(total["crps"], usual["crps"]),
            "crpss_low": low,
            "crpss_high": high,
            "worst_date_share": intervals.worst_date_share(errors),
        }

    def factor(self, method: str, lead: int | str) -> float:
        """Return the factor of a network at a lead time, the mean over all for "all"; NaN for what has none."""
        factors = self.factors.get(method)
        if factors is None:
            return float("nan")
        if lead == "all":
            return float(np.mean(factors))
        return float(factors[lead - 1])


def score(
    glacier: Glacier,
    forecasters: Mapping[str, Callable],
    device: torch.device,
    firsts: Sequence[int],
    diagnosed: Mapping[str, Diagnosis] | None = None,
) -> Scored:
    """Return the sums of all forecasters, climatology among them, over the windows that begin at the steps `firsts`.

    diagnosed : by method, takes ranks and reliability.
    """
    judge = Judge(glacier, device)
    sums = {name: [] for name in forecasters}
    windows = [window_at(glacier, first) for first in firsts]
    for window in console.progress(windows, "windows"):
        doubt = judge.in_doubt(forecasters[REFERENCE], window)
        classes = regions.classes_of(judge.tiles, window.observed, doubt)
        for name, forecaster in forecasters.items():
            own = (diagnosed or {}).get(name)
            sums[name].append(judge.sums(forecaster, window, classes, own))
    steps = np.array([list(window.steps) for window in windows])
    days = {step: glacier.middle(step) for step in np.unique(steps).tolist()}
    factors = factors_of(forecasters)
    arrays = {name: np.array(parts) for name, parts in sums.items()}
    return Scored(arrays, steps, days, factors)


def factors_of(forecasters: Mapping[str, Callable]) -> dict[str, list[float]]:
    """Return the factor of each lead time of the forecasters that have one: the networks."""
    factors = {}
    for name, forecaster in forecasters.items():
        if hasattr(forecaster, "factor"):
            factors[name] = forecaster.factor.tolist()
    return factors


def rows_of(scored: Scored, glacier: Glacier) -> list[dict]:
    """Return all rows of scores.csv: the regions, and the pixels of "seen" where climatology is in doubt."""
    names = [*regions.region_masks(glacier), regions.IN_DOUBT]
    rows = []
    for region in names:
        rows += scored.rows(region)
    return rows


def origins_of_all_years(glacier: Glacier) -> range:
    """Return the first steps of windows whose targets lie in the second year or later, spread over all seasons.

    So far apart that few targets are forecast twice; and each lead time meets each season in turn.
    """
    every = glacier.series.steps_per_year
    stride = glacier.horizon
    while math.gcd(stride, every) > 1:
        stride += 1
    first = max(0, every - glacier.sequence_length)
    length = glacier.sequence_length + glacier.horizon
    return range(first, len(glacier.series.dates) - length + 1, stride)


def rolling_rows(
    glacier: Glacier, forecasters: Mapping[str, Callable], device: torch.device
) -> list[dict]:
    """Return the rows of forecasters that need no training, from origins of all years but the first.

    So many more dates than the test holds say which of them is best. None in a series without a second year.
    """
    firsts = origins_of_all_years(glacier)
    if not firsts:
        return []
    scored = score(glacier, forecasters, device, firsts)
    return [row | {"region": ALL_YEARS} for row in scored.rows("seen")]


def bands_at(
    glacier: Glacier,
    forecaster: Callable,
    device: torch.device,
    firsts: Sequence[int],
    pixels: np.ndarray,
) -> np.ndarray:
    """Return the quantiles of diagnosis.BANDS at pixels (N, 2), of the first lead of each window: (N, 5, windows)."""
    quantiles = np.empty((len(pixels), len(diagnosis.BANDS), len(firsts)), np.float32)
    for window, first in enumerate(firsts):
        for rows, F in glacier.forecast_bands(forecaster, first, device):
            inside = np.flatnonzero((pixels[:, 0] >= rows.start) & (pixels[:, 0] < rows.stop))
            if len(inside):
                here = pixels[inside] - [rows.start, 0]
                levels = diagnosis.pixel_bands(F.numpy(), here, glacier.x, glacier.floor)
                quantiles[inside, :, window] = levels.T
    return quantiles
