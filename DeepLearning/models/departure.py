"""What all networks share: they answer how a forecast departs from climatology, not the snow itself.

The forecast is a distribution function F' on the thresholds of the context, made from climatology's F by two numbers a
pixel and lead time:  logit F' = b logit F + a,  b > 0. With a = 0 and b = 1 it is climatology; a moves it towards less
snow (a > 0) or more, b makes it surer or less sure. Whatever the numbers are, F' rises with the threshold, and values
that cannot occur (F 0 or 1) stay so.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from DeepLearning.data.adjustment import adjust, stretch
from DeepLearning.data.context import Context
from glacier import distribution

# AdamW moves every parameter alike; the carry is of order 1, weights of order 0.1
CARRY_SPEED = 10.0
NARROWEST = 0.05  # spread of a season's values [1] that a departure is measured by


class Departure(nn.Module, ABC):
    """A network whose forecast is climatology, shifted by  carry * last departure + correction.

    The carry and the last layer of every correction start at 0, so an untrained network *is* climatology, moved by
    what the region's last departures were found to carry over, and what training adds is skill against it. Carrying
    the last departure on, damped, is the standard bar of sub-seasonal forecasting (Lorenz 1973,
    10.1175/1520-0450(1973)012<0543:OTPOAW>2.0.CO;2): two numbers a lead time, of the pixel's own departure and of the
    mean departure of its patch.

    patch_size : side of a patch [px]. channels : of a frame. steps : inputs. horizon : lead times.
    context : names of further layers to read beside the inputs. knobs : the network's own arguments. A checkpoint
    keeps all of these as `arguments`.
    region_carry : (horizon,), part of the expected shift of the region that a lead time takes; fitted, and earned,
    before the training begins.
    factor : (horizon,), what scales all else in the two numbers outside training: earned on origins that did not stop
    the training.
    seasonal : 1 if the network is told the place in the year, 0 where the training saw too few years to learn from it.
    Training sets both, checkpoints keep them.
    """

    feeds_back = False  # whether a lead time reads the forecast of the one before

    def __init__(
        self,
        patch_size: int,
        channels: int,
        steps: int,
        horizon: int,
        context: Sequence[str] = (),
        knobs: dict | None = None,
    ):
        super().__init__()
        self.arguments = {
            "patch_size": patch_size,
            "channels": channels,
            "steps": steps,
            "horizon": horizon,
            "context": list(context),
            **(knobs or {}),
        }
        self.patch_size = patch_size
        self.steps = steps
        self.channels = channels
        self.horizon = horizon
        self.context = tuple(context)
        # planes of an input step: frame and departure, further layers
        self.input_channels = 2 * channels + len(self.context)
        self.carry = nn.Parameter(torch.zeros(horizon, 2))
        self.register_buffer("region_carry", torch.zeros(horizon))
        self.register_buffer("factor", torch.ones(horizon))
        self.register_buffer("seasonal", torch.ones(()))

    def forward(self, inputs: Tensor, context: Context) -> Tensor:
        """Return the forecast F' (B, horizon, K, C, h, w) of inputs (B, T, C, h, w), at the context's thresholds."""
        return adjust(context.climatology, *self.earned(inputs, context))

    def earned(self, inputs: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Return a and log b, each (B, horizon, C, h, w), as far as the factor trusts them."""
        return self.trusted(*self.numbers(inputs, context), context)

    def trusted(
        self, shift: Tensor, log_stretch: Tensor, context: Context
    ) -> tuple[Tensor, Tensor]:
        """Return a and log b with all but the region's part scaled by the factor."""
        factor = self.factor.view(-1, 1, 1, 1)
        of_region = self.carried_shift(context)
        return of_region + factor * (shift - of_region), factor * log_stretch

    def carried_shift(self, context: Context) -> Tensor:
        """Return the region's part of a, (B, horizon, C, 1, 1)."""
        return self.region_carry.view(-1, 1, 1, 1) * context.shift

    def numbers(
        self, inputs: Tensor, context: Context, hints: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return a and log b, each (B, horizon, C, h, w), of inputs (B, T, C, h, w), before any factor.

        An input that is NaN counts as climatology. hints : (B, horizon, C, h, w) frames that the training loop lets a
        network with `feeds_back` read instead of the median of its own forecast, NaN where it is to read its own;
        nobody else gives any.
        """
        frames = torch.where(inputs.isnan(), context.input_mean, inputs).nan_to_num()
        departures = (frames - context.input_mean).nan_to_num()
        last = departures[:, -1:]
        together = last.mean(dim=(-2, -1), keepdim=True)
        mean, spread = mean_and_spread(context)
        local, regional = (CARRY_SPEED * self.carry).view(-1, 2, 1, 1, 1).unbind(dim=1)
        # in log-odds a departure counts by the spread of its season; more snow than usual: a lower F
        carried = -(local * last + regional * together) / spread.clamp_min(NARROWEST)
        carried = carried + self.carried_shift(context)
        read = torch.cat([frames, departures, *self.further(context, frames)], dim=2)
        seen = Surroundings(read, frames, departures, context, mean, spread, carried, hints)
        return self.correction(seen)

    def further(self, context: Context, frames: Tensor) -> list[Tensor]:
        """Return the further layers at each input step, (B, T, 1, h, w) each, 0 where unknown."""
        layers = []
        for name in self.context:
            layer = context[name].nan_to_num()
            if layer.dim() < frames.dim():  # of the ground
                layer = layer[:, None].expand(-1, frames.shape[1], -1, -1, -1)
            layers.append(layer)
        return layers

    @abstractmethod
    def correction(self, seen: Surroundings) -> tuple[Tensor, Tensor]:
        """Return a and log b, each (B, horizon, C, h, w); `seen.numbers` makes them of a layer's answer."""

    def input_season(self, context: Context) -> Tensor:
        """Return the inputs' place in the year, (B, T, 2)."""
        return context.input_season * self.seasonal

    def target_season(self, context: Context) -> Tensor:
        """Return the targets' place in the year, (B, horizon, 2)."""
        return context.target_season * self.seasonal

    def input_planes(self, seen: Surroundings) -> Tensor:
        """Return what a convolution reads of each input step, (B, T, input_channels + 2, h, w)."""
        season = planes(self.input_season(seen.context), seen.frames)
        return torch.cat([seen.inputs, season], dim=2)

    def target_planes(self, seen: Surroundings) -> Tensor:
        """Return what is known of each target step, mean, spread and season, (B, horizon, 2 C + 2, h, w)."""
        season = planes(self.target_season(seen.context), seen.frames)
        return torch.cat([seen.mean, seen.spread, season], dim=2)


@dataclass(frozen=True)
class Surroundings:
    """What a correction is made from.

    inputs : (B, T, input_channels, h, w), all that is read of the input steps. frames, departures : (B, T, C, h, w)
    without NaN, of these the frames and how far they are from their climatology.
    mean, spread : (B, horizon, C, h, w), mean and standard deviation of the targets' climatology.
    carried : (B, horizon, C, h, w), part of a. hints : target frames to read, NaN where there is none, or None.
    """

    inputs: Tensor
    frames: Tensor
    departures: Tensor
    context: Context
    mean: Tensor
    spread: Tensor
    carried: Tensor
    hints: Tensor | None

    def numbers(self, answer: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and log b of a layer's answer for all lead times, (B, horizon, 2 C, h, w)."""
        shift, log_stretch = answer.chunk(2, dim=2)
        return shift + self.carried, log_stretch

    def lead_numbers(self, answer: Tensor, lead: int) -> tuple[Tensor, Tensor]:
        """Return a and log b of a layer's answer for one lead time, (B, 2 C, h, w)."""
        shift, log_stretch = answer.chunk(2, dim=1)
        return shift + self.carried[:, lead], log_stretch

    def fed_back(self, shift: Tensor, log_stretch: Tensor, lead: int) -> Tensor:
        """Return the departure (B, C, h, w) that the next lead time reads: of the forecast's median, or of the hint."""
        frame = median(self.context, shift, log_stretch, lead)
        if self.hints is not None:
            hint = self.hints[:, lead]
            frame = torch.where(hint.isnan(), frame, hint)
        return frame - self.mean[:, lead]


# ── Distribution functions ───────────────────────────────────────────────────────────────────────────────────────


def median(context: Context, shift: Tensor, log_stretch: Tensor, lead: int) -> Tensor:
    """Return the median (B, C, h, w) of F' at a lead time: climatology's quantile where b logit F + a is 0."""
    level = torch.sigmoid(-shift / stretch(log_stretch))
    return distribution.quantile(
        context.climatology[:, lead], level, context.thresholds, context.floor
    )


def mean_and_spread(context: Context) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of the targets' climatology, each (B, horizon, C, h, w)."""
    base = context.climatology
    weights = base.new_tensor(moment_weights(context.thresholds, context.floor))
    last = float(context.thresholds[-1])
    below = torch.einsum("bhkcyx,mk->mbhcyx", base, weights)
    mean = last - below[0]
    square = last**2 - below[1]
    return mean, (square - mean**2).clamp_min(1e-8).sqrt()


def moment_weights(thresholds: np.ndarray, floor: float | None) -> np.ndarray:
    """Return weights (2, K) so that the last threshold, and its square, less their sums with F are E y and E y^2.

    E y^n = x_K^n - integral of n x^(n - 1) F(x), by trapezoids; values below `floor` count as 0, so F is that of the
    floor from 0 on.
    """
    x = np.asarray(thresholds, np.float64)
    weights = np.zeros((2, len(x)))
    at_floor = np.zeros(len(x))
    if floor is not None:
        at_floor = np.array([np.interp(floor, x, row) for row in np.eye(len(x))])
    for number in range(len(x) - 1):
        low = x[number]
        high = x[number + 1]
        if floor is not None and low < 0:
            continue
        whole = np.array([high - low, high**2 - low**2]) / 2
        for end in (number, number + 1):
            if floor is not None and x[end] < floor:
                weights += np.outer(whole, at_floor)
            else:
                weights[:, end] += whole
    return weights


# ── Layers ───────────────────────────────────────────────────────────────────────────────────────────────────────


def planes(numbers: Tensor, like: Tensor) -> Tensor:
    """Return numbers (B, steps, n) as constant images (B, steps, n, h, w)."""
    return numbers[..., None, None].expand(*numbers.shape, *like.shape[-2:]).to(like.dtype)


def zero_start(layer: nn.Module) -> nn.Module:
    """Return a layer set to answer 0 at the start."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def group_norm(channels: int) -> nn.GroupNorm:
    """Return a normalisation by sample, in at most 8 groups: a cloudy patch does not change its neighbours'."""
    groups = next(groups for groups in (8, 4, 3, 2, 1) if channels % groups == 0)
    return nn.GroupNorm(groups, channels)
