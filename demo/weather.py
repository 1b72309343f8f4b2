"""The weather of a region: how far the snow line of each of its valleys lies above the usual one, day by day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

MEMORY = 45.0  # days, e-folding time of departures; those of real regions last 30 to 60
REGIONAL = 170.0  # m, spread of what all valleys share
LOCAL = 60.0  # m, of what a valley has alone


@dataclass(frozen=True)
class Weather:
    """How far a valley's snow line lies above the usual one [m], one number a day from `first` on.

    memory : e-folding time [days]. spread : standard deviation over the years [m].
    """

    first: date
    departures: np.ndarray
    memory: float
    spread: float

    def on(self, day: date) -> float:
        """Return the departure of a day [m]."""
        return float(self.departures[(day - self.first).days])

    def outlook(self, known: date, day: date) -> tuple[float, float]:
        """Return mean and standard deviation [m] of a later day's departure for who knows that of the day `known`."""
        memory = np.exp(-(day - known).days / self.memory)
        return memory * self.on(known), self.spread * float(np.sqrt(1 - memory**2))


def fading(rng: np.random.Generator, days: int, spread: float) -> np.ndarray:
    """Return departures of `days` days that fade with MEMORY: an autoregressive process of first order."""
    memory = np.exp(-1 / MEMORY)
    shocks = spread * np.sqrt(1 - memory**2) * rng.standard_normal(days)
    shocks[0] = spread * rng.standard_normal()
    values = np.empty(days)
    last = 0.0
    for day, shock in enumerate(shocks):
        last = memory * last + shock
        values[day] = last
    return values


def valley_weather(years: tuple[int, int], seed: int, valley: int) -> Weather:
    """Return the weather of a valley of a region: equal seeds share the regional part."""
    first = date(years[0], 1, 1)
    last = date(years[1], 12, 31)
    days = (last - first).days + 1
    regional = fading(np.random.default_rng([seed, 3]), days, REGIONAL)
    local = fading(np.random.default_rng([seed, 3, valley]), days, LOCAL)
    return Weather(first, regional + local, MEMORY, float(np.hypot(REGIONAL, LOCAL)))
