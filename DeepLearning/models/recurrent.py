"""LSTM layers that are quick on a processor too."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class RecurrentLayers(nn.LSTM):
    """nn.LSTM with batch_first, weights and answers alike; a layer projects its inputs of all steps at once.

    On processors PyTorch gives nn.LSTM to oneDNN, which sorts all weights anew in each call: for one step at a time, as
    a decoder takes them, and batches much smaller than the width, that costs more than the arithmetic.
    """

    def forward(self, tokens: Tensor, state: tuple[Tensor, Tensor] | None = None):
        """Return the outputs (B, T, hidden) of tokens (B, T, n), and the last (output, cell), (layers, B, hidden)."""
        if tokens.is_cuda:
            return super().forward(tokens, state)
        last = []
        for number, weights in enumerate(self.all_weights):
            before = None
            if state is not None:
                before = (state[0][number], state[1][number])
            tokens, before = run_layer(tokens, before, *weights)
            last.append(before)
        outputs, cells = map(torch.stack, zip(*last, strict=True))
        return tokens, (outputs, cells)


def run_layer(
    tokens: Tensor,
    state: tuple[Tensor, Tensor] | None,
    from_input: Tensor,
    from_state: Tensor,
    *biases: Tensor,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return the outputs (B, T, hidden) of a layer, and the last (output, cell). state : the one before, None for 0."""
    outputs = []
    for now in functional.linear(tokens, from_input, sum(biases)).unbind(dim=1):
        if state is not None:
            now = now + functional.linear(state[0], from_state)
        write, keep, new, show = now.chunk(4, dim=1)
        state = next_state(keep, write, show, new, state)
        outputs.append(state[0])
    return torch.stack(outputs, dim=1), state


def next_state(
    keep: Tensor, write: Tensor, show: Tensor, new: Tensor, state: tuple[Tensor, Tensor] | None
):
    """Return (output, cell) after a step, of its gates before their sigmoid. state : the one before, None for 0."""
    cell = (
        torch.sigmoid(write) * torch.tanh(new)
    ).float()  # it adds up over the steps: no half precision
    if state is not None:
        cell = cell + torch.sigmoid(keep) * state[1]
    return torch.sigmoid(show) * torch.tanh(cell), cell
