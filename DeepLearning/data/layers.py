"""The layers of a context: one row each. A further one is a further row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from DeepLearning.data.glacier import Glacier, Origin


OLDEST = 2.0  # years, of an observation


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
    return glacier.base.mean(step, before, rows, columns)


def year_ago(glacier: Glacier, origin: Origin, step: int, rows: slice, columns: slice):
    """Return the latest value (C, h, w) of a target's season before the first target; NaN where there is none."""
    series = glacier.series
    every = series.steps_per_year
    earlier = step - every * ((step - origin.target) // every + 1)
    if earlier < 0:
        shape = series.values[0, :, rows, columns].shape
        return np.full(shape, np.nan, np.float32)
    return series.values[earlier, :, rows, columns]


def shift(glacier: Glacier, origin: Origin, step: int, rows: slice, columns: slice):
    """Return the shift of the whole scene (C, 1, 1) that the inputs let expect at a target step, see Region."""
    return glacier.region.expected(origin, step)[:, None, None]


def age(glacier: Glacier, origin: Origin, step: int, rows: slice, columns: slice):
    """Return for how long, up to an input step, the pixels were not seen (1, h, w) [years], OLDEST at most."""
    observed = glacier.series.observed[: step + 1, rows, columns]
    return age_of(observed, glacier.series.steps_per_year)[None]


def age_of(observed: np.ndarray, steps_per_year: int) -> np.ndarray:
    """Return for how long each pixel was not seen, up to the last step, float32 (h, w) [years], OLDEST at most.

    observed : bool (T, h, w).
    """
    since = np.full(observed.shape[1:], OLDEST, np.float32)
    for seen in observed:
        since = np.where(seen, 0, since + 1 / steps_per_year).clip(max=OLDEST)
    return since.astype(np.float32)


def scenes(glacier: Glacier, origin: Origin, step: int, rows: slice, columns: slice):
    """Return by how many scenes of an input step the pixels were seen (1, h, w): log(1 + number)."""
    return np.log1p(glacier.scene_counts[step, rows, columns], dtype=np.float32)[None]


def elevation(glacier: Glacier) -> np.ndarray:
    """Return the elevation of the scene above its mean (1, H, W) [km], 0 where unknown."""
    ground = np.array(glacier.elevation, np.float32)  # [m]
    return np.nan_to_num((ground - np.nanmean(ground)) / 1000)[None]


LAYERS = (
    Layer("climatology", "targets", "thresholds, channels", climatology),
    Layer("input_mean", "inputs", "channels", input_mean),
    Layer("year_ago", "targets", "channels", year_ago),
    Layer("shift", "targets", "channels, of the whole scene", shift),
    # what a network reads only if the setting `context` names it
    Layer("age", "inputs", "1", age),
    Layer("scenes", "inputs", "1", scenes),
    Layer("elevation", "ground", "1", elevation),
)
ALWAYS = ("climatology", "input_mean", "year_ago", "shift")
FURTHER = tuple(layer.name for layer in LAYERS if layer.name not in ALWAYS)
