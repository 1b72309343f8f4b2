"""SimVP v2: convolutional encoder, gated spatio-temporal translator, convolutional decoder.

Tan et al. (2022), "SimVP: Towards Simple yet Powerful Spatiotemporal Predictive Learning", arXiv:2211.12509: the
translator's blocks (gSTA) are a large-kernel convolution, split into depth-wise, dilated depth-wise and point-wise
ones, whose answer is a gate, and a point-wise network. Different from it: any number of lead times (a point-wise layer
from input steps to lead times), the decoder reads climatology and season of its lead time, group normalisation
throughout.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from DeepLearning.models.departure import Departure, Surroundings, group_norm, zero_start


class GatedAttention(nn.Module):
    """One gSTA block over images of `channels`; shape kept."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm_gate = group_norm(channels)
        self.norm_mix = group_norm(channels)
        self.inward = nn.Conv2d(channels, channels, 1)
        self.near = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.far = nn.Conv2d(channels, channels, 7, padding=9, dilation=3, groups=channels)
        self.split = nn.Conv2d(channels, 2 * channels, 1)
        self.outward = nn.Conv2d(channels, channels, 1)
        self.mix = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 1), nn.GELU(), nn.Conv2d(2 * channels, channels, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        inner = functional.gelu(self.inward(self.norm_gate(images)))
        values, gate = self.split(self.far(self.near(inner))).chunk(2, dim=1)
        images = images + self.outward(torch.sigmoid(gate) * values)
        return images + self.mix(self.norm_mix(images))


class SimVP(Departure):
    """hidden : channels of a frame. blocks : of the translator. width : its channels. The rest as in Departure."""

    def __init__(
        self,
        *sizes: int,
        hidden: int = 8,
        width: int = 32,
        blocks: int = 3,
        **named,
    ):
        knobs = {"hidden": hidden, "width": width, "blocks": blocks}
        super().__init__(*sizes, knobs=knobs, **named)
        planes = 2 * self.channels + 2
        self.fine = convolution(self.input_channels + 2, hidden)
        self.coarse = convolution(hidden, hidden, stride=2)
        self.into = nn.Conv2d(self.steps * hidden, width, 1)
        self.translator = nn.Sequential(*(GatedAttention(width) for _ in range(blocks)))
        self.out_of = nn.Conv2d(width, self.horizon * hidden, 1)
        self.decoder = convolution(2 * hidden + planes, hidden)
        self.project = zero_start(nn.Conv2d(hidden, 2 * self.channels, 1))
        # depth-wise convolutions take half the time so on a processor
        self.to(memory_format=torch.channels_last)

    def correction(self, seen: Surroundings) -> tuple[Tensor, Tensor]:
        """Return a and log b, each (B, horizon, C, h, w)."""
        batch, steps, _, *size = seen.frames.shape
        fine = self.fine(self.input_planes(seen).flatten(0, 1))
        coarse = self.coarse(fine).unflatten(0, (batch, steps))
        leads = self.out_of(self.translator(self.into(coarse.flatten(1, 2))))
        leads = functional.interpolate(leads, size, mode="bilinear", align_corners=False)
        last = fine.unflatten(0, (batch, steps))[:, -1:].expand(-1, self.horizon, -1, -1, -1)
        leads = leads.unflatten(1, (self.horizon, -1))
        each = torch.cat([leads, last, self.target_planes(seen)], dim=2)
        answer = self.project(self.decoder(each.flatten(0, 1)))
        return seen.numbers(answer.unflatten(0, (batch, self.horizon)))


def convolution(before: int, after: int, stride: int = 1) -> nn.Sequential:
    """Return a 3 x 3 convolution with normalisation; stride 2 halves the size, rounded up."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1), group_norm(after), nn.SiLU()
    )
