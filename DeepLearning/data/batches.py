"""The glaciers of a training, and samples of them as batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from config import GlacierError
from DeepLearning.data.context import Context
from DeepLearning.data.glacier import Glacier


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
        return max(
            glacier.training_steps() / glacier.series.steps_per_year for glacier in self.glaciers
        )

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
                glacier.known(
                    glacier.patches.windows[window].start
                )  # in the order of time, which is quick
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
        pieces = [
            self.glaciers[samples[chosen, 0][0]].gather(*samples[chosen, 1:].T)
            for chosen in of_glacier
        ]
        if len(pieces) > 1:
            back = np.argsort(np.concatenate([chosen.nonzero()[0] for chosen in of_glacier]))
            pieces = [[torch.cat(parts)[back] for parts in zip(*pieces, strict=True)]]
        times, *images = pieces[0]
        if turns is not None:
            images = [
                torch.stack([turned(*pair) for pair in zip(image, turns, strict=True)])
                for image in images
            ]
        frames, layers, observed = images
        length, context = (
            self.glaciers[0].sequence_length,
            self.glaciers[0].as_context(times, layers),
        )
        return Batch(frames[:, :length], context, frames[:, length:], observed)

    def batches(self, samples: np.ndarray, size: int) -> Iterator[Batch]:
        """Yield the samples as batches, in order."""
        for start in range(0, len(samples), size):
            yield self.batch(samples[start : start + size])


def turned(image: Tensor, turn: int) -> Tensor:
    """Return (..., h, w), h = w, in one of its eight attitudes: `turn` % 4 quarter turns, mirrored from 4 on."""
    image = torch.rot90(image, turn % 4, (-2, -1))
    return image.flip(-1) if turn >= 4 else image
