"""The glaciers of a training, and samples of them as batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from config import GlacierError
from DeepLearning.data.context import Context
from DeepLearning.data.glacier import Glacier, stack_layers


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
        return Batch(
            self.inputs.to(device),
            self.context.to(device),
            self.targets.to(device),
            self.observed.to(device),
        )


class Glaciers:
    """The glaciers of one training. A sample is (glacier, window, row, column), a row of an integer array (N, 4)."""

    def __init__(self, glaciers: list[Glacier]):
        self.glaciers = glaciers
        first = glaciers[0]
        for glacier in glaciers[1:]:
            if glacier.channels != first.channels:
                raise GlacierError(
                    f"{glacier.name} has {glacier.channels} channels, {first.name} {first.channels}; "
                    "set extractNDSI alike in both glacier.yaml"
                )
            if glacier.floor != first.floor:
                raise GlacierError(
                    f"{glacier.name} has snowThreshold {glacier.floor}, {first.name} {first.floor}; "
                    "set it alike in both glacier.yaml"
                )

    @property
    def channels(self) -> int:
        return self.glaciers[0].channels

    @property
    def hashes(self) -> dict[str, str]:
        """Manifest hash of each glacier's patches, by name."""
        return {glacier.name: glacier.hash for glacier in self.glaciers}

    def training_years(self) -> float:
        """Return over how many years the longest training series runs."""
        return max(
            glacier.training_steps() / glacier.series.steps_per_year for glacier in self.glaciers
        )

    def samples(self, part: str | None, covering: bool = False) -> np.ndarray:
        """Return the samples of a part of the split (None: of all windows), none that touches a kept-out block.

        covering : as in `samples_of`.
        """
        samples = []
        for number, glacier in enumerate(self.glaciers):
            count = len(glacier.patches.windows)
            if part is None:
                windows = range(count)
            else:
                windows = glacier.windows(part)
            samples.append(self.samples_of(number, windows, covering))
        if len(samples) == 1:
            return samples[0]
        return np.concatenate(samples)

    def samples_of(self, number: int, windows: Sequence[int], covering: bool) -> np.ndarray:
        """Return the samples of some windows of a glacier, none that touches its kept-out block.

        covering : thinned to patches side by side, so that each pixel counts about once instead of
        (patchSize / stride)^2 times.
        """
        glacier = self.glaciers[number]
        places = np.argwhere(glacier.patches.patch_parts == "train").astype(np.int32)  # (N, 2)
        if covering:
            every = max(1, glacier.patch_size // glacier.stride)
            places = places[(places % every == 0).all(axis=1)]
        samples = []
        for window in windows:
            heads = np.broadcast_to([number, window], (len(places), 2))
            samples.append(np.concatenate([heads, places], axis=1))
        if samples:
            return np.concatenate(samples)
        return np.empty((0, 4), int)

    def draw(self, samples: np.ndarray, count: int, seed: int, epoch: int) -> np.ndarray:
        """Return at most `count` samples, as many of each glacier, without replacement; alike for seed and epoch."""
        random = np.random.default_rng([seed, epoch])
        share = -(-count // len(self.glaciers))
        drawn = []
        for number in range(len(self.glaciers)):
            of_glacier = samples
            if len(self.glaciers) > 1:
                of_glacier = samples[samples[:, 0] == number]
            order = random.permutation(len(of_glacier))
            drawn.append(of_glacier[order[:share]])
        fewest = min(map(len, drawn))
        together = np.concatenate([part[:fewest] for part in drawn])
        order = random.permutation(len(together))
        return together[order[:count]]

    def batch(self, samples: np.ndarray, turns: Sequence[int] | None = None) -> Batch:
        """Return samples as one batch. turns : a number 0..7 a sample, by which it is flipped and turned."""
        pieces = []
        for number, *place in samples:
            pieces.append(self.glaciers[number].sample(*place))
        if turns is not None:
            for piece, turn in zip(pieces, turns, strict=True):
                turn_piece(piece, turn)
        parts = stack_layers(pieces)
        inputs = parts.pop("inputs")
        targets = parts.pop("targets")
        observed = parts.pop("observed")
        times = parts.pop("times")
        context = self.glaciers[0].as_context(times, parts)
        return Batch(inputs, context, targets, observed)

    def batches(self, samples: np.ndarray, size: int) -> Iterator[Batch]:
        """Yield the samples as batches, in order."""
        for start in range(0, len(samples), size):
            yield self.batch(samples[start : start + size])


def turn_piece(piece: dict[str, Tensor], turn: int) -> None:
    """Turn all images of a sample alike, in place; its dates stay."""
    for name, image in piece.items():
        if name != "times":
            piece[name] = turned(image, turn)


def turned(image: Tensor, turn: int) -> Tensor:
    """Return (..., h, w), h = w, in one of its eight attitudes: `turn` % 4 quarter turns, mirrored from 4 on."""
    image = torch.rot90(image, turn % 4, (-2, -1))
    if turn >= 4:
        return image.flip(-1)
    return image
