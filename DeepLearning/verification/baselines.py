"""The forecasts a network has to beat. Each answers a distribution function, as a network does.

    baseline(inputs, context) -> F (1, horizon, K, C, h, W)

They forecast whole scenes of one glacier, some rows at a time: `context.place` says which. The first five need no
fitting; damped persistence and the ridge are fitted on the training windows, and on no pixel of the kept-out block.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from DeepLearning.data.base import bands
from DeepLearning.data.context import Context
from DeepLearning.data.glacier import Glacier
from glacier import distribution
from glacier.blocks import blocks
from glacier.climatology import UNIT, WIDTH, kernel
from glacier.stages import runs_folder
from glacier.storage import disk

CARRY, CARRY_DAYS = (
    0.6,
    30.0,
)  # of a region's departure: share that carries over, e-folding time [days]
SURE = 0.01  # shares of a region nearer to 0 or 1 than this count as this before a logarithm
SMALLEST_SHARE = 0.05  # of a region's pixels: a step of which less was observed tells no departure
PRIOR_DATES = (
    10.0  # dates of training that the prior of a fitted factor, nothing carries over, counts as
)
PIXEL_PRIOR = 10.0  # the same, for how far the factors of one pixel lie from those of all
TINY = 1e-6
SQUARES = 200_000_000  # bytes of the ridge's sums that are kept at once
EVERYTHING = slice(None)


class Baseline:
    """A forecast from the past of a glacier. What differs is `function`."""

    def __init__(self, glacier: Glacier):
        self.glacier = glacier

    def __call__(self, inputs: Tensor, context: Context) -> Tensor:
        """Return F (1, horizon, K, C, h, W) of the window and the rows that the context names."""
        place = context.place
        steps = range(place.target, place.target + self.glacier.horizon)
        functions = [self.function(place.target, step, place.rows) for step in steps]
        return torch.from_numpy(np.stack(functions))[None]

    def function(self, origin: int, step: int, rows: slice) -> np.ndarray:
        """Return F (K, C, h, W) of a step as known before the step `origin`."""
        return self.glacier.base.distribution(step, origin, rows)

    def days_between(self, step: int, later: int) -> int:
        """Return how many days lie between the middles of two steps."""
        return (self.glacier.middle(later) - self.glacier.middle(step)).days


class Climatology(Baseline):
    """What glacier.climatology knows of the season."""


class KernelEnsemble(Baseline):
    """All earlier values of the pixel, weighted by a Gaussian over the day of the year; its whole past without any."""

    def function(self, origin: int, step: int, rows: slice) -> np.ndarray:
        days = self.glacier.base.climatology.days[:origin] - self.glacier.middle(step).toordinal()
        return self.ensemble(kernel(days, WIDTH), origin, step, rows)

    def ensemble(self, weights: np.ndarray, origin: int, step: int, rows: slice) -> np.ndarray:
        """Return F (K, C, h, W) of weighted earlier values; of all values, or climatology, where there is none."""
        climatology, past = self.glacier.base.climatology, range(origin)
        ensemble = climatology.ensemble(weights, past, rows)
        equal = climatology.ensemble(np.full(origin, UNIT), past, rows)
        ensemble = np.where(np.isnan(ensemble), equal, ensemble)
        if np.isnan(ensemble).any():
            base = self.glacier.base.distribution(step, origin, rows)
            ensemble = np.where(np.isnan(ensemble), base, ensemble)
        return ensemble


class SameSeason(KernelEnsemble):
    """The values of the same step of earlier years: their mean was the usual climatology."""

    def function(self, origin: int, step: int, rows: slice) -> np.ndarray:
        weights = np.zeros(origin, int)
        every = self.glacier.series.steps_per_year
        weights[step % every :: every] = UNIT
        return self.ensemble(weights, origin, step, rows)


class Persistence(Baseline):
    """The last composite stays, with the spread of climatology around it."""

    def function(self, origin: int, step: int, rows: slice) -> np.ndarray:
        base = super().function(origin, step, rows)
        last = self.glacier.series.unclipped[origin - 1][:, rows]
        x = self.glacier.x
        return shifted(base, last - distribution.quantile(base, 0.5, x), x)


class RegionalCarry(Baseline):
    """Climatology, with a part of the region's last departure from it carried on.

    Log-odds move by CARRY exp(-days / CARRY_DAYS) of how far those of the region's last observed step were from its
    climatology, at each threshold. Both numbers are fixed: a choice among several costs more than it gains.
    """

    def __init__(self, glacier: Glacier):
        super().__init__(glacier)
        self._departures: dict[int, np.ndarray] = {}

    def function(self, origin: int, step: int, rows: slice) -> np.ndarray:
        base = super().function(origin, step, rows)
        last = self.last_observed(origin)
        if last is None:
            return base
        weight = CARRY * np.exp(-self.days_between(last, step) / CARRY_DAYS)
        return moved(base, weight * self.departure(last)[:, :, None, None])

    def last_observed(self, origin: int) -> int | None:
        """Return the last step before `origin` that shows the region, after the first one; None without any."""
        shares = self.glacier.base.climatology.shares
        shown = np.flatnonzero(shares[:origin] >= SMALLEST_SHARE)
        return int(shown[-1]) if len(shown) > 1 else None

    def departure(self, step: int) -> np.ndarray:
        """Return the log-odds of a step's observed pixels less those of their climatology, (K, C) float32."""
        if step not in self._departures:
            climatology = self.glacier.base.climatology
            observed = self.glacier.series.observed[step] & ~climatology.kept_out
            expected = np.zeros(climatology.region_sums.shape[1:])
            for rows in bands(*self.glacier.shape):
                base = self.glacier.base.distribution(step, step, rows)
                expected += base[:, :, observed[rows]].sum(axis=-1)
            number = observed.sum()
            real = log_odds(climatology.region_sums[step] / number)
            self._departures[step] = (real - log_odds(expected / number)).astype(np.float32)
        return self._departures[step]


