"""What all networks share: they forecast the departure from climatology, not the snow itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from DeepLearning.data import Context

CARRY_SPEED = 10.0  # AdamW moves every parameter alike; the carry is of order 1, weights of order 0.1


class Departure(nn.Module):
    """A network whose forecast is  climatology + carry * last departure + correction.

    The carry (one number a lead time) and the last layer of every correction start at 0, so an untrained network *is*
    climatology, and what training adds is skill against it. Carrying the last departure on, damped, is the standard
    bar of sub-seasonal forecasting (Lorenz 1973, 10.1175/1520-0450(1973)012<0543:OTPOAW>2.0.CO;2); it is built in so
    that the layers are left with what it cannot do.

    horizon : lead times. arguments : what the constructor was called with, kept for the checkpoint.
    limits : lowest and highest value of the training data, set by training; no forecast goes beyond.
    """

    def __init__(self, horizon: int, arguments: dict):
        super().__init__()
        self.horizon = horizon
        self.arguments = arguments
        self.carry = nn.Parameter(torch.zeros(horizon))
        self.register_buffer("limits", torch.tensor([-torch.inf, torch.inf]))

    def forward(self, inputs: Tensor, context: Context) -> Tensor:
        """Return the forecast (B, horizon, C, h, w) of inputs (B, T, C, h, w).

        An input that is NaN counts as climatology. The limits hold outside training only, for a clipped value has no
        gradient.
        """
        known = torch.where(inputs.isnan(), context.input_mean, inputs).nan_to_num()
        departures = (known - context.input_mean).nan_to_num()
        carried = CARRY_SPEED * self.carry.view(1, -1, 1, 1, 1) * departures[:, -1:]
        forecast = context.mean + carried + self.correction(known, departures, context)
        return forecast if self.training else forecast.clamp(*self.limits)

    def correction(self, inputs: Tensor, departures: Tensor, context: Context) -> Tensor:
        """Return what to add, (B, horizon, C, h, w); inputs and departures are (B, T, C, h, w) without NaN."""
        raise NotImplementedError


def zero_start(layer: nn.Module) -> nn.Module:
    """Return a last layer set to answer 0 at the start."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
