"""What a forecaster may know besides the inputs, as named layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Place:
    """Where a context was cut. first, target : first input and first target step. rows : of the scene."""

    first: int
    target: int
    rows: slice


@dataclass(frozen=True)
class Context:
    """What a forecaster may know besides the inputs, at the time of the last input. B samples, T input steps.

    input_time (B, T), target_time (B, horizon) : dates as years, 2019.5 being mid 2019.
    layers : by name, as layers.LAYERS has them; of the inputs (B, T, ..., h, w), of the targets (B, horizon, ..., h, w)
    or of the ground (B, C, h, w).
    thresholds : (K,), of the distribution functions. floor : value below which the frames are 0, None where none is.
    place : of whole rows of one glacier; None for patches.
    """

    input_time: Tensor
    target_time: Tensor
    layers: Mapping[str, Tensor]
    thresholds: np.ndarray
    floor: float | None
    place: Place | None = None

    def __getitem__(self, name: str) -> Tensor:
        return self.layers[name]

    @property
    def climatology(self) -> Tensor:
        """Distribution function F of each target, (B, horizon, K, C, h, w), of values not clipped."""
        return self.layers["climatology"]

    @property
    def input_mean(self) -> Tensor:
        """Mean of each input step's climatology, clipped, (B, T, C, h, w); NaN where there is none."""
        return self.layers["input_mean"]

    @property
    def year_ago(self) -> Tensor:
        """The last value of the same season before the targets, (B, horizon, C, h, w); NaN where there is none."""
        return self.layers["year_ago"]

    @property
    def shift(self) -> Tensor:
        """The region's expected departure at each target, (B, horizon, C, 1, 1) in log-odds, see Region."""
        return self.layers["shift"]

    @property
    def input_season(self) -> Tensor:
        """Place in the year of the inputs, (B, T, 2): sine and cosine."""
        return season(self.input_time)

    @property
    def target_season(self) -> Tensor:
        """Place in the year of the targets, (B, horizon, 2): sine and cosine."""
        return season(self.target_time)

    def map(self, function: Callable[[Tensor], Tensor]) -> Context:
        """Return the context with a function applied to each of its layers."""
        layers = {name: function(layer) for name, layer in self.layers.items()}
        return replace(self, layers=layers)

    def to(self, device: torch.device) -> Context:
        """Return the context on a device."""
        layers = {name: layer.to(device) for name, layer in self.layers.items()}
        return replace(
            self,
            input_time=self.input_time.to(device),
            target_time=self.target_time.to(device),
            layers=layers,
        )


def season(time: Tensor) -> Tensor:
    """Return sine and cosine of the place in the year, (..., 2) float32, of dates as years."""
    angle = 2 * math.pi * (time % 1)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).float()


def as_year(day: date) -> float:
    """Return a date as a year with decimals: 2 July 2019 is 2019.5."""
    first = date(day.year, 1, 1)
    after = date(day.year + 1, 1, 1)
    return day.year + (day - first) / (after - first)
