"""A glacier's series and patches, and what may be known at each window.

Patches are read from the tensors of patches/, memory-mapped: a batch copies its own and nothing else. Climatology is
worked out for the patches or bands of rows that are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from config import Config, GlacierError
from DeepLearning.data.adjustment import adjust
from DeepLearning.data.base import Base, Memory, rows_at_once
from DeepLearning.data.context import Context, Place, as_year
from DeepLearning.data.layers import ALWAYS, LAYERS, Layer
from DeepLearning.data.region import Region
from glacier import distribution
from glacier.aligned import read_seen
from glacier.blocks import blocks
from glacier.climatology import Climatology
from glacier.elevation import read_elevation
from glacier.patches.cutting import blend
from glacier.patches.windows import STAGE, is_index, read_patches, read_series
from glacier.seasons import step_date, year_step
from glacier.storage import runner

NETWORK_PATCHES = 64  # given to a network at once
EVERYTHING = slice(None)


@dataclass(frozen=True)
class Origin:
    """Where a window stands. first, target : its first input and first target step. trains : it is a training window,
    whose climatology is that of the other training years, not of the past."""

    first: int
    target: int
    trains: bool


class Glacier:
    """A glacier's series and patches, with the context of every window.

    hash : of the patches' manifest. series, patches : as read by createPatches. floor : value below which the patches
    are 0. thresholds : (K,), of the distribution functions; `coarse`: the few that training needs. whole : climatology
    looks at the kept-out block too, as a forecast may. further : names of layers that patches have beside those that
    are always there.
    """

    def __init__(
        self,
        cfg: Config,
        coarse: bool = False,
        memory: Memory | None = None,
        whole: bool = False,
        further: Sequence[str] = (),
    ):
        self.cfg = cfg
        self.name = cfg.name
        self.further = tuple(further)
        self.whole = whole
        self.hash = runner.need(cfg, STAGE)
        self.series = read_series(cfg)
        self.patches = read_patches(cfg)
        self.sequence_length = cfg.sequenceLength
        self.horizon = cfg.horizon
        self.patch_size = cfg.patchSize
        self.stride = cfg.stride
        index = is_index(self.series.channels)
        self.floor = cfg.snowThreshold if index else None
        self.thresholds = distribution.thresholds(index)
        if coarse:
            self.thresholds = training_thresholds(self.thresholds, self.floor)
        self.memory = memory or Memory()
        self._ground: dict[str, np.ndarray] = {}

    @property
    def x(self) -> np.ndarray:
        """The thresholds (K,) of the distribution functions."""
        return self.thresholds

    @property
    def channels(self) -> int:
        return self.series.values.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the scene [px]."""
        return self.series.values.shape[-2:]

    # ── Steps and windows ────────────────────────────────────────────────────────────────────────────────────────

    def date(self, step: int) -> date:
        """Return the first day of a step of the series, or of one after its end."""
        if step < len(self.series.dates):
            return date.fromisoformat(self.series.dates[step][:10])
        every = self.series.steps_per_year
        last = year_step(self.date(len(self.series.dates) - 1), every)
        return step_date(last + step - len(self.series.dates) + 1, every)

    def middle(self, step: int) -> date:
        """Return the day in the middle of a step."""
        first = self.date(step)
        after = self.date(step + 1)
        return first + (after - first) / 2

    def windows(self, part: str) -> list[int]:
        """Return the windows of a part of the split: train, validation, test or gap."""
        return [number for number, window in enumerate(self.patches.windows) if window.part == part]

    def training_steps(self) -> int:
        """Return how many steps of the series, from the first on, training reads."""
        last = self.patches.windows[self.windows("train")[-1]]
        return last.start + self.sequence_length + self.horizon

    def origin(self, first: int, trains: bool = False) -> Origin:
        """Return where the window with this first step stands."""
        return Origin(first, first + self.sequence_length, trains)

    # ── What is known ────────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def base(self) -> Base:
        """The climatology of every step, from the past that a window may look at.

        The kept-out block takes no part, that it can be scored; in a forecast it does.
        """
        kept_out = np.zeros(self.shape, bool)
        if self.patches.split.block and not self.whole:
            top, bottom, left, right = self.patches.split.block
            kept_out[top:bottom, left:right] = True
        steps = len(self.series.dates)
        days = [self.middle(step) for step in range(steps + self.horizon)]
        values = self.series.unclipped
        climatology = Climatology(
            values,
            self.series.observed,
            days[:steps],
            self.thresholds,
            kept_out,
            keep_bins=self.memory.reserve(values.size),
        )
        frame = self.series.values.shape[1:]
        return Base(climatology, frame, days, self.training_steps(), self.floor, self.memory)

    @cached_property
    def region(self) -> Region:
        """How the scene as a whole departs from climatology."""
        return Region(self)

    def ground(self, layer: Layer) -> np.ndarray:
        """Return a layer that stays the same, (C, H, W), made once."""
        if layer.name not in self._ground:
            self._ground[layer.name] = layer.make(self)
        return self._ground[layer.name]

    @cached_property
    def scene_counts(self) -> np.ndarray:
        """By how many scenes each pixel was seen in each step, uint16 (T, H, W), memory-mapped."""
        return read_seen(self.cfg)

    @cached_property
    def elevation(self) -> np.ndarray:
        """Elevation of the ground, (H, W) [m]; GlacierError if stage 1 found none."""
        ground = read_elevation(self.cfg)
        if ground is None:
            raise GlacierError(
                f"{self.name} has no elevation, which context names; run dataAPI.py with elevation "
                "set, or leave it out of context"
            )
        return ground

    def times(self, first: int) -> Tensor:
        """Return the dates (T + horizon,) of a window as years, float64."""
        steps = range(first, first + self.sequence_length + self.horizon)
        return torch.tensor([as_year(self.date(step)) for step in steps], dtype=torch.float64)

    def layer(self, layer: Layer, origin: Origin, rows: slice, columns: slice) -> np.ndarray:
        """Return a layer of a window over some rows and columns: (steps, ..., h, w), or (C, h, w) of the ground."""
        if layer.steps == "ground":
            return self.ground(layer)[:, rows, columns]
        start = origin.first
        count = self.sequence_length
        if layer.steps == "targets":
            start = origin.target
            count = self.horizon
        steps = range(start, start + count)
        return np.stack([layer.make(self, origin, step, rows, columns) for step in steps])

    def layers_of(
        self, origin: Origin, rows: slice, columns: slice, further: Sequence[str] = ()
    ) -> dict[str, Tensor]:
        """Return the layers of a window over some rows and columns, by name: those always there, and `further` ones."""
        layers = {}
        for layer in LAYERS:
            if layer.name not in (*ALWAYS, *further):
                continue
            array = np.ascontiguousarray(self.layer(layer, origin, rows, columns))
            layers[layer.name] = torch.from_numpy(array)
        return layers

    def as_context(self, times: Tensor, layers: dict[str, Tensor]) -> Context:
        """Return dates (B, T + horizon) and layers with a first axis B as a context."""
        length = self.sequence_length
        return Context(times[:, :length], times[:, length:], layers, self.thresholds, self.floor)

    # ── Whole scenes; `first` is the step of a window's first input ──────────────────────────────────────────────

    def scene_inputs(self, first: int, rows: slice = EVERYTHING) -> Tensor:
        """Return the inputs (1, T, C, h, W) of a window."""
        frames = self.series.values[first : first + self.sequence_length, :, rows]
        return torch.from_numpy(frames)[None]

    def scene_context(self, first: int, rows: slice = EVERYTHING, trains: bool = False) -> Context:
        """Return the context of a window, B = 1, of some rows. trains : as training reads it, leave-one-year-out."""
        layers = self.layers_of(self.origin(first, trains), rows, EVERYTHING)
        alone = {name: layer[None] for name, layer in layers.items()}
        place = Place(first, first + self.sequence_length, rows)
        return replace(self.as_context(self.times(first)[None], alone), place=place)

    def forecast_scene(
        self, forecaster: Callable, first: int, device: torch.device, trains: bool = False
    ) -> Tensor:
        """Return a forecast F (1, horizon, K, C, H, W), as `forecast_bands`, put together."""
        bands = [band for _, band in self.forecast_bands(forecaster, first, device, trains=trains)]
        return torch.cat(bands, dim=-2)[None]

    @torch.no_grad()
    def forecast_bands(
        self,
        forecaster: Callable,
        first: int,
        device: torch.device,
        rows: int | None = None,
        trains: bool = False,
    ) -> Iterator[tuple[slice, Tensor]]:
        """Yield a forecast band by band, top to bottom: the rows, and F (horizon, K, C, rows, W).

        rows : of a band; None: as many as memory takes easily.
        forecaster : a network, or (inputs, context) -> F. Of a network the two numbers of half-overlapping patches are
        blended over the scene, and applied to climatology band by band.
        """
        numbers = None
        if hasattr(forecaster, "numbers"):
            numbers = self.scene_numbers(forecaster, first, device, trains)
        rows = rows or rows_at_once(self.shape[1])
        for band in blocks(self.shape[0], rows):
            context = self.scene_context(first, band, trains)
            if numbers is None:
                yield band, forecaster(self.scene_inputs(first, band), context)[0]
            else:
                shift, log_stretch = numbers[:, :, :, band].unbind()
                yield band, adjust(context.climatology[0], shift, log_stretch)

    @torch.no_grad()
    def scene_numbers(
        self, network: torch.nn.Module, first: int, device: torch.device, trains: bool = False
    ) -> Tensor:
        """Return a and log b of a network over the scene, (2, horizon, C, H, W), with its factor applied."""
        height, width = self.shape
        side = self.patch_size
        tops = covering(height, side)
        lefts = covering(width, side)
        places = [(top, left) for top in tops for left in lefts]

        def answers():
            for start in range(0, len(places), NETWORK_PATCHES):
                group = places[start : start + NETWORK_PATCHES]
                inputs, context = self.crops(first, group, trains, network.context)
                numbers = network.earned(inputs.to(device), context.to(device))
                both = torch.stack(numbers, dim=1).float().cpu()
                yield from zip(group, both, strict=True)

        return blend(answers(), self.shape)

    def crops(
        self, first: int, places: Sequence[tuple[int, int]], trains: bool, further: Sequence[str]
    ) -> tuple[Tensor, Context]:
        """Return inputs and context of patches of a window, cut at places (top, left). further : layers, by name."""
        origin = self.origin(first, trains)
        side = self.patch_size
        steps = slice(first, first + self.sequence_length)
        inputs = []
        contexts = []
        for top, left in places:
            rows = slice(top, top + side)
            columns = slice(left, left + side)
            frames = self.series.values[steps, :, rows, columns]
            inputs.append(torch.from_numpy(np.asarray(frames)))
            contexts.append(self.layers_of(origin, rows, columns, further))
        layers = stack_layers(contexts)
        times = self.times(first).expand(len(places), -1)
        return torch.stack(inputs), self.as_context(times, layers)

    # ── Patches ──────────────────────────────────────────────────────────────────────────────────────────────────

    def sample(self, number: int, row: int, column: int) -> dict[str, Tensor]:
        """Return one patch of a window, read from the patch tensors: what a batch holds, without its first axis.

        number : of the window. row, column : place of the patch in the window's grid.
        """
        window = self.patches.windows[number]
        origin = self.origin(window.start, window.part == "train")
        top = row * self.stride
        left = column * self.stride
        rows = slice(top, top + self.patch_size)
        columns = slice(left, left + self.patch_size)
        tensors = {
            "inputs": window.inputs[row, column],
            "targets": window.targets[row, column],
            "observed": window.observed[row, column][:, None],
            "times": self.times(window.start),
        }
        return tensors | self.layers_of(origin, rows, columns, self.further)


def stack_layers(pieces: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return dictionaries of tensors with the same names as one, stacked along a new first axis."""
    stacked = {}
    for name in pieces[0]:
        stacked[name] = torch.stack([piece[name] for piece in pieces])
    return stacked


def training_thresholds(thresholds: np.ndarray, floor: float | None) -> np.ndarray:
    """Return every second threshold; of those that values clipped at `floor` do not tell apart only 0 and the floor.

    A loss on half the thresholds takes half the time and pulls the same way.
    """
    every_second = thresholds[1::2]
    if floor is None or floor <= 0:
        return np.array([thresholds[0], *every_second, thresholds[-1]], np.float32)
    above = every_second[every_second > np.float32(floor)]
    return np.array([0.0, floor, *above, thresholds[-1]], np.float32)


def covering(length: int, side: int) -> list[int]:
    """Return where patches start that cover 0..length, overlapping by half, the last one flush with the end."""
    return [*range(0, length - side, max(1, side // 2)), length - side]
