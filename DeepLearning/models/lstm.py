"""LSTM encoder-decoder on flattened patches.

The composite model of Srivastava et al. (2015), "Unsupervised Learning of Video Representations using LSTMs",
arXiv:1502.04681, its conditional future predictor: an encoder LSTM reads the inputs, a decoder LSTM starts from its
states and forecasts one lead time after the other, reading the median it has just forecast. Different from it: linear
projections between pixels and states (hidden may still be the number of pixels), no reconstruction branch, each step
says its season, frames are departures from climatology, and the answer is how its distribution function departs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from DeepLearning.models.departure import Departure, Surroundings, zero_start
from DeepLearning.models.recurrent import RecurrentLayers


class LSTM(Departure):
    """hidden : width of the states. layers : of the encoder, and as many of the decoder. The rest as in Departure."""

    feeds_back = True

    def __init__(
        self,
        *sizes: int,
        hidden: int = 128,
        layers: int = 2,
        **named,
    ):
        knobs = {"hidden": hidden, "layers": layers}
        super().__init__(*sizes, knobs=knobs, **named)
        area = self.patch_size**2
        pixels = self.channels * area
        self.embed = nn.Linear(self.input_channels * area, hidden)
        self.embed_own = nn.Linear(pixels, hidden)
        self.season = zero_start(nn.Linear(2, hidden))
        self.encoder = RecurrentLayers(hidden, hidden, layers, batch_first=True)
        self.decoder = RecurrentLayers(hidden, hidden, layers, batch_first=True)
        self.project = zero_start(nn.Linear(hidden, 2 * pixels))

    def correction(self, seen: Surroundings) -> tuple[Tensor, Tensor]:
        """Return a and log b, each (B, horizon, C, h, w)."""
        pixels = seen.inputs.flatten(2)
        tokens = self.embed(pixels) + self.season(self.input_season(seen.context))
        _, state = self.encoder(tokens)
        season = self.season(self.target_season(seen.context))
        before = seen.departures[:, -1]  # (B, C, h, w)
        leads = []
        for lead in range(self.horizon):
            token = self.embed_own(before.flatten(1)) + season[:, lead]
            output, state = self.decoder(token[:, None], state)
            answer = self.project(output[:, 0]).view(len(before), -1, *before.shape[2:])
            numbers = seen.lead_numbers(answer, lead)
            leads.append(torch.stack(numbers))
            if lead + 1 < self.horizon:
                before = seen.fed_back(*numbers, lead)
        return torch.stack(leads, dim=2).unbind()
