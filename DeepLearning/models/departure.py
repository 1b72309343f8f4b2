"""What all networks share: they forecast the departure from climatology, not the snow itself."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from DeepLearning.data.context import Context

# AdamW moves every parameter alike; the carry is of order 1, weights of order 0.1
CARRY_SPEED = 10.0


class Departure(nn.Module, ABC):
    """A network whose forecast is  climatology + carry * last departure + correction.

    The carry (one number a lead time) and the last layer of every correction start at 0, so an untrained network *is*
    climatology, and what training adds is skill against it. Carrying the last departure on, damped, is the standard
    bar of sub-seasonal forecasting (Lorenz 1973, 10.1175/1520-0450(1973)012<0543:OTPOAW>2.0.CO;2): training first sets
    the carry by least squares, so that the layers are left with what it cannot do.

    patch_size : side of a patch [px]. channels : of a frame. steps : inputs. horizon : lead times.
    knobs : the network's own arguments. A checkpoint keeps all of these as `arguments`.
    limits : lowest and highest value of the training data; no forecast goes beyond.
    seasonal : 1 if the network is told the place in the year, 0 where the training saw too few years to learn from it.
    Training sets both, checkpoints keep them.
    """

    feeds_back = False  # whether a lead time reads the forecast of the one before

    def __init__(self, patch_size: int, channels: int, steps: int, horizon: int, **knobs):
        super().__init__()
        self.arguments = {
            "patch_size": patch_size,
            "channels": channels,
            "steps": steps,
            "horizon": horizon,
            **knobs,
        }
        self.channels, self.horizon = channels, horizon
        self.carry = nn.Parameter(torch.zeros(horizon))
        self.register_buffer("limits", torch.tensor([-torch.inf, torch.inf]))
        self.register_buffer("seasonal", torch.ones(()))

    def forward(self, inputs: Tensor, context: Context, hints: Tensor | None = None) -> Tensor:
        """Return the forecast (B, horizon, C, h, w) of inputs (B, T, C, h, w).

        An input that is NaN counts as climatology. The limits hold outside training only, for a clipped value has no
        gradient. hints : (B, horizon, C, h, w) frames that the training loop lets a network with `feeds_back` read
        instead of its own forecast, NaN where it is to read its own; nobody else gives any.
        """
        known = torch.where(inputs.isnan(), context.input_mean, inputs).nan_to_num()
        departures = (known - context.input_mean).nan_to_num()
        carried = CARRY_SPEED * self.carry.view(1, -1, 1, 1, 1) * departures[:, -1:]
        shown = None if hints is None else hints - context.mean
        forecast = (
            context.mean + carried + self.correction(known, departures, context, carried, shown)
        )
        return forecast if self.training else forecast.clamp(*self.limits)

    @torch.no_grad()
    def set_carry(self, carry: Tensor) -> None:
        """Set which part of the last departure each lead time keeps, (horizon,)."""
        self.carry.copy_(carry / CARRY_SPEED)

    @abstractmethod
    def correction(
        self,
        inputs: Tensor,
        departures: Tensor,
        context: Context,
        carried: Tensor,
        shown: Tensor | None,
    ):
        """Return what to add to climatology and `carried`, (B, horizon, C, h, w).

        inputs, departures : (B, T, C, h, w) without NaN. shown : target departures to read, NaN where there is none.
        """

    def input_season(self, context: Context) -> Tensor:
        """Return the inputs' place in the year, (B, T, 2)."""
        return context.input_season * self.seasonal

    def target_season(self, context: Context) -> Tensor:
        """Return the targets' place in the year, (B, horizon, 2)."""
        return context.target_season * self.seasonal

    def input_planes(self, inputs: Tensor, departures: Tensor, context: Context) -> Tensor:
        """Return what a convolution reads of each input step, (B, T, 2 C + 2, h, w)."""
        return torch.cat([inputs, departures, planes(self.input_season(context), inputs)], dim=2)

    def target_planes(self, context: Context) -> Tensor:
        """Return what is known of each target step, (B, horizon, 2 C + 2, h, w)."""
        return torch.cat(
            [context.mean, context.spread, planes(self.target_season(context), context.mean)], dim=2
        )


def planes(numbers: Tensor, like: Tensor) -> Tensor:
    """Return numbers (B, steps, n) as constant images (B, steps, n, h, w)."""
    return numbers[..., None, None].expand(*numbers.shape, *like.shape[-2:]).to(like.dtype)


def fed_back(forecast: Tensor, shown: Tensor | None, lead: int) -> Tensor:
    """Return the departure that the next lead time reads: the one shown by the training loop, else the forecast."""
    return (
        forecast if shown is None else torch.where(shown[:, lead].isnan(), forecast, shown[:, lead])
    )


def zero_start(layer: nn.Module) -> nn.Module:
    """Return a layer set to answer 0 at the start."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def group_norm(channels: int) -> nn.GroupNorm:
    """Return a normalisation by sample, in at most 8 groups: a cloudy patch does not change its neighbours'."""
    return nn.GroupNorm(
        next(groups for groups in (8, 4, 3, 2, 1) if channels % groups == 0), channels
    )
