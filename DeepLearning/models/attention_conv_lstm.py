"""Convolutional LSTM whose decoder looks back at all the encoder's states, in time and in space.

The ConvLSTM of conv_lstm.py (Shi et al. 2015, arXiv:1506.04214) with two attentions (Vaswani et al. 2017,
arXiv:1706.03762) from the decoder's output: in time, each pixel over its own states at all input steps; in space and
time, each cell of a coarser grid over all cells at all input steps, which costs the fourth power of the grid's side and
not of the patch's. Both answers are added to the output before the last layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from DeepLearning.models.conv_lstm import ConvLSTM

CELL = 4  # side of a cell of the coarser grid [px]


class AttentionConvLSTM(ConvLSTM):
    """width : channels of the attention. The rest as in ConvLSTM."""

    def __init__(self, *sizes: int, hidden: tuple[int, ...] = (16, 16), width: int = 16, **named):
        super().__init__(*sizes, hidden=hidden, knobs={"width": width}, **named)
        remembered = hidden[-1]
        out = self.arguments["decoder"][-1]
        self.query = nn.Conv2d(out, 2 * width, 1)
        self.key = nn.Conv2d(remembered, 2 * width, 1)
        self.value = nn.Conv2d(remembered, 2 * out, 1)
        self.width = width
        self.out = out

    def remember(self, outputs: Tensor) -> tuple[Tensor, ...]:
        """Return keys and values of the encoder's outputs (B, T, hidden, h, w): at each pixel, and on the grid."""
        batch, steps = outputs.shape[:2]
        keys = self.key(outputs.flatten(0, 1))
        values = self.value(outputs.flatten(0, 1))
        key_time, key_space = keys.unflatten(0, (batch, steps)).split(self.width, dim=2)
        value_time, value_space = values.unflatten(0, (batch, steps)).split(self.out, dim=2)
        return key_time, value_time, as_tokens(key_space), as_tokens(value_space)

    def read(self, frame: Tensor, memory: tuple[Tensor, ...]) -> Tensor:
        """Return the decoder's output (B, out, h, w) plus what both attentions found."""
        key_time, value_time, key_space, value_space = memory
        query_time, query_space = self.query(frame).split(self.width, dim=1)
        weights = (query_time[:, None] * key_time).sum(dim=2, keepdim=True) / self.width**0.5
        in_time = (weights.softmax(dim=1) * value_time).sum(dim=1)
        found = functional.scaled_dot_product_attention(
            as_tokens(query_space[:, None]), key_space, value_space
        )
        height, width = frame.shape[-2:]
        grid = found.transpose(1, 2).unflatten(2, (-(-height // CELL), -(-width // CELL)))
        in_space = functional.interpolate(
            grid, (height, width), mode="bilinear", align_corners=False
        )
        return frame + in_time + in_space


def as_tokens(frames: Tensor) -> Tensor:
    """Return the cells of the coarser grid of (B, T, n, h, w), averaged, as tokens (B, T * cells, n)."""
    batch, steps = frames.shape[:2]
    cells = functional.avg_pool2d(frames.flatten(0, 1), CELL, ceil_mode=True)
    return torch.movedim(cells.unflatten(0, (batch, steps)), 2, -1).flatten(1, 3)
