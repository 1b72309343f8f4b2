"""The forecasts a network has to beat, with the call of a network: (inputs, context) -> (B, horizon, C, h, w).

Three need no fitting. Damped persistence and the ridge are fitted on the training windows of one glacier, and, as the
networks, on no pixel of its kept-out block; they forecast whole scenes of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from DeepLearning.data.context import Context
from DeepLearning.data.glacier import Glacier

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1e4)  # of the ridge, in units of the mean square of its inputs


def persistence(inputs: Tensor, context: Context) -> Tensor:
    """Return the last input frame for every lead time."""
    return inputs[:, -1:].expand(context.mean.shape)


def seasonal_persistence(inputs: Tensor, context: Context) -> Tensor:
    """Return the same season of the year before; the last input frame where the series has no year before."""
    return torch.where(context.year_ago.isnan(), persistence(inputs, context), context.year_ago)


def climatology(inputs: Tensor, context: Context) -> Tensor:
    """Return the mean of the same season over all years before the first target step."""
    return context.mean


BASELINES = {
    "persistence": persistence,
    "seasonal persistence": seasonal_persistence,
    "climatology": climatology,
}


def departures(inputs: Tensor, context: Context) -> Tensor:
    """Return how far the inputs (B, T, C, h, w) are from their climatology, 0 where that is unknown."""
    return (inputs - context.input_mean).nan_to_num()


def training_windows(glacier: Glacier, part: str = "train"):
    """Yield inputs, context, target departures (1, horizon, C, H, W) and observed (1, horizon, 1, H, W) of windows."""
    for window in glacier.windows(part):
        first = glacier.patches.windows[window].start
        target, end = (
            first + glacier.sequence_length,
            first + glacier.sequence_length + glacier.horizon,
        )
        context = glacier.scene_context(first)
        truth = torch.from_numpy(glacier.series.values[target:end])[None]
        observed = torch.from_numpy(glacier.series.observed[target:end])[None, :, None]
        yield glacier.scene_inputs(first), context, truth - context.mean, observed


class DampedPersistence:
    """Climatology plus the last departure from it, damped: the standard bar of sub-seasonal forecasts.

    The departure is split into the mean of the scene and the rest, each with its factor for each lead time, by least
    squares over the training windows. Lorenz (1973), 10.1175/1520-0450(1973)012<0543:OTPOAW>2.0.CO;2.
    seen : bool (H, W), pixels to fit on. factors : (horizon, 2), of the rest and of the mean.
    """

    def __init__(self, glacier: Glacier, seen: Tensor):
        square = torch.zeros(glacier.horizon, 2, 2, dtype=torch.float64)
        product = torch.zeros(glacier.horizon, 2, 1, dtype=torch.float64)
        for inputs, context, wanted, observed in training_windows(glacier):
            x = self.predictors(inputs, context)[0]
            for lead in range(glacier.horizon):
                counted = (observed[0, lead] & seen).expand(wanted.shape[2:])
                here = x[:, counted].double()
                square[lead] += here @ here.T
                product[lead] += here @ wanted[0, lead][counted].double()[:, None]
        tiny = 1e-9 * torch.eye(2, dtype=torch.float64)
        self.factors = torch.linalg.solve(square + tiny, product)[..., 0].float()

    @staticmethod
    def predictors(inputs: Tensor, context: Context) -> Tensor:
        """Return the last departure without its mean over the scene, and that mean: (B, 2, C, h, w)."""
        last = departures(inputs, context)[:, -1:]
        mean = last.mean(dim=(-2, -1), keepdim=True).expand(last.shape)
        return torch.cat([last - mean, mean], dim=1)

    def __call__(self, inputs: Tensor, context: Context) -> Tensor:
        return context.mean + torch.einsum(
            "lf,bfchw->blchw", self.factors, self.predictors(inputs, context)
        )


class Ridge:
    """A linear regression at each pixel on its departures at all input steps and on its climatology.

    Few windows train many pixels, so a pixel's coefficients are those of all pixels together plus its own deviation,
    which a ridge holds small (Hoerl & Kennard 1970, 10.1080/00401706.1970.10488634); its strength is the one that does
    best in validation. Pixels of the kept-out block have the common coefficients.
    seen : bool (H, W), pixels to fit on. coefficients : (horizon, C, H, W, T + 2).
    """

    def __init__(self, glacier: Glacier, seen: Tensor):
        horizon, shape = glacier.horizon, glacier.series.values.shape[1:]
        count = glacier.sequence_length + 2
        square = torch.zeros(horizon, *shape, count, count)
        product = torch.zeros(horizon, *shape, count)
        for inputs, context, wanted, observed in training_windows(glacier):
            for lead in range(horizon):
                x = (
                    self.predictors(inputs, context, lead)[0]
                    * (observed[0, lead] & seen)[..., None]
                )
                square[lead] += x[..., :, None] * x[..., None, :]
                product[lead] += x * wanted[0, lead][..., None]
        tiny = 1e-6 * torch.eye(count)
        common = torch.linalg.solve(square.sum((1, 2, 3)) + tiny, product.sum((1, 2, 3)))[
            :, None, None, None
        ]
        left = product - (square @ common[..., None])[..., 0]
        unit = square.diagonal(dim1=-2, dim2=-1).mean()
        choices = [
            common + torch.linalg.solve(square + strength * unit * torch.eye(count), left)
            for strength in STRENGTHS
        ]
        self.coefficients = min(
            choices, key=lambda choice: self.validation_error(glacier, choice, seen)
        )

    @staticmethod
    def predictors(inputs: Tensor, context: Context, lead: int) -> Tensor:
        """Return the departures of all inputs, the climatology of the target, and 1: (B, C, h, w, T + 2)."""
        known = torch.cat([departures(inputs, context), context.mean[:, lead : lead + 1]], dim=1)
        known = torch.cat([known, torch.ones_like(known[:, :1])], dim=1)
        return known.movedim(1, -1)

    def validation_error(self, glacier: Glacier, coefficients: Tensor, seen: Tensor) -> float:
        """Return the sum of squared errors over the validation windows."""
        total = 0.0
        for inputs, context, wanted, observed in training_windows(glacier, "validation"):
            error = self.predict(inputs, context, coefficients) - wanted
            total += (error**2 * (observed & seen)).sum(dtype=torch.float64).item()
        return total

    def predict(self, inputs: Tensor, context: Context, coefficients: Tensor) -> Tensor:
        """Return the departures of all lead times, (B, horizon, C, h, w)."""
        leads = [
            (self.predictors(inputs, context, lead) * here).sum(dim=-1)
            for lead, here in enumerate(coefficients)
        ]
        return torch.stack(leads, dim=1)

    def __call__(self, inputs: Tensor, context: Context) -> Tensor:
        return context.mean + self.predict(inputs, context, self.coefficients)
