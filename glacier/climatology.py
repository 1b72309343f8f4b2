"""What is known of a season before it comes: the distribution function of every pixel's value.

Empirical Bayes in log-odds, on the values as they are, not clipped. For each threshold x

    F(x) = (A(x) + PRIOR P(x)) / (n + PRIOR)
    P(x) = sigmoid(logit R(x) + d(x))

A, n : sums over the pixel's past of 1{y <= x} and of observed, weighted by a Gaussian over the day of the year.
R    : the region's function of that season; where few years hold the season it leans on wider kernels, in the end on
       all seasons.
d    : how far the pixel's log-odds usually lie from the region's in that part of the year.

To lean on what all pixels share where a pixel has little of its own: Efron & Morris (1975),
10.1080/01621459.1975.10479864. The past is kept as the bin of each value, one byte; sums over the steps
are made in blocks of pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from glacier.blocks import blocks

YEAR = 365.25  # days
WIDTH = 20.0  # days, standard deviation of the kernel over the day of the year
# years of past up to which the kernel keeps its width: single pixels of 30 years lose nothing by it before, and win
# 1 % (half-monthly steps) when it narrows after; from 10 years on they lost
ENOUGH_YEARS = 20.0
PRIOR = 3.0  # observations that P counts as
OFFSET_WIDTH = 60.0  # days, of the kernel of d
# of R: width of a kernel [days], and how many years the next wider one counts as
LADDER = ((60.0, 0.3), (40.0, 0.6), (20.0, 0.8))
HALF = 0.5  # observation added to both sides before a logarithm, Haldane (1956), 10.1111/j.1469-1809.1956.tb01285.x
RARE = 1e-4  # R nearer to 0 or 1 than this counts as this before its logarithm
UNIT = 1024  # weights are whole numbers of 1 / UNIT, so that their sums are exact
BLOCK = 1024  # pixels worked on at once
ROWS = 512  # of a scene binned at once


def kernel(days: np.ndarray, width: float) -> np.ndarray:
    """Return Gaussian weights of distances over the day of the year [days], whole numbers of 1 / UNIT, int32."""
    distance = (days + YEAR / 2) % YEAR - YEAR / 2
    weights = np.exp(-0.5 * (distance / width) ** 2)
    return np.rint(UNIT * weights).astype(np.int32)


class Climatology:
    """The past of a glacier, from which F of any season follows.

    values : float32 (T, C, H, W), not clipped; may be memory-mapped. observed : bool (T, H, W), which values count.
    dates : the middle of each step. x : (K,) thresholds. kept_out : bool (H, W), pixels that R and d leave out.
    keep_bins : keep the bin of each value in memory, a byte each; else it is worked out where it is read.
    """

    def __init__(
        self,
        values: np.ndarray,
        observed: np.ndarray,
        dates: Sequence[date],
        x: np.ndarray,
        kept_out: np.ndarray | None = None,
        keep_bins: bool = True,
    ):
        steps, channels, *shape = values.shape
        self.x = x
        self.days = np.array([day.toordinal() for day in dates])
        if kept_out is None:
            kept_out = np.zeros(shape, bool)
        self.kept_out = kept_out
        self.values = values
        self.observed = observed
        self.bins: np.ndarray | None = None
        if keep_bins:
            self.bins = np.empty(values.shape, np.uint8)
        # of the region's pixels: the share that was observed, and how many lie at or below each threshold
        self.shares = np.empty(steps)
        self.region_sums = np.empty((steps, len(x), channels))
        for step in range(steps):
            self._add(step)
        self._kept: tuple[bytes, np.ndarray] = (b"none", np.empty(0))

    def _add(self, step: int) -> None:
        """Bin the values of a step, and count those of the region; in bands, for a scene may be large."""
        region = ~self.kept_out
        numbers = np.zeros(self.region_sums.shape[1:], int)  # (K, C), values in each bin
        for rows in blocks(len(region), ROWS):
            observed = self.observed[step, rows]
            band = self._bin(self.values[step, :, rows], observed)  # (C, rows, W)
            if self.bins is not None:
                self.bins[step, :, rows] = band
            counted = observed & region[rows]
            for channel, bins in enumerate(band):
                numbers[:, channel] += np.bincount(bins[counted], minlength=len(self.x))
        self.region_sums[step] = numbers.cumsum(axis=0)
        self.shares[step] = self.region_sums[step, -1, 0] / max(1, region.sum())

    def _bin(self, values: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """Return the first threshold that each value (..., C, h, w) does not exceed, uint8; K where not observed."""
        thresholds = len(self.x)
        bins = np.searchsorted(self.x, values)
        bins = np.minimum(bins, thresholds - 1)
        counted = observed[..., None, :, :]  # of every channel
        return np.where(counted, bins, thresholds).astype(np.uint8)

    def _past_bins(self, past: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        """Return the bins of some steps, rows and columns, (P, C, h, w)."""
        if self.bins is not None:
            return self.bins[past, :, rows, columns]
        values = self.values[past, :, rows, columns]
        return self._bin(values, self.observed[past, rows, columns])

    # ── The region ───────────────────────────────────────────────────────────────────────────────────────────────

    def region(self, days: np.ndarray, past: np.ndarray) -> np.ndarray:
        """Return R (S, K, C) at some days [ordinal], from the steps `past`; the uniform function without a past."""
        distances = self.days[past] - np.asarray(days)[:, None]  # (S, P) days
        sums = self.region_sums[past]  # (P, K, C)
        uniform = np.linspace(0, 1, len(self.x))[None, :, None]
        function = fraction(sums.sum(axis=0, keepdims=True), uniform)
        for width, pseudo_years in LADDER:
            weights = kernel(distances, width) / UNIT
            total = np.tensordot(weights, sums, axes=1)  # (S, K, C)
            years = self._years(distances, weights, past)[:, None, None]
            wider = function
            narrower = fraction(total, wider)
            function = (years * narrower + pseudo_years * wider) / (years + pseudo_years)
        return function

    def _years(self, distances: np.ndarray, weights: np.ndarray, past: np.ndarray) -> np.ndarray:
        """Return how many years hold the season, (S,): in each year the weights of what was seen, at most 1."""
        years = np.zeros(len(distances))
        year = np.floor(distances / YEAR + 0.5)  # 0 is the 12 months around the day
        for number in np.unique(year):
            of_the_year = np.where(year == number, weights, 0)  # (S, P)
            years += np.minimum(of_the_year @ self.shares[past], 1)
        return years

    def _usual(self, past: np.ndarray) -> np.ndarray:
        """Return R (P, K, C) float32 of the days of `past` itself, kept for the next call with this past."""
        if self._kept[0] != past.tobytes():
            days_of_year = np.rint(self.days[past] % YEAR)
            seasons, numbers = np.unique(days_of_year, return_inverse=True)
            functions = self.region(seasons, past).astype(np.float32)
            self._kept = past.tobytes(), functions[numbers]
        return self._kept[1]

    # ── Pixels ───────────────────────────────────────────────────────────────────────────────────────────────────

    def distribution(
        self,
        target: date,
        past: Sequence[int],
        rows: slice = slice(None),
        columns: slice = slice(None),
    ) -> np.ndarray:
        """Return F (K, C, h, w) float32 of a day, from exactly the steps `past`, of some rows and columns."""
        steps = np.sort(np.asarray(past, int))
        bins = self._past_bins(steps, rows, columns)  # (P, C, h, w)
        outside = self.kept_out[rows, columns].ravel()
        flat = bins.reshape(*bins.shape[:2], outside.size)
        season = self._season(target, steps)
        function = np.empty((len(self.x), *flat.shape[1:]), np.float32)
        for start in range(0, outside.size, BLOCK):
            block = slice(start, start + BLOCK)
            for channel in range(flat.shape[1]):
                past_bins = flat[:, channel, block]
                answer = season.distribution(past_bins, channel, outside[block])
                function[:, channel, block] = answer
        return function.reshape(len(self.x), *bins.shape[1:])

    def ensemble(
        self,
        weights: np.ndarray,
        past: Sequence[int],
        rows: slice = slice(None),
        columns: slice = slice(None),
    ) -> np.ndarray:
        """Return the plain function of past values (K, C, h, w) float32, each weighted; NaN where none was observed.

        weights : (P,), of the steps `past`, in 1 / UNIT.
        """
        bins = self._past_bins(np.asarray(past, int), rows, columns)
        flat = bins.reshape(len(bins), bins[0].size)
        below = counts(flat, weights, len(self.x))
        with np.errstate(invalid="ignore"):
            function = below / below[-1]
        return function.reshape(len(self.x), *bins.shape[1:])

    def weights(self, target: date, past: Sequence[int]) -> np.ndarray:
        """Return how much an observation of each of the steps `past` counts in F of a day, (P,) float32."""
        days = self.days[np.asarray(past, int)]
        weights = kernel(days - target.toordinal(), width(days)) / UNIT
        return weights.astype(np.float32)

    def _season(self, target: date, past: np.ndarray) -> Season:
        """Return what the pixels of a region share for a target day."""
        day = target.toordinal()
        days = self.days[past]
        return Season(
            kernel(days - day, width(days)),
            kernel(days - day, OFFSET_WIDTH),
            self.region(np.array([day]), past)[0].astype(np.float32),
            self._usual(past),
        )


@dataclass(frozen=True)
class Season:
    """What the pixels of a region share when F of a day is worked out from P past steps.

    weights, offset_weights : (P,) of the kernels, in 1 / UNIT. region : R (K, C) of the day.
    usual : R (P, K, C) of the past steps' own seasons.
    """

    weights: np.ndarray
    offset_weights: np.ndarray
    region: np.ndarray
    usual: np.ndarray

    def distribution(self, bins: np.ndarray, channel: int, outside: np.ndarray) -> np.ndarray:
        """Return F (K, N) float32 of some pixels, from the bins of their past (P, N); outside : (N,), d is 0 there."""
        thresholds = len(self.region)
        region = self.region[:, channel : channel + 1]
        offset = self.offset(bins, channel)
        offset[:, outside] = 0
        inner = region.clip(RARE, 1 - RARE)
        odds = np.log(inner / (1 - inner)) + offset
        prior = 1 / (1 + np.exp(-odds))
        certain = (region <= 0) | (region >= 1)  # what never occurred stays out
        prior = np.where(certain, region, prior)
        for level in range(1, thresholds):  # d need not rise, F must
            np.maximum(prior[level], prior[level - 1], out=prior[level])
        below = counts(bins, self.weights, thresholds)
        return (below + PRIOR * prior) / (below[-1] + PRIOR)

    def offset(self, bins: np.ndarray, channel: int) -> np.ndarray:
        """Return d (K, N): log-odds of what the pixels showed, less those of what the region showed at these times."""
        usual = self.usual[:, :, channel]  # (P, K)
        shown = counts(bins, self.offset_weights, len(self.region))
        number = shown[-1]
        weights = (self.offset_weights / UNIT).astype(np.float32)[:, None]
        observed = bins < len(self.region)
        expected = usual.T @ (observed * weights)  # (K, N)
        offset = log_odds(shown, number) - log_odds(expected, number)
        return offset * (number / (number + 1))


def counts(bins: np.ndarray, weights: np.ndarray, thresholds: int) -> np.ndarray:
    """Return how much was observed at or below each threshold, (K, N) float32.

    bins : (P, N), of P steps. weights : (P,), of the steps, in 1 / UNIT. thresholds : K.
    """
    used = np.flatnonzero(weights)
    pixels = bins.shape[1]
    size = (thresholds + 1) * pixels
    cells = bins[used] * np.intp(pixels) + np.arange(pixels)  # (used, N), of a table (K + 1, N)
    weights_of_cells = np.repeat(weights[used], pixels)
    sums = np.bincount(cells.ravel(), weights_of_cells, minlength=size)
    table = (sums / UNIT).astype(np.float32).reshape(-1, pixels)
    below = table[:thresholds]
    for level in range(1, thresholds):  # quicker than a cumulative sum along the first axis
        below[level] += below[level - 1]
    return below


def log_odds(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return the log-odds of a count in a number of observations, finite at none and at all."""
    rest = np.maximum(whole - part, 0)
    return np.log((part + HALF) / (rest + HALF))


def fraction(sums: np.ndarray, fallback: np.ndarray) -> np.ndarray:
    """Return sums (S, K, C) of counts as distribution functions; the fallback where nothing was counted."""
    whole = sums[:, -1:]
    divisor = np.where(whole > 0, whole, 1)
    return np.where(whole > 0, sums / divisor, fallback)


def width(days: np.ndarray) -> float:
    """Return the width [days] of the kernel over the day of the year for a past of these days, in their order.

    From ENOUGH_YEARS on it narrows as years are added, so that as many observations stay in it.
    """
    if len(days) == 0:
        return WIDTH
    years = (days[-1] - days[0]) / YEAR
    return WIDTH * ENOUGH_YEARS / max(years, ENOUGH_YEARS)


def without_year(days: np.ndarray, target: date) -> np.ndarray:
    """Return the steps outside the 12 months around a target, by their number; days : of all steps, as ordinals."""
    return np.flatnonzero(np.abs(days - target.toordinal()) > YEAR / 2)