# ── Fitted on the training windows ───────────────────────────────────────────────────────────────────────────────


class Known(NamedTuple):
    """What is known of a target step over some rows. departures : of all inputs, (T, C, h, W).

    scene_mean : of the last departure, over the whole scene, (C, 1, 1). mean : of the target's climatology, (C, h, W).
    """

    rows: slice
    departures: np.ndarray
    scene_mean: np.ndarray
    mean: np.ndarray


@dataclass(frozen=True)
class Sample:
    """One target step of a training window, over some rows. lead : from 0 on.

    wanted : what came less the mean of climatology, (C, h, W). counts : bool (h, W), observed, outside the kept-out
    block.
    """

    lead: int
    known: Known
    wanted: np.ndarray
    counts: np.ndarray


class Fitted(Baseline, ABC):
    """Climatology, moved by a departure that is linear in those of the inputs. What differs is `departure`."""

    def __init__(self, glacier: Glacier):
        super().__init__(glacier)
        self._usual: dict[tuple[int, int | None], np.ndarray] = {}
        self._scene_means: dict[tuple[int, int | None], np.ndarray] = {}

    @abstractmethod
    def departure(self, known: Known, lead: int) -> np.ndarray:
        """Return how far the target is expected from its mean, (C, h, W). lead : from 0 on."""

    def function(self, origin: int, step: int, rows: slice) -> np.ndarray:
        base = super().function(origin, step, rows)
        departures = self.departures(origin, rows)
        scene_mean = self.scene_mean(origin - 1, origin - 1)
        mean = self.usual(step, origin)[:, rows]
        known = Known(rows, departures, scene_mean, mean)
        return shifted(base, self.departure(known, step - origin), self.glacier.x)

    def usual(self, step: int, before: int | None) -> np.ndarray:
        """Return the mean (C, H, W) of a step's climatology, from the steps before one; None: leave-one-year-out.

        Kept in a scratch file: a long series has many.
        """
        if (step, before) not in self._usual:
            usual = disk.nameless_array(runs_folder(), self.glacier.series.unclipped.shape[1:])
            for rows in bands(*self.glacier.shape):
                base = self.glacier.base.distribution(step, before, rows)
                usual[:, rows] = distribution.mean(base, self.glacier.x)
            self._usual[step, before] = usual
        return self._usual[step, before]

    def departures(self, origin: int, rows: slice, trains: bool = False) -> np.ndarray:
        """Return how far each input before `origin` is from the mean of its climatology, (T, C, h, W)."""
        departures = []
        for step in range(origin - self.glacier.sequence_length, origin):
            usual = self.usual(step, None if trains else step)[:, rows]
            departures.append(self.glacier.series.unclipped[step][:, rows] - usual)
        return np.stack(departures)

    def scene_mean(self, step: int, before: int | None) -> np.ndarray:
        """Return the mean over the scene (C, 1, 1) of a step's departure from its climatology, as in `usual`."""
        if (step, before) not in self._scene_means:
            departure = self.glacier.series.unclipped[step] - self.usual(step, before)
            self._scene_means[step, before] = departure.mean(axis=(-2, -1), keepdims=True)
        return self._scene_means[step, before]

    def samples(self, rows: slice = EVERYTHING) -> Iterator[Sample]:
        """Yield each target step of each training window, over some rows."""
        for step, lead in self.training_targets():
            origin = step - lead
            if lead == 0:
                departures = self.departures(origin, rows, trains=True)
                scene_mean = self.scene_mean(origin - 1, None)
            usual = self.usual(step, None)[:, rows]
            wanted = self.glacier.series.unclipped[step][:, rows] - usual
            counts = self.counted(step)[rows]
            known = Known(rows, departures, scene_mean, usual)
            yield Sample(lead, known, wanted, counts)

    def training_targets(self) -> Iterator[tuple[int, int]]:
        """Yield the target steps of the training windows, window by window, with their lead time from 0 on."""
        glacier = self.glacier
        for window in glacier.windows("train"):
            origin = glacier.patches.windows[window].start + glacier.sequence_length
            for lead in range(glacier.horizon):
                yield origin + lead, lead

    def counted(self, step: int) -> np.ndarray:
        """Return which pixels of a step were observed outside the kept-out block, bool (H, W)."""
        return self.glacier.series.observed[step] & ~self.glacier.base.climatology.kept_out


