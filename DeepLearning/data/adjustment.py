"""Two numbers a pixel move a distribution function, and the score that trains them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

WIDEST = 3.0  # of log b, either way
LARGEST = 30.0  # log-odds in a gradient: where F is 0 or 1 it is 0, not 0 times infinity


def stretch(log_stretch: Tensor) -> Tensor:
    """Return b of log b, held between exp(-WIDEST) and exp(WIDEST)."""
    return log_stretch.clamp(-WIDEST, WIDEST).exp()


def adjust(base: Tensor, shift: Tensor, log_stretch: Tensor) -> Tensor:
    """Return F' of  logit F' = b logit F + a;  where F is 0 or 1 it stays so.

    base : F, (..., K, C, h, w). shift, log_stretch : a and log b, (..., C, h, w).
    """
    a = shift.unsqueeze(-4)
    b = stretch(log_stretch).unsqueeze(-4)
    moved = torch.sigmoid(b * base.logit() + a)
    still = (a == 0) & (b == 1)  # exactly the base, not nearly
    return torch.where(still, base, moved)


def trapezoid_weights(thresholds: np.ndarray, floor: float | None) -> np.ndarray:
    """Return the weight (K,) of each threshold in an integral over x by trapezoids.

    floor : values below it count as 0, so that all of 0 to the floor weighs on the first threshold at or above it, and
    what is below 0 weighs nothing.
    """
    x = np.asarray(thresholds, np.float64)
    weights = np.zeros(len(x))
    if floor is None or floor <= 0:
        first = 0
        weights[0] = 0.0
    else:
        first = int(np.searchsorted(x, np.float32(floor)))
        weights[first] = x[first]
    widths = np.diff(x[first:])
    weights[first:-1] += widths / 2
    weights[first + 1 :] += widths / 2
    return weights


class ThresholdCrps(torch.autograd.Function):
    """The continuous ranked probability score of adjusted distribution functions, summed over the pixels of a sample.

    The sum over thresholds of  weight (F'(x) - 1{truth <= x})^2,  Matheson & Winkler (1976), 10.1287/mnsc.22.10.1087.
    Value and gradient are made in one pass, sample by sample: F' of a whole batch never exists.
    """

    @staticmethod
    def forward(ctx, shift, log_stretch, base, truth, observed, thresholds, weights):
        """Return the sums (S,). shift, log_stretch, truth, observed : (S, N). base : (S, K, N).

        observed : 1 for pixels that count, else 0. thresholds, weights : (K, 1).
        """
        b = stretch(log_stretch)
        totals = shift.new_empty(len(base))
        to_shift = torch.empty_like(shift)
        to_stretch = torch.empty_like(shift)
        for number, function in enumerate(base):
            odds = function.logit()  # (K, N); infinite where F is 0 or 1
            moved = torch.addcmul(shift[number], odds, b[number]).sigmoid_()
            error = moved - (truth[number] <= thresholds).to(moved.dtype)
            weighted = (error * weights).mul_(observed[number])
            totals[number] = torch.dot(weighted.flatten(), error.flatten())
            moved.addcmul_(moved, moved, value=-1)  # F' (1 - F')
            slope = weighted.mul_(moved)
            to_shift[number] = slope.sum(dim=0)
            to_stretch[number] = slope.mul_(odds.clamp_(-LARGEST, LARGEST)).sum(dim=0)
        inside = log_stretch.abs() < WIDEST
        ctx.save_for_backward(2 * to_shift, 2 * to_stretch * b * inside)
        return totals

    @staticmethod
    def backward(ctx, gradient):
        to_shift, to_stretch = ctx.saved_tensors
        each = gradient[:, None]
        return each * to_shift, each * to_stretch, None, None, None, None, None


def crps_sums(
    numbers: tuple[Tensor, Tensor],
    base: Tensor,
    truth: Tensor,
    observed: Tensor,
    thresholds: np.ndarray,
    floor: float | None,
) -> Tensor:
    """Return the sums over observed pixels (B, horizon) of the score of F' against the truth, by trapezoids over x.

    numbers : a and log b, each (B, horizon, C, h, w). base : F (B, horizon, K, C, h, w). truth : as the numbers.
    observed : bool, broadcasts to the truth. floor : value below which the truth is 0.
    """
    all_weights = trapezoid_weights(thresholds, floor)
    first = int(np.flatnonzero(all_weights)[0])  # what is below weighs nothing
    levels = np.asarray(thresholds, np.float32)[first:]
    weights = all_weights[first:].astype(np.float32)
    flat = (truth.shape[0] * truth.shape[1], -1)  # (B * horizon, C * h * w)
    shift, log_stretch = (part.float().reshape(flat) for part in numbers)
    functions = base[:, :, first:].flatten(3).flatten(0, 1)  # (B * horizon, K, C * h * w)
    counted = observed.expand(truth.shape).to(shift.dtype)
    columns = [truth.new_tensor(row).view(-1, 1) for row in (levels, weights)]
    sums = ThresholdCrps.apply(
        shift, log_stretch, functions, truth.reshape(flat), counted.reshape(flat), *columns
    )
    return sums.view(truth.shape[:2])
