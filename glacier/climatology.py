"""What is known of a season before it comes: mean and spread of its earlier years."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from glacier.patches.windows import Series


class Moments:
    """Sums over the observed pixels of some steps of a series, from which their mean and spread follow.

    count (1, H, W), total, squares, filled (C, H, W) : of the steps added, `filled` over observed and filled pixels.
    """

    def __init__(self, series: Series, steps: Iterable[int] = ()):
        self.series, self.steps = series, 0
        self.count = np.zeros((1, *series.observed.shape[1:]), np.float32)
        self.total, self.squares, self.filled = np.zeros((3, *series.values.shape[1:]), np.float64)
        for step in steps:
            self.add(step)

    def add(self, step: int) -> None:
        """Add a step."""
        seen, values = self.series.observed[step][None], self.series.values[step]
        self.steps += 1
        self.count += seen
        self.total += np.where(seen, values, 0)
        self.squares += np.where(seen, values.astype(np.float64) ** 2, 0)
        self.filled += values

    def mean_and_spread(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation, (C, H, W); where nothing was observed, of filled values, and 0."""
        mean = np.where(
            self.count > 0, self.total / np.maximum(self.count, 1), self.filled / max(self.steps, 1)
        )
        variance = self.squares / np.maximum(self.count, 1) - np.where(self.count > 0, mean, 0) ** 2
        return mean, np.sqrt(np.maximum(variance, 0))


def climatology(
    series: Series, first_target: int, horizon: int, before: Moments | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and spread (standard deviation), each (horizon, C, H, W), of the steps first_target, +1, ...

    Causal: of the same season in the steps before first_target, over observed pixels. A pixel that was not observed in
    that season takes the mean of all its earlier steps; a spread of fewer than two years is that of all earlier steps.
    before : the moments of all earlier steps, if they are known.
    """
    mean, spread = np.empty((2, horizon, *series.values.shape[1:]), np.float32)
    all_mean, all_spread = (before or Moments(series, range(first_target))).mean_and_spread()
    for lead in range(horizon):
        every = series.steps_per_year
        season = Moments(series, range((first_target + lead) % every, first_target, every))
        season_mean, season_spread = season.mean_and_spread()
        mean[lead] = np.where(season.count > 0, season_mean, all_mean)
        spread[lead] = np.where(season.count > 1, season_spread, all_spread)
    return mean, spread
