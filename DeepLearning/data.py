"""What a network sees: the patches of stage 3, and for each what a forecaster may know besides the inputs.

All patches of a glacier are one strided view of its series: a batch copies its own patches and nothing else.
"""

from __future__ import annotations

import dataclasses
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from config import Config, GlacierError
from glacier.climatology import Moments, climatology
from glacier.patches.cutting import blend
from glacier.patches.windows import read_patches, read_series
from glacier.seasons import step_date, year_step
from glacier.storage import runner

IN_MEMORY = 2_000_000_000  # bytes of context up to which it is kept in memory, which is quicker to read


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
    """

    def __init__(self, cfg: Config):
        self.name = cfg.name
        self.hash = runner.need(cfg, "patches")
        self.series = read_series(cfg)
        self.patches = read_patches(cfg)
        self.sequence_length, self.horizon = cfg.sequenceLength, cfg.horizon
        self.patch_size, self.stride = cfg.patchSize, cfg.stride
        self._known: dict[int, tuple[Tensor, Tensor]] = {}
        self._input_means: dict[int, np.ndarray] = {}
        self._moments: Moments | None = None
        self._folder = cfg.folder / "patches"

    @property
    def channels(self) -> int:
        return self.series.values.shape[1]

    def date(self, step: int) -> date:
        """Return the first day of a step of the series, or of one after its end."""
        if step < len(self.series.dates):
            return date.fromisoformat(self.series.dates[step][:10])
        every = self.series.steps_per_year
        last = year_step(self.date(len(self.series.dates) - 1), every)
        return step_date(last + step - len(self.series.dates) + 1, every)

    def windows(self, part: str) -> list[int]:
        """Return the windows of a part of the split: train, validation or test."""
        return [number for number, window in enumerate(self.patches.windows) if window.part == part]

    def training_steps(self) -> int:
        """Return how many steps of the series, from the first on, training reads."""
        return self.patches.windows[self.windows("train")[-1]].start + self.sequence_length + self.horizon

    # ── Whole scenes; `first` is the step of a window's first input ──────────────────────────────────────────────

    def scene_inputs(self, first: int) -> Tensor:
        """Return the inputs (1, T, C, H, W) of a window."""
        return torch.from_numpy(self.series.values[first : first + self.sequence_length])[None]

    def scene_context(self, first: int) -> Context:
        """Return the context of a window, B = 1."""
        times, layers = self.known(first)
        return self.as_context(times[None], layers[None])

    def known(self, first: int) -> tuple[Tensor, Tensor]:
        """Return all that a window's context holds, kept for the next call: dates (T + horizon,), and layers.

        layers : (T + 3 horizon, C, H, W), the climatology of the inputs, mean and spread of the targets, the year ago.
        """
        if first not in self._known:
            target, end = first + self.sequence_length, first + self.sequence_length + self.horizon
            times = torch.tensor([as_year(self.date(step)) for step in range(first, end)], dtype=torch.float64)
            inputs = np.stack([self._input_mean(step) for step in range(first, target)])
            mean, spread = climatology(self.series, target, self.horizon, self._before(target))
            layers = self._layers[first]
            np.concatenate([inputs, mean, spread, self._year_ago(target)], out=layers)
            self._known[first] = times, torch.from_numpy(layers)
        return self._known[first]

    @cached_property
    def _layers(self) -> np.ndarray:
        """Where `known` keeps its layers, (windows, T + 3 horizon, C, H, W): in memory or in a nameless file.

        Together they are several times as large as the series; what lies in a file may leave the memory.
        """
        windows = len(self.series.values) - self.sequence_length + 1
        shape = (windows, self.sequence_length + 3 * self.horizon, *self.series.values.shape[1:])
        if 4 * math.prod(shape) <= IN_MEMORY:
            return np.empty(shape, np.float32)
        with tempfile.TemporaryFile(dir=self._folder) as file:
            try:  # now: a disk that fills later would end the process without a word
                os.posix_fallocate(file.fileno(), 0, 4 * math.prod(shape))
            except AttributeError:  # not on macOS
                pass
            except OSError as error:
                raise GlacierError(f"no room for {4e-9 * math.prod(shape):.0f} GB of climatology in {self._folder} "
                                   f"({error}); free some, or set GLACIER_HOME to another disk") from error
            return np.memmap(file, np.float32, "w+", shape=shape).view(np.ndarray)

    @cached_property
    def views(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All patches as views (first step, rows, columns, ..., size, size): frames, observed, layers as in `known`."""
        series, size, length = self.series, self.patch_size, self.sequence_length + self.horizon
        frames = sliding_window_view(series.values, (length, size, size), axis=(0, 2, 3)).transpose(0, 2, 3, 4, 1, 5, 6)
        observed = sliding_window_view(series.observed, (length, size, size))
        layers = sliding_window_view(self._layers, (size, size), axis=(3, 4)).transpose(0, 3, 4, 1, 2, 5, 6)
        return tuple(view[:, :: self.stride, :: self.stride] for view in (frames, observed, layers))

    def gather(self, windows: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> list[Tensor]:
        """Return of each sample: dates, inputs and targets together, layers as in `known`, observed targets."""
        starts = [self.patches.windows[window].start for window in windows]
        times = torch.stack([self.known(start)[0] for start in starts])
        frames, observed, layers = self.views
        parts = (frames[starts, rows, columns], layers[starts, rows, columns],
                 observed[:, :, :, self.sequence_length :, None][starts, rows, columns])
        return [times, *map(torch.from_numpy, parts)]

    def as_context(self, times: Tensor, layers: Tensor) -> Context:
        """Return dates (B, T + horizon) and layers (B, T + 3 horizon, C, h, w), as in `known`, as a context."""
        length, horizon = self.sequence_length, self.horizon
        return Context(times[:, :length], times[:, length:], *layers.split([length, horizon, horizon, horizon], dim=1))

    def _input_mean(self, step: int) -> np.ndarray:
        """Return the climatology (C, H, W) of a step, from the steps before it; NaN for the first step."""
        if step not in self._input_means:
            nothing = np.full(self.series.values.shape[1:], np.nan, np.float32)
            known = climatology(self.series, step, 1, self._before(step))[0][0] if step else nothing
            self._input_means[step] = known
        return self._input_means[step]

    def _before(self, step: int) -> Moments:
        """Return the moments of all steps before one: quick when asked in the order of time."""
        if self._moments is None or self._moments.steps > step:
            self._moments = Moments(self.series)
        while self._moments.steps < step:
            self._moments.add(self._moments.steps)
        return self._moments

    def _year_ago(self, first_target: int) -> np.ndarray:
        """Return for each target the latest earlier step of its season that lies before the first target."""
        frames, every = [], self.series.steps_per_year
        for step in range(first_target, first_target + self.horizon):
            back = step - every * ((step - first_target) // every + 1)
            frames.append(self.series.values[back] if back >= 0 else np.full(self.series.values.shape[1:], np.nan))
        return np.stack(frames).astype(np.float32)

    @torch.no_grad()
    def forecast_scene(self, network: torch.nn.Module, first: int, device: torch.device, size: int = 64) -> Tensor:
        """Return a network's forecast (1, horizon, C, H, W), blended from half-overlapping patches."""
        inputs, side = self.scene_inputs(first), self.patch_size
        times, layers = self.known(first)
        places = [(top, left) for top in covering(inputs.shape[-2], side) for left in covering(inputs.shape[-1], side)]

        def answers():
            for start in range(0, len(places), size):
                group = places[start : start + size]
                crops = [crop(*place, side) for place in group]
                context = self.as_context(times.expand(len(crops), -1), torch.stack([layers[here] for here in crops]))
                made = network(torch.cat([inputs[here] for here in crops]).to(device), context.to(device))
                yield from zip(group, made.float().cpu(), strict=True)

        return blend(answers(), inputs.shape[-2:])[None]


class Glaciers:
    """The glaciers of one training. A sample is (glacier, window, row, column), a row of an integer array (N, 4)."""

    def __init__(self, glaciers: list[Glacier]):
        self.glaciers = glaciers
        first = glaciers[0]
        for other in glaciers[1:]:
            if other.channels != first.channels:
                raise GlacierError(
                    f"{other.name} has {other.channels} channels, {first.name} {first.channels}; "
                    "set extractNDSI alike in both glacier.yaml"
                )

    @property
    def channels(self) -> int:
        return self.glaciers[0].channels

    @property
    def hashes(self) -> dict[str, str]:
        """Manifest hash of each glacier's patches, by name."""
        return {glacier.name: glacier.hash for glacier in self.glaciers}

    def limits(self) -> Tensor:
        """Return the lowest and the highest value of all training steps."""
        values = [glacier.series.values[: glacier.training_steps()] for glacier in self.glaciers]
        return torch.tensor([min(map(np.nanmin, values)), max(map(np.nanmax, values))])

    def training_years(self) -> float:
        """Return over how many years the longest training series runs."""
        return max(glacier.training_steps() / glacier.series.steps_per_year for glacier in self.glaciers)

    def samples(self, part: str | None, covering: bool = False) -> np.ndarray:
        """Return the samples of a part of the split (None: of all windows), none that touches a kept-out block.

        covering : thinned to patches side by side, so that each pixel counts about once instead of
        (patchSize / stride)^2 times.
        """
        found = []
        for number, glacier in enumerate(self.glaciers):
            places = np.argwhere(glacier.patches.patch_parts == "train")
            if covering:
                every = max(1, glacier.patch_size // glacier.stride)
                places = places[(places % every == 0).all(axis=1)]
            windows = range(len(glacier.patches.windows)) if part is None else glacier.windows(part)
            for window in windows:
                glacier.known(glacier.patches.windows[window].start)  # in the order of time, which is quick
                found += [(number, window, row, column) for row, column in places]
        return np.array(found, dtype=int).reshape(-1, 4)

    def draw(self, samples: np.ndarray, count: int, seed: int, epoch: int) -> np.ndarray:
        """Return at most `count` samples, as many of each glacier, without replacement; alike for seed and epoch."""
        random, drawn = np.random.default_rng([seed, epoch]), []
        for number in range(len(self.glaciers)):
            own = samples[samples[:, 0] == number]
            drawn.append(own[random.permutation(len(own))[: -(-count // len(self.glaciers))]])
        fewest = min(map(len, drawn))
        together = np.concatenate([part[:fewest] for part in drawn])
        return together[random.permutation(len(together))][:count]

    def batch(self, samples: np.ndarray, turns: Sequence[int] | None = None) -> Batch:
        """Return samples as one batch. turns : a number 0..7 a sample, by which it is flipped and turned."""
        of_glacier = [samples[:, 0] == number for number in np.unique(samples[:, 0])]
        pieces = [self.glaciers[samples[chosen, 0][0]].gather(*samples[chosen, 1:].T) for chosen in of_glacier]
        if len(pieces) > 1:
            back = np.argsort(np.concatenate([chosen.nonzero()[0] for chosen in of_glacier]))
            pieces = [[torch.cat(parts)[back] for parts in zip(*pieces, strict=True)]]
        times, *images = pieces[0]
        if turns is not None:
            images = [torch.stack([turned(*pair) for pair in zip(image, turns, strict=True)]) for image in images]
        frames, layers, observed = images
        length, context = self.glaciers[0].sequence_length, self.glaciers[0].as_context(times, layers)
        return Batch(frames[:, :length], context, frames[:, length:], observed)

    def batches(self, samples: np.ndarray, size: int) -> Iterator[Batch]:
        """Yield the samples as batches, in order."""
        for start in range(0, len(samples), size):
            yield self.batch(samples[start : start + size])


def crop(top: int, left: int, side: int) -> tuple:
    """Return the index of a square patch in (..., H, W)."""
    return (..., slice(top, top + side), slice(left, left + side))


def turned(image: Tensor, turn: int) -> Tensor:
    """Return (..., h, w), h = w, in one of its eight attitudes: `turn` % 4 quarter turns, mirrored from 4 on."""
    image = torch.rot90(image, turn % 4, (-2, -1))
    return image.flip(-1) if turn >= 4 else image


def covering(length: int, side: int) -> list[int]:
    """Return where patches start that cover 0..length, overlapping by half, the last one flush with the end."""
    return [*range(0, length - side, max(1, side // 2)), length - side]
