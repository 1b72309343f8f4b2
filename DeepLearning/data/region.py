"""How a region departs from its climatology before a forecast, as one number: a shift in log-odds.

Weather moves the snow line of a whole scene. What it did to a past step is told by the shift a of
logit F' = logit F + a  that fits best what was seen, in the score by which networks are trained. Pixels whose
climatology is sure say nothing, so neither bare summers nor white winters count. Departures fade: those of the input
steps together give the shift that is expected at a target, each the less the older it is and the fewer pixels were in
doubt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, logit

from DeepLearning.data.adjustment import trapezoid_weights

if TYPE_CHECKING:
    from DeepLearning.data.glacier import Glacier, Origin

MEMORY = 45.0  # days, e-folding time of a region's departures; they last 30 to 60
SIDE = 64  # pixels a side that are looked at, of larger scenes every n-th
SURE = 1e-6  # F nearer to 0 or 1 than this counts as this before its logarithm
LARGEST = 4.0  # shift, either way
PRIOR = 0.03  # of the region's pixels: so many in full doubt say that there is no shift
ROUNDS = 8  # of Newton's method


@dataclass(frozen=True)
class Departure:
    """What a step showed. shift : (C,), log-odds that climatology lacked. weight : (C,), how much it is worth."""

    shift: np.ndarray
    weight: np.ndarray


class Region:
    """The departures of a glacier's steps, from every n-th pixel, without the kept-out block."""

    def __init__(self, glacier: Glacier):
        self.glacier = glacier
        every = max(1, -(-max(glacier.shape) // SIDE))
        self.thin = slice(None, None, every)
        weights = trapezoid_weights(glacier.thresholds, glacier.floor)
        self.levels = np.flatnonzero(weights)
        self.weights = weights[self.levels, None, None]  # (K, 1, 1)
        pixels = np.prod([len(range(0, side, every)) for side in glacier.shape])
        self.prior = PRIOR * pixels * weights.sum() / 16  # a pixel in full doubt: (F (1 - F))^2
        self._departures: dict[tuple[int, int | None], Departure] = {}

    def seen(self, step: int, before: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Return log-odds of F (K, C, N) of a step, and 1{value <= x} (K, C, N), at the pixels that were observed.

        before : the step that climatology ends before; None: leave-one-year-out.
        """
        glacier, thin = self.glacier, self.thin
        climatology = glacier.base.climatology
        observed = glacier.series.observed[step, thin, thin] & ~climatology.kept_out[thin, thin]
        function = glacier.base.distribution(step, before, thin, thin, keep=False)
        function = function[self.levels][..., observed].clip(SURE, 1 - SURE)
        values = np.array(glacier.series.values[step, :, thin, thin])[:, observed]
        below = values <= glacier.thresholds[self.levels, None, None]
        return logit(function), below

    def departure(self, step: int, before: int | None) -> Departure:
        """Return what a step showed; before : as in `seen`."""
        key = (step, before)
        if key not in self._departures:
            odds, below = self.seen(step, before)
            self._departures[key] = self.fit(odds, below)
        return self._departures[key]

    def fit(self, odds: np.ndarray, below: np.ndarray) -> Departure:
        """Return the shift with the least CRPS, held near 0 by the prior, by Newton's method; arrays as of `seen`."""
        shift = np.zeros(odds.shape[1])
        weight = self.doubt(odds)
        for _ in range(ROUNDS):
            function = expit(odds + shift[:, None])
            slope = function * (1 - function)
            down = (self.weights * (function - below) * slope).sum(axis=(0, 2)) + self.prior * shift
            curvature = (self.weights * slope**2).sum(axis=(0, 2)) + self.prior
            shift = (shift - down / curvature).clip(-LARGEST, LARGEST)
        return Departure(shift, weight)

    def doubt(self, odds: np.ndarray) -> np.ndarray:
        """Return how much a shift would change the score, (C,): the more, the more pixels are in doubt."""
        function = expit(odds)
        slope = function * (1 - function)
        return (self.weights * slope**2).sum(axis=(0, 2))

    def expected(self, origin: Origin, step: int) -> np.ndarray:
        """Return the shift (C,) float32 that the inputs of a window let expect at a target step.

        Each departure is  exp(-days / MEMORY)  of the last one; least squares with a prior of no shift.
        """
        glacier = self.glacier
        days = glacier.base.days
        explained, explaining = np.zeros(glacier.channels), np.full(glacier.channels, self.prior)
        for number in range(max(1, origin.first), origin.target):
            before = None if origin.trains else number
            departure = self.departure(number, before)
            age = (days[origin.target] - days[number]).days
            left = np.exp(-age / MEMORY)
            explained += left * departure.weight * departure.shift
            explaining += left**2 * departure.weight
        ahead = (days[step] - days[origin.target]).days
        expected = explained / explaining * np.exp(-ahead / MEMORY)
        return expected.astype(np.float32)

    def gain(self, step: int, before: int | None, shift: np.ndarray) -> tuple[float, int]:
        """Return by how much a shift (C,) lowers climatology's CRPS at a step, summed over pixels, and their number."""
        odds, below = self.seen(step, before)
        gain = self.score(odds, below) - self.score(odds + shift[:, None], below)
        return gain, below[0].size

    def score(self, odds: np.ndarray, below: np.ndarray) -> float:
        """Return the CRPS of log-odds, summed over pixels; arrays as of `seen`."""
        error = self.weights * (expit(odds) - below) ** 2
        return float(error.sum())
