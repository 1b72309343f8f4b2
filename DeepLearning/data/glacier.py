"""A glacier's series and patches, and the context of every window.

All patches of a glacier are one strided view of its series: a batch copies its own patches and nothing else.
"""

from __future__ import annotations

import math
import os
import tempfile
from datetime import date
from functools import cached_property

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from config import Config, GlacierError
from DeepLearning.data.context import Context, as_year
from glacier.climatology import Moments, climatology
from glacier.patches.cutting import blend
from glacier.patches.windows import STAGE, read_patches, read_series
from glacier.seasons import step_date, year_step
from glacier.storage import runner

# bytes of context up to which it is kept in memory, which is quicker to read
IN_MEMORY = 2_000_000_000


class Glacier:
    """A glacier's series and patches, with the context of every window.

    hash : of the patches' manifest. series, patches : as read by createPatches.
    """

    def __init__(self, cfg: Config):
        self.name = cfg.name
        self.hash = runner.need(cfg, STAGE)
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
        return (
            self.patches.windows[self.windows("train")[-1]].start
            + self.sequence_length
            + self.horizon
        )

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
            times = torch.tensor(
                [as_year(self.date(step)) for step in range(first, end)], dtype=torch.float64
            )
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
                raise GlacierError(
                    f"no room for {4e-9 * math.prod(shape):.0f} GB of climatology in {self._folder} "
                    f"({error}); free some, or set GLACIER_HOME to another disk"
                ) from error
            return np.memmap(file, np.float32, "w+", shape=shape).view(np.ndarray)

    @cached_property
    def views(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All patches as views (first step, rows, columns, ..., size, size): frames, observed, layers as in `known`."""
        series, size, length = self.series, self.patch_size, self.sequence_length + self.horizon
        frames = sliding_window_view(series.values, (length, size, size), axis=(0, 2, 3)).transpose(
            0, 2, 3, 4, 1, 5, 6
        )
        observed = sliding_window_view(series.observed, (length, size, size))
        layers = sliding_window_view(self._layers, (size, size), axis=(3, 4)).transpose(
            0, 3, 4, 1, 2, 5, 6
        )
        return tuple(view[:, :: self.stride, :: self.stride] for view in (frames, observed, layers))

    def gather(self, windows: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> list[Tensor]:
        """Return of each sample: dates, inputs and targets together, layers as in `known`, observed targets."""
        starts = [self.patches.windows[window].start for window in windows]
        times = torch.stack([self.known(start)[0] for start in starts])
        frames, observed, layers = self.views
        parts = (
            frames[starts, rows, columns],
            layers[starts, rows, columns],
            observed[:, :, :, self.sequence_length :, None][starts, rows, columns],
        )
        return [times, *map(torch.from_numpy, parts)]

    def as_context(self, times: Tensor, layers: Tensor) -> Context:
        """Return dates (B, T + horizon) and layers (B, T + 3 horizon, C, h, w), as in `known`, as a context."""
        length, horizon = self.sequence_length, self.horizon
        return Context(
            times[:, :length],
            times[:, length:],
            *layers.split([length, horizon, horizon, horizon], dim=1),
        )

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
            frames.append(
                self.series.values[back]
                if back >= 0
                else np.full(self.series.values.shape[1:], np.nan)
            )
        return np.stack(frames).astype(np.float32)

    @torch.no_grad()
    def forecast_scene(
        self, network: torch.nn.Module, first: int, device: torch.device, size: int = 64
    ) -> Tensor:
        """Return a network's forecast (1, horizon, C, H, W), blended from half-overlapping patches."""
        inputs, side = self.scene_inputs(first), self.patch_size
        times, layers = self.known(first)
        places = [
            (top, left)
            for top in covering(inputs.shape[-2], side)
            for left in covering(inputs.shape[-1], side)
        ]

        def answers():
            for start in range(0, len(places), size):
                group = places[start : start + size]
                crops = [crop(*place, side) for place in group]
                context = self.as_context(
                    times.expand(len(crops), -1), torch.stack([layers[here] for here in crops])
                )
                made = network(
                    torch.cat([inputs[here] for here in crops]).to(device), context.to(device)
                )
                yield from zip(group, made.float().cpu(), strict=True)

        return blend(answers(), inputs.shape[-2:])[None]


def crop(top: int, left: int, side: int) -> tuple:
    """Return the index of a square patch in (..., H, W)."""
    return (..., slice(top, top + side), slice(left, left + side))


def covering(length: int, side: int) -> list[int]:
    """Return where patches start that cover 0..length, overlapping by half, the last one flush with the end."""
    return [*range(0, length - side, max(1, side // 2)), length - side]
