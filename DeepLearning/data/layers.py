"""The layers of a context: one row each. A further one is a further row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from DeepLearning.data.glacier import Glacier, Origin


@dataclass(frozen=True)
class Layer:
    """One thing a forecaster may know besides the inputs.

    steps : "inputs" or "targets", made for each of them, or "ground", made once a glacier.
    channels : of one step, as text. make(glacier, origin, step, rows, columns) : one step's array (..., h, w); for the
    ground make(glacier), of the whole scene (C, H, W).
    """

    name: str
    steps: str
    channels: str
    make: Callable[..., np.ndarray]


def climatology(glacier: Glacier, origin: Origin, step: int, rows: slice, columns: slice):
    """Return F (K, C, h, w) of a target step."""
    before = None if origin.trains else origin.target
    return glacier.base.distribution(step, before, rows, columns)


def input_mean(glacier: Glacier, origin: Origin, step: int, rows: slice, columns: slice):
    """Return the mean (C, h, w) of an input step's climatology, from the steps before it in a causal window."""
    before = None if origin.trains else step
    return glacier.base.mean(step, before)[:, rows, columns]


def year_ago(glacier: Glacier, origin: Origin, step: int, rows: slice, columns: slice):
    """Return the latest value (C, h, w) of a target's season before the first target; NaN where there is none."""
    series = glacier.series
    every = series.steps_per_year
    earlier = step - every * ((step - origin.target) // every + 1)
    if earlier < 0:
        shape = series.values[0, :, rows, columns].shape
        return np.full(shape, np.nan, np.float32)
    return series.values[earlier, :, rows, columns]


LAYERS = (
    Layer("climatology", "targets", "thresholds, channels", climatology),
    Layer("input_mean", "inputs", "channels", input_mean),
    Layer("year_ago", "targets", "channels", year_ago),
)
