"""Convolutional LSTM encoder-decoder.

Shi et al. (2015), "Convolutional LSTM Network", arXiv:1506.04214: an encoder reads the inputs, its states are handed
over to a decoder in reverse order, which keeps them through the lead times and reads the median it has just forecast.
As there, squares of pixels may be folded into channels, which makes it cheaper. Different from it: no peepholes; a
layer's input and state pass one convolution together, at a first step without a state the input alone; climatology and
season are read beside the frames, which are departures from climatology.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from DeepLearning.models.departure import Departure, Surroundings, zero_start
from DeepLearning.models.recurrent import next_state


class ConvLSTMLayer(nn.Module):
    """One ConvLSTM layer: in_channels images to hidden states of the same height and width. kernel : odd side [px]."""

    def __init__(self, in_channels: int, hidden: int, kernel: int):
        super().__init__()
        self.hidden = hidden
        self.from_input = nn.Conv2d(in_channels, 4 * hidden, kernel, padding=kernel // 2)
        self.from_state = nn.Conv2d(hidden, 4 * hidden, kernel, padding=kernel // 2, bias=False)

    def forward(self, frames: Tensor, steps: int, state: tuple[Tensor, Tensor] | None):
        """Return the outputs (steps * B, hidden, h, w) and the last (output, cell).

        frames : (steps * B, in_channels, h, w), one step after the other. state : (output, cell) before, None for 0.
        """
        outputs = []
        both = torch.cat([self.from_input.weight, self.from_state.weight], dim=1)
        for frame in frames.chunk(steps):
            if state is None:
                gates = self.from_input(frame)
            else:
                joined = torch.cat([frame, state[0]], dim=1)
                gates = functional.conv2d(
                    joined, both, self.from_input.bias, padding=self.from_input.padding
                )
            keep, write, show, new = gates.chunk(4, dim=1)
            state = next_state(keep + 1, write, show, new, state)
            outputs.append(state[0])
        return torch.cat(outputs), state


class ConvLSTM(Departure):
    """hidden, decoder : channels of each layer of the encoder and of the decoder. The rest as in Departure.

    fold : side of the squares of pixels that become channels [px].
    decoder : empty for the encoder's in reverse order. A decoder layer starts from the state of the encoder layer it
    mirrors if both have as many channels, else from 0.
    """

    feeds_back = True

    def __init__(
        self,
        *sizes: int,
        hidden: tuple[int, ...] = (16, 16),
        decoder: tuple[int, ...] = (),
        kernel: int = 3,
        fold: int = 1,
        knobs: dict | None = None,
        **named,
    ):
        decoder = tuple(decoder) or tuple(reversed(hidden))
        layers = {"hidden": list(hidden), "decoder": list(decoder), "kernel": kernel, "fold": fold}
        super().__init__(*sizes, knobs=(knobs or {}) | layers, **named)
        self.side = fold
        read = (self.input_channels + 2) * fold**2
        # mean, spread and season of a target, and the frame before
        usual = (3 * self.channels + 2) * fold**2
        self.encoder = stack_layers(read, hidden, kernel)
        self.decoder = stack_layers(usual, decoder, kernel)
        self.project = zero_start(nn.Conv2d(decoder[-1], 2 * self.channels * fold**2, 1))

    def correction(self, seen: Surroundings) -> tuple[Tensor, Tensor]:
        """Return a and log b, each (B, horizon, C, h, w)."""
        steps = seen.frames.shape[1]
        size = seen.frames.shape[-2:]
        folded = self.fold(self.input_planes(seen))  # (B, T, n, h / fold, w / fold)
        outputs = folded.transpose(0, 1).flatten(0, 1)
        states = []
        for layer in self.encoder:
            outputs, state = layer(outputs, steps, None)
            states.append(state)
        memory = self.remember(outputs.unflatten(0, (steps, -1)).transpose(0, 1))
        states = hand_over(states, self.decoder)
        usual = self.fold(self.target_planes(seen))
        before = seen.departures[:, -1]  # (B, C, h, w)
        leads = []
        for lead in range(self.horizon):
            frame = torch.cat([usual[:, lead], self.fold(before)], dim=1)
            for number, layer in enumerate(self.decoder):
                frame, states[number] = layer(frame, 1, states[number])
            answer = self.unfold(self.project(self.read(frame, memory)), size)
            numbers = seen.lead_numbers(answer, lead)
            leads.append(torch.stack(numbers))
            if lead + 1 < self.horizon:
                before = seen.fed_back(*numbers, lead)
        return torch.stack(leads, dim=2).unbind()

    def fold(self, frames: Tensor) -> Tensor:
        """Return frames (..., n, h, w) with squares of pixels as channels; the border is repeated to fill the last."""
        down, right = (-length % self.side for length in frames.shape[-2:])
        images = functional.pad(frames.flatten(0, -4), (0, right, 0, down), mode="replicate")
        return functional.pixel_unshuffle(images, self.side).unflatten(0, frames.shape[:-3])

    def unfold(self, images: Tensor, shape: torch.Size) -> Tensor:
        """Return the inverse of fold, cut to `shape`."""
        return functional.pixel_shuffle(images, self.side)[..., : shape[-2], : shape[-1]]

    def remember(self, outputs: Tensor):
        """Return what the decoder may look up of the encoder's outputs (B, T, hidden, h, w): nothing, but see read."""
        return None

    def read(self, frame: Tensor, memory) -> Tensor:
        """Return the decoder's output (B, hidden, h, w) with what it looked up."""
        return frame


def stack_layers(in_channels: int, hidden: tuple[int, ...], kernel: int) -> nn.ModuleList:
    """Return layers, each reading the one before."""
    widths = (in_channels, *hidden)
    return nn.ModuleList(
        ConvLSTMLayer(before, after, kernel)
        for before, after in zip(widths, widths[1:], strict=False)
    )


def hand_over(states: list, decoder: nn.ModuleList) -> list:
    """Return the decoder's first states: those of the encoder, last layer first, where the widths agree."""
    mirrored = [*reversed(states), *[None] * len(decoder)]
    return [
        state if state is not None and state[0].shape[1] == layer.hidden else None
        for state, layer in zip(mirrored, decoder, strict=False)
    ]
