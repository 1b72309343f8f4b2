"""What a network sees: the patches of stage 3, and for each what a forecaster may know besides the inputs.

Inputs and targets are views into memory-mapped windows: a batch copies its own patches and nothing else.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import torch
from torch import Tensor

import alignment
import createPatches
import store
from config import Config


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


def join(contexts: list[Context]) -> Context:
    """Return the contexts of several samples as one."""
    return Context(
        *(torch.cat([getattr(part, field.name) for part in contexts]) for field in dataclasses.fields(Context))
    )


def season(time: Tensor) -> Tensor:
    """Return sine and cosine of the place in the year, (..., 2) float32, of dates as years."""
    angle = 2 * math.pi * (time % 1)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).float()


def as_year(day: date) -> float:
    """Return a date as a year with decimals: 2 July 2019 is 2019.5."""
    first, after = date(day.year, 1, 1), date(day.year + 1, 1, 1)
    return day.year + (day - first) / (after - first)


@dataclass(frozen=True)
class Batch:
    """Samples for a network: inputs (B, T, C, h, w), context, targets (B, horizon, C, h, w).

    observed : bool (B, horizon, 1, h, w), the target pixels that count.
    """

    inputs: Tensor
    context: Context
    targets: Tensor
    observed: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return Batch(self.inputs.to(device), self.context.to(device), self.targets.to(device), self.observed.to(device))


class Glacier:
    """A glacier's series and patches, with the context of every window.

    hash : of the patches' manifest. series, patches : as read by createPatches.
    A sample is (window, row, column) of the patches.
    """

    def __init__(self, cfg: Config):
        self.hash = store.need(cfg, "patches")
        self.series = createPatches.read_series(cfg)
        self.patches = createPatches.read_patches(cfg)
        self.sequence_length, self.horizon = cfg.sequenceLength, cfg.horizon
        self.patch_size, self.stride = cfg.patchSize, cfg.stride
        self._contexts: dict[int, Context] = {}
        self._input_means: dict[int, Tensor] = {}

    @property
    def channels(self) -> int:
        return self.series.values.shape[1]

    def date(self, step: int) -> date:
        """Return the first day of a step of the series, or of one after its end."""
        if step < len(self.series.dates):
            return date.fromisoformat(self.series.dates[step][:10])
        every = self.series.steps_per_year
        last = alignment.year_step(self.date(len(self.series.dates) - 1), every)
        return alignment.step_date(last + step - len(self.series.dates) + 1, every)

    def scene_inputs(self, first: int) -> Tensor:
        """Return the whole scene's inputs (1, T, C, H, W) of the window whose first input is step `first`."""
        return torch.from_numpy(np.array(self.series.values[first : first + self.sequence_length], dtype=np.float32))[
            None
        ]

    def scene_context(self, first: int) -> Context:
        """Return the whole scene's context, B = 1, of the window whose first input is step `first`."""
        if first not in self._contexts:
            self._contexts[first] = self._make_context(first)
        return self._contexts[first]

    def _make_context(self, first: int) -> Context:
        series, horizon = self.series, self.horizon
        inputs = range(first, first + self.sequence_length)
        first_target = first + self.sequence_length
        targets = range(first_target, first_target + horizon)
        mean, spread = (
            torch.from_numpy(np.asarray(part, dtype=np.float32))
            for part in createPatches.climatology(series, first_target, horizon)
        )
        parts = (
            torch.tensor([as_year(self.date(step)) for step in inputs], dtype=torch.float64),
            torch.tensor([as_year(self.date(step)) for step in targets], dtype=torch.float64),
            torch.stack([self._input_mean(step) for step in inputs]),
            mean,
            spread,
            self._year_ago(targets, first_target),
        )
        return Context(*(part[None] for part in parts))

    def _input_mean(self, step: int) -> Tensor:
        if step not in self._input_means:
            if step == 0:
                mean = np.full(self.series.values.shape[1:], np.nan, np.float32)
            else:
                mean = np.asarray(createPatches.climatology(self.series, step, 1)[0][0], dtype=np.float32)
            self._input_means[step] = torch.from_numpy(mean)
        return self._input_means[step]

    def _year_ago(self, targets: range, first_target: int) -> Tensor:
        """Return for each target the latest earlier step of its season that lies before the first target."""
        frames = []
        for step in targets:
            back = step - self.series.steps_per_year
            while back >= first_target:
                back -= self.series.steps_per_year
            frames.append(self.series.values[back] if back >= 0 else np.full(self.series.values.shape[1:], np.nan))
        return torch.from_numpy(np.stack(frames).astype(np.float32))

    def limits(self) -> Tensor:
        """Return the lowest and the highest value of the training steps."""
        last = self.patches.windows[self.windows("train")[-1]].start + self.sequence_length + self.horizon
        values = self.series.values[:last]
        return torch.tensor([np.nanmin(values), np.nanmax(values)])

    def windows(self, part: str) -> list[int]:
        """Return the windows of a part of the split: train, validation or test."""
        return [number for number, window in enumerate(self.patches.windows) if window.part == part]

    def samples(self, part: str, covering: bool = False) -> np.ndarray:
        """Return the samples (N, 3) of a part of the split, none that touches the kept-out block.

        covering : thinned to patches side by side, so that each pixel counts about once instead of
        (patchSize / stride)^2 times.
        """
        places = np.argwhere(self.patches.patch_parts == "train")
        if covering:
            every = max(1, self.patch_size // self.stride)
            places = places[(places % every == 0).all(axis=1)]
        windows = self.windows(part)
        return np.array([(window, row, column) for window in windows for row, column in places]).reshape(-1, 3)

    def batch(self, samples: np.ndarray) -> Batch:
        """Return the samples (B, 3) as one batch."""
        inputs, targets, observed, contexts = [], [], [], []
        for window, row, column in samples.tolist():
            patches = self.patches.windows[window]
            inputs.append(patches.inputs[row, column])
            targets.append(patches.targets[row, column])
            observed.append(patches.observed[row, column])
            contexts.append(self._patch_context(patches.start, row * self.stride, column * self.stride))
        return Batch(torch.stack(inputs), join(contexts), torch.stack(targets), torch.stack(observed)[:, :, None])

    def _patch_context(self, first: int, top: int, left: int) -> Context:
        side = self.patch_size
        return self.scene_context(first).map(
            lambda part: part[..., top : top + side, left : left + side] if part.dim() == 5 else part
        )

    @torch.no_grad()
    def forecast_scene(self, network: torch.nn.Module, first: int, device: torch.device, size: int = 64) -> Tensor:
        """Return a network's forecast (1, horizon, C, H, W) of the whole scene, from half-overlapping patches.

        first : step of the first input. Overlaps are blended with a cosine window, so patch borders do not show.
        """
        inputs, context, side = self.scene_inputs(first), self.scene_context(first), self.patch_size
        ramp = torch.sin(torch.pi * (torch.arange(side) + 0.5) / side)
        window, total, weight = ramp[:, None] * ramp, torch.zeros_like(context.mean), torch.zeros(inputs.shape[-2:])
        places = [(top, left) for top in covering(inputs.shape[-2], side) for left in covering(inputs.shape[-1], side)]
        for start in range(0, len(places), size):
            crops = [np.s_[..., top : top + side, left : left + side] for top, left in places[start : start + size]]
            here = join(
                [context.map(lambda part, crop=crop: part[crop] if part.dim() == 5 else part) for crop in crops]
            ).to(device)
            answers = network(torch.cat([inputs[crop] for crop in crops]).to(device), here).float().cpu()
            for crop, answer in zip(crops, answers, strict=True):
                total[crop] += answer * window
                weight[crop] += window
        return total / weight

    def batches(self, samples: np.ndarray, size: int) -> Iterator[Batch]:
        """Yield the samples as batches, in order."""
        for start in range(0, len(samples), size):
            yield self.batch(samples[start : start + size])


def covering(length: int, side: int) -> list[int]:
    """Return where patches start that cover 0..length, overlapping by half, the last one flush with the end."""
    return [*range(0, length - side, max(1, side // 2)), length - side]


def epoch_samples(samples: np.ndarray, count: int, seed: int, epoch: int) -> np.ndarray:
    """Return at most `count` samples drawn without replacement; the same for the same seed and epoch."""
    order = np.random.default_rng([seed, epoch]).permutation(len(samples))
    return samples[order[:count]]
