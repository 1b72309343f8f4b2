"""U-Net: all input steps in as channels, all lead times out at once.

Ronneberger et al. (2015), "U-Net", arXiv:1505.04597. Different from it: padded convolutions and pooling that rounds up,
so any height and width works; group instead of batch normalisation (Wu & He 2018, arXiv:1803.08494), for batch
statistics would carry one patch's clouds into the next; climatology and season of the targets are inputs as well.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from DeepLearning.models.departure import Departure, Surroundings, group_norm, zero_start


class UNet(Departure):
    """widths : channels at each scale, each half as fine as the one before. The rest as in Departure."""

    def __init__(
        self,
        *sizes: int,
        widths: tuple[int, ...] = (16, 32, 64),
        **named,
    ):
        super().__init__(*sizes, knobs={"widths": list(widths)}, **named)
        of_inputs = self.steps * (self.input_channels + 2)
        of_targets = self.horizon * (2 * self.channels + 2)
        read = of_inputs + of_targets
        self.first = double_convolution(read, widths[0])
        pairs = list(zip(widths, widths[1:], strict=False))
        self.down = nn.ModuleList(double_convolution(fine, coarse) for fine, coarse in pairs)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in reversed(pairs)
        )
        self.join = nn.ModuleList(double_convolution(2 * fine, fine) for fine, _ in reversed(pairs))
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.project = zero_start(nn.Conv2d(widths[0], 2 * self.horizon * self.channels, 1))

    def correction(self, seen: Surroundings) -> tuple[Tensor, Tensor]:
        """Return a and log b, each (B, horizon, C, h, w)."""
        inputs = self.input_planes(seen).flatten(1, 2)
        targets = self.target_planes(seen).flatten(1, 2)
        image = self.first(torch.cat([inputs, targets], dim=1))
        skips = []
        for down in self.down:
            skips.append(image)
            image = down(self.pool(image))
        for up, join in zip(self.up, self.join, strict=True):
            skip = skips.pop()
            finer = up(image)[..., : skip.shape[-2], : skip.shape[-1]]
            image = join(torch.cat([skip, finer], dim=1))
        return seen.numbers(self.project(image).unflatten(1, (self.horizon, -1)))


def double_convolution(before: int, after: int) -> nn.Sequential:
    """Return two 3 x 3 convolutions with normalisation."""
    layers = []
    for channels in (before, after):
        layers += [
            nn.Conv2d(channels, after, 3, padding=1, bias=False),
            group_norm(after),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
