"""LSTM encoder with a multi-head self-attention decoder, on flattened patches.

Encoder: Hochreiter & Schmidhuber (1997), 10.1162/neco.1997.9.8.1735. Decoder: the self-attention of Vaswani et al.
(2017), arXiv:1706.03762, over the encoder's states and one query a lead time, as in "Glacier Movement Prediction with
Attention-based Recurrent Neural Networks and Satellite Data" (NeurIPS 2023 workshop on climate change and machine
learning). Different from the latter: linear projections between pixels and states, so that the number of parameters
does not grow with the fourth power of the patch side; all lead times at once, so nothing is fed back; each step says
its season; the answer is how the distribution function departs from climatology.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from DeepLearning.models.departure import Departure, Surroundings, zero_start
from DeepLearning.models.recurrent import RecurrentLayers


class AttentionLSTM(Departure):
    """hidden : width of states and attention, a multiple of heads. layers : LSTM layers. The rest as in Departure."""

    def __init__(
        self,
        *sizes: int,
        hidden: int = 128,
        layers: int = 2,
        heads: int = 4,
        **named,
    ):
        knobs = {"hidden": hidden, "layers": layers, "heads": heads}
        super().__init__(*sizes, knobs=knobs, **named)
        area = self.patch_size**2
        pixels = self.channels * area
        self.embed = nn.Linear(self.input_channels * area, hidden)
        self.season = zero_start(nn.Linear(2, hidden))
        self.encoder = RecurrentLayers(hidden, hidden, layers, batch_first=True)
        self.lead = nn.Parameter(0.02 * torch.randn(self.horizon, hidden))
        self.attention = nn.MultiheadAttention(hidden, heads, batch_first=True)
        self.norm = nn.LayerNorm(hidden)
        self.project = zero_start(nn.Linear(hidden, 2 * pixels))

    def correction(self, seen: Surroundings) -> tuple[Tensor, Tensor]:
        """Return a and log b, each (B, horizon, C, h, w)."""
        pixels = seen.inputs.flatten(2)
        states, _ = self.encoder(self.embed(pixels) + self.season(self.input_season(seen.context)))
        queries = states[:, -1:] + self.season(self.target_season(seen.context)) + self.lead
        tokens = torch.cat([states, queries], dim=1)
        attended, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        leads = self.norm(tokens + attended)[:, -self.horizon :]
        answer = self.project(leads)
        return seen.numbers(answer.unflatten(2, (-1, *seen.frames.shape[3:])))
