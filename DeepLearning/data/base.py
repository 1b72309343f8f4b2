"""The base of every forecast: climatology of a glacier's steps, from the past that each window may look at."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from datetime import date

import numpy as np

from glacier import distribution
from glacier.blocks import blocks
from glacier.climatology import Climatology, without_year

KEPT_BYTES = 1_000_000_000  # of what is kept for the next patch, all glaciers of a run together
ROWS, WIDE = 64, 1024  # rows of a scene worked on at once, fewer where it has more columns
EVERYTHING = slice(None)


def rows_at_once(width: int) -> int:
    """Return how many rows of a scene with so many columns are worked on at once: F has some 30 thresholds."""
    return max(1, min(ROWS, ROWS * WIDE // width))


def bands(height: int, width: int) -> Iterator[slice]:
    """Yield slices of as many rows as are worked on at once, that cover a scene."""
    return blocks(height, rows_at_once(width))


class Memory:
    """What a glacier may keep: arrays by key, the latest used up to `limit` bytes, and what stays for good."""

    def __init__(self, limit: int = KEPT_BYTES):
        self.limit = limit
        self.size = 0
        self.arrays: OrderedDict[tuple, np.ndarray] = OrderedDict()

    def reserve(self, size: int) -> bool:
        """Take room for what stays for good, from what is left for arrays; False where it is more than half of it."""
        if size > self.limit / 2:
            return False
        self.limit -= size
        return True

    def get(self, key: tuple) -> np.ndarray | None:
        """Return the array of a key, None if it is not kept."""
        if key in self.arrays:
            self.arrays.move_to_end(key)
        return self.arrays.get(key)

    def keep(self, key: tuple, array: np.ndarray) -> None:
        """Keep an array; the longest unused go."""
        self.arrays[key] = array
        self.size += array.nbytes
        while self.size > self.limit:
            _, oldest = self.arrays.popitem(last=False)
            self.size -= oldest.nbytes


class Base:
    """Climatology of a glacier's steps: of training steps for training, causal for everything else.

    Training windows read it leave-one-year-out: from all training steps but those within half a year of the target. A
    causal one would rest on one or two years in the first windows, and networks would learn to mend what is gone by
    the test. Validation, test and forecast read it from the steps before the first target.

    frame : (C, H, W). days : the middle of each step, and of steps after the last. training_steps : how many of the
    first steps training reads. floor : value below which frames are 0.
    """

    def __init__(
        self,
        climatology: Climatology,
        frame: tuple[int, ...],
        days: Sequence[date],
        training_steps: int,
        floor: float | None,
        memory: Memory,
    ):
        self.climatology = climatology
        self.days = days
        self.floor = floor
        self.memory = memory
        self.ordinals = np.array([day.toordinal() for day in days])
        self.training_steps = training_steps
        self.frame = frame
        self.whole = 4 * len(climatology.x) * math.prod(frame)  # bytes of one F of the scene

    def past(self, step: int, before: int | None) -> np.ndarray:
        """Return the steps from which the climatology of a step follows.

        before : the first target of its window; None: leave-one-year-out over the training steps.
        """
        if before is not None:
            return np.arange(before)
        return without_year(self.ordinals[: self.training_steps], self.days[step])

    def distribution(
        self,
        step: int,
        before: int | None,
        rows: slice = EVERYTHING,
        columns: slice = EVERYTHING,
        keep: bool = True,
    ) -> np.ndarray:
        """Return F (K, C, h, w) of a step, of some rows and columns; before : as in `past`.

        keep : where memory allows, F of the whole scene is worked out and kept for the next patch.
        """
        key = (id(self), step, before)
        function = self.memory.get(key)
        if function is not None:
            return function[..., rows, columns]
        past = self.past(step, before)
        day = self.days[step]
        if keep and self.worth_keeping():
            function = self.climatology.distribution(day, past, EVERYTHING, EVERYTHING)
            self.memory.keep(key, function)
            return function[..., rows, columns]
        return self.climatology.distribution(day, past, rows, columns)

    def worth_keeping(self) -> bool:
        """Return whether F of all training steps may be kept at once; else patches are worked out one by one."""
        return self.whole * self.training_steps <= self.memory.limit

    def mean(
        self, step: int, before: int | None, rows: slice = EVERYTHING, columns: slice = EVERYTHING
    ) -> np.ndarray:
        """Return the mean (C, h, w) of a step's F, clipped, float32; NaN for a step without a past.

        before : the step itself for a causal one, None for leave-one-year-out. Where memory allows, the mean of the
        whole scene is kept for the next patch.
        """
        key = (id(self), step, before, "mean")
        mean = self.memory.get(key)
        if mean is not None:
            return mean[:, rows, columns]
        if not self.worth_keeping_means():
            return self._mean_of(step, before, rows, columns)
        height, width = self.frame[1:]
        means = [self._mean_of(step, before, band, EVERYTHING) for band in bands(height, width)]
        mean = np.concatenate(means, axis=1)
        self.memory.keep(key, mean)
        return mean[:, rows, columns]

    def worth_keeping_means(self) -> bool:
        """Return whether the means of all steps, causal and not, fit beside the distribution functions."""
        return 2 * len(self.days) * 4 * math.prod(self.frame) <= self.memory.limit / 2

    def _mean_of(self, step: int, before: int | None, rows: slice, columns: slice) -> np.ndarray:
        """Return the mean (C, h, w) of a step's F over some rows and columns, worked out now."""
        past = self.past(step, before)
        channels, height, width = self.frame
        if not len(past):
            shape = (len(range(height)[rows]), len(range(width)[columns]))
            return np.full((channels, *shape), np.nan, np.float32)
        function = self.climatology.distribution(self.days[step], past, rows, columns)
        return distribution.mean(function, self.climatology.x, self.floor)