class DampedPersistence(Fitted):
    """Climatology plus the last departure from it, damped: the standard bar of sub-seasonal forecasts.

    The departure is split into the mean of the scene and the rest, each with its factor for each lead time, by least
    squares over the training windows; every date weighs the same, and PRIOR_DATES of them say that nothing carries
    over. Lorenz (1973), 10.1175/1520-0450(1973)012<0543:OTPOAW>2.0.CO;2. factors : (horizon, 2), of rest and mean.
    """

    def __init__(self, glacier: Glacier):
        super().__init__(glacier)
        square = np.zeros((glacier.horizon, 2, 2))
        product = np.zeros((glacier.horizon, 2))
        dates = np.zeros(glacier.horizon)
        for sample in self.samples():
            if not sample.counts.any():
                continue
            predictors = self.predictors(sample.known)
            predictors = predictors[:, :, sample.counts].reshape(2, -1)
            wanted = sample.wanted[:, sample.counts].ravel()
            square[sample.lead] += predictors @ predictors.T / wanted.size
            product[sample.lead] += predictors @ wanted / wanted.size
            dates[sample.lead] += 1
        factors = []
        for lead in range(glacier.horizon):
            factors.append(solve(square[lead], product[lead], dates[lead], PRIOR_DATES))
        self.factors = np.array(factors)

    @staticmethod
    def predictors(known: Known) -> np.ndarray:
        """Return the last departure without its mean over the scene, and that mean, (2, C, h, W)."""
        last = known.departures[-1]
        scene_mean = known.scene_mean
        return np.stack([last - scene_mean, np.broadcast_to(scene_mean, last.shape)])

    def departure(self, known: Known, lead: int) -> np.ndarray:
        return np.tensordot(self.factors[lead], self.predictors(known), axes=1)


class CommonSums(NamedTuple):
    """Sums of a lead time over all pixels and dates: of the predictors with themselves (n, n), with what was wanted
    (n,), how many pixels and dates these are, and how many dates."""

    square: np.ndarray
    product: np.ndarray
    number: np.float32
    dates: float


