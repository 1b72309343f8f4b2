"""What a forecaster may know besides the inputs."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from datetime import date

import torch
from torch import Tensor


@dataclass(frozen=True)
class Context:
    """What a forecaster may know besides the inputs, at the time of the last input. B samples, T input steps.

    input_time (B, T), target_time (B, horizon) : dates as years, 2019.5 being mid 2019.
    input_mean (B, T, C, h, w) : climatology of each input step, from the steps before it; NaN where there is none.
    mean, spread (B, horizon, C, h, w) : climatology of the target steps, from the steps before the first of them.
    year_ago (B, horizon, C, h, w) : the last known value of the same season; NaN where the series has none.
    """

    input_time: Tensor
    target_time: Tensor
    input_mean: Tensor
    mean: Tensor
    spread: Tensor
    year_ago: Tensor

    @property
    def input_season(self) -> Tensor:
        """Place in the year of the inputs, (B, T, 2): sine and cosine."""
        return season(self.input_time)

    @property
    def target_season(self) -> Tensor:
        """Place in the year of the targets, (B, horizon, 2): sine and cosine."""
        return season(self.target_time)

    def map(self, function) -> Context:
        """Return the context with a function applied to each of its tensors."""
        return Context(*(function(getattr(self, field.name)) for field in dataclasses.fields(self)))

    def to(self, device: torch.device) -> Context:
        """Return the context on a device."""
        return self.map(lambda part: part.to(device))


def season(time: Tensor) -> Tensor:
    """Return sine and cosine of the place in the year, (..., 2) float32, of dates as years."""
    angle = 2 * math.pi * (time % 1)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).float()


def as_year(day: date) -> float:
    """Return a date as a year with decimals: 2 July 2019 is 2019.5."""
    first, after = date(day.year, 1, 1), date(day.year + 1, 1, 1)
    return day.year + (day - first) / (after - first)
