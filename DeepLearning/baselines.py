"""The forecasts a network has to beat, with the call of a network: (inputs, context) -> (B, horizon, C, h, w)."""

from __future__ import annotations

import torch
from torch import Tensor

from DeepLearning.data import Context


def persistence(inputs: Tensor, context: Context) -> Tensor:
    """Return the last input frame for every lead time."""
    return inputs[:, -1:].expand(context.mean.shape)


def seasonal_persistence(inputs: Tensor, context: Context) -> Tensor:
    """Return the same season of the year before; the last input frame where the series has no year before."""
    return torch.where(context.year_ago.isnan(), persistence(inputs, context), context.year_ago)


def climatology(inputs: Tensor, context: Context) -> Tensor:
    """Return the mean of the same season over all years before the first target step."""
    return context.mean


BASELINES = {"persistence": persistence, "seasonal persistence": seasonal_persistence, "climatology": climatology}