class Ridge(Fitted):
    """A linear regression at each pixel on its departures at all input steps, on its climatology and on 1.

    A pixel's coefficients are those of all pixels together plus its own deviation. Both have a real prior, as a ridge
    (Hoerl & Kennard 1970, 10.1080/00401706.1970.10488634): PRIOR_DATES dates say that all are 0, PIXEL_PRIOR dates that
    a pixel is like the others. Pixels of the kept-out block have the common ones.
    coefficients : (horizon, T + 2, C, H, W), in a scratch file. Sums over the dates are made for some rows at a time.
    """

    def __init__(self, glacier: Glacier):
        super().__init__(glacier)
        count = glacier.sequence_length + 2
        frame = glacier.series.unclipped.shape[1:]
        a_row = 4 * glacier.horizon * frame[0] * frame[2] * count * count  # bytes of the squares
        parts = list(blocks(frame[1], max(1, SQUARES // a_row)))
        self.sums = lru_cache(maxsize=1)(self.new_sums)  # of the last rows
        common = self.common_sums(parts)
        self.coefficients = disk.nameless_array(runs_folder(), (glacier.horizon, count, *frame))
        for rows in parts:
            squares, products = self.sums(rows.start, rows.stop)
            for lead, own in enumerate(zip(squares, products, strict=True)):
                self.coefficients[lead, ..., rows, :] = fit_pixels(common[lead], *own)
        self.sums.cache_clear()

    def common_sums(self, parts: list[slice]) -> list[CommonSums]:
        """Return the sums over all pixels of each lead time, from blocks of rows."""
        horizon, count = self.glacier.horizon, self.glacier.sequence_length + 2
        square = np.zeros((horizon, count, count), np.float32)
        product = np.zeros((horizon, count), np.float32)
        number = np.zeros(horizon, np.float32)
        for rows in parts:
            squares, products = self.sums(rows.start, rows.stop)
            for lead in range(horizon):
                square[lead] += squares[lead].reshape(-1, count, count).sum(axis=0)
                product[lead] += products[lead].reshape(-1, count).sum(axis=0)
                number[lead] += squares[lead, ..., -1, -1].sum()
        dates = np.zeros(horizon)
        for step, lead in self.training_targets():
            dates[lead] += self.counted(step).any()
        leads = zip(square, product, number, dates, strict=True)
        return list(map(CommonSums._make, leads))

    def new_sums(self, top: int, bottom: int) -> tuple[np.ndarray, np.ndarray]:
        """Return sums over the dates of some rows: (horizon, C, h, W, n, n) and (horizon, C, h, W, n).

        Of the predictors with themselves, and with what was wanted.
        """
        glacier, rows = self.glacier, slice(top, bottom)
        count = glacier.sequence_length + 2
        frame = glacier.series.unclipped[0][:, rows].shape
        square = np.zeros((glacier.horizon, *frame, count, count), np.float32)
        product = np.zeros((glacier.horizon, *frame, count), np.float32)
        for sample in self.samples(rows):
            predictors = np.moveaxis(self.predictors(sample.known), 0, -1)
            predictors = predictors * sample.counts[..., None]
            square[sample.lead] += predictors[..., :, None] * predictors[..., None, :]
            product[sample.lead] += predictors * sample.wanted[..., None]
        return square, product

    @staticmethod
    def predictors(known: Known) -> np.ndarray:
        """Return the departures of all inputs, the mean of the target's climatology, and 1: (T + 2, C, h, W)."""
        mean = known.mean[None]
        return np.concatenate([known.departures, mean, np.ones_like(mean)])

    def departure(self, known: Known, lead: int) -> np.ndarray:
        coefficients = self.coefficients[lead][:, :, known.rows]
        return (coefficients * self.predictors(known)).sum(axis=0)


def fit_pixels(common: CommonSums, square: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Return the coefficients (n, C, h, W) of one lead time, from sums over the dates of each pixel.

    square (C, h, W, n, n), product (C, h, W, n) : of these pixels.
    """
    shared = solve(common.square, common.product, common.dates, PRIOR_DATES).astype(np.float32)
    scale = np.diagonal(common.square) / max(common.number, 1)
    prior = PIXEL_PRIOR * np.diag(scale + TINY).astype(np.float32)
    unexplained = product - square @ shared
    deviation = np.linalg.solve(square + prior, unexplained[..., None])[..., 0]
    return np.moveaxis(shared + deviation, -1, 0)


def solve(square: np.ndarray, product: np.ndarray, dates: float, prior_dates: float) -> np.ndarray:
    """Return the factors of a linear fit that `prior_dates` more dates, of the mean size of these, hold near 0.

    square (n, n), product (n,) : sums over the dates, of predictors with themselves and with what was wanted.
    """
    mean_size = np.diagonal(square) / max(dates, 1)
    return np.linalg.solve(square + np.diag(prior_dates * mean_size + TINY), product)


# ── Distribution functions ───────────────────────────────────────────────────────────────────────────────────────


def shifted(function: np.ndarray, shift: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return F (K, C, h, W) of the value plus a shift (C, h, W); what leaves the thresholds gathers at their ends."""
    flat = function.reshape(-1)
    shifts = shift.reshape(-1)
    pixels = np.arange(len(shifts))
    cell, upper_of_cell = threshold_table(x)
    answer = np.empty((len(x), len(shifts)), np.float32)
    for number, threshold in enumerate(x):
        levels = threshold - shifts
        cells = ((levels - x[0]) / cell).astype(int)
        upper = upper_of_cell[cells.clip(0, len(upper_of_cell) - 1)]
        upper += levels > x[upper]
        upper = upper.clip(1, len(x) - 1)
        below, above = x[upper - 1], x[upper]
        share = ((levels - below) / (above - below)).clip(0, 1)
        place = upper * len(shifts) + pixels
        left, right = flat[place - len(shifts)], flat[place]
        answer[number] = np.where(levels < x[0], 0, left + share * (right - left))
    answer[-1] = 1
    return answer.reshape(function.shape)


def threshold_table(x: np.ndarray) -> tuple[np.float32, np.ndarray]:
    """Return a width, and for each cell of this width from x[0] on the first threshold at or above its start.

    A cell is so narrow that it holds one threshold at most: quicker than a search.
    """
    cell = np.diff(x).min() / 2
    count = int((x[-1] - x[0]) / cell) + 2
    starts = x[0] + cell * np.arange(count, dtype=np.float32)
    return cell, np.searchsorted(x, starts).clip(max=len(x) - 1)


def moved(function: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Return F (K, C, h, W) with `amount` (K, C, 1, 1) added to its log-odds; what is 0 or 1 stays, and F rises."""
    with np.errstate(divide="ignore"):
        odds = np.log(function) - np.log1p(-function)
    answer = 1 / (1 + np.exp(-(odds + amount)))
    return np.maximum.accumulate(answer, axis=0).astype(np.float32)


def log_odds(share: np.ndarray) -> np.ndarray:
    """Return the log-odds of shares, those of SURE and 1 - SURE at most."""
    share = share.clip(SURE, 1 - SURE)
    return np.log(share / (1 - share))


# ── All of them ──────────────────────────────────────────────────────────────────────────────────────────────────

UNFITTED: dict[str, type[Baseline]] = {
    "climatology": Climatology,
    "kernel ensemble": KernelEnsemble,
    "same-season mean": SameSeason,
    "persistence": Persistence,
    "regional carry": RegionalCarry,
}
FITTED: dict[str, type[Fitted]] = {"damped persistence": DampedPersistence, "ridge": Ridge}


def unfitted(glacier: Glacier) -> dict[str, Callable[[Tensor, Context], Tensor]]:
    """Return the forecasts that need no fitting, by name."""
    return {name: baseline(glacier) for name, baseline in UNFITTED.items()}


def fitted(glacier: Glacier) -> dict[str, Callable[[Tensor, Context], Tensor]]:
    """Return the forecasts that are fitted on the glacier's training windows, by name."""
    return {name: baseline(glacier) for name, baseline in FITTED.items()}
