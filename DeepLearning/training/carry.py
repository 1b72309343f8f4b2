"""What part of a region's departure carries over: fitted on the training steps, before any network trains.

For each lead time the shift that climatology lacked at a target is regressed on the one that the inputs let expect,
weighted by how much a shift changes the score, with a prior that nothing carries over. Scenes of one region share their
weather, so what counts is the number of dates, not that of pixels or glaciers. What the fit is worth is seen on steps
it was not made on, each training year in turn and then the years of validation; it is scaled by what it earned there,
as networks are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from DeepLearning.data.glacier import Glacier
from DeepLearning.training.earning import block_factor, deal_years
from DeepLearning.verification.intervals import date_blocks, sum_by_block
from glacier.patches.split import target_steps

PRIOR_DATES = 10.0  # dates of training that the prior, nothing carries over, counts as
TINY = 1e-9


@dataclass(frozen=True)
class Cases:
    """Target steps of one glacier at one lead time, N of them.

    steps, years : (N,). expected, wanted : (N, C), the region's shift that the inputs let expect, and the one that
    climatology lacked. weights : (N, C), how much a shift changes the score. befores : what climatology of a target
    looks at, as Base.past takes it.
    """

    glacier: Glacier
    steps: np.ndarray
    years: np.ndarray
    expected: np.ndarray
    wanted: np.ndarray
    weights: np.ndarray
    befores: np.ndarray

    def part(self, rows: np.ndarray) -> Cases:
        """Return some of the cases. rows : bool (N,)."""
        names = ("steps", "years", "expected", "wanted", "weights", "befores")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})


def cases(glacier: Glacier, steps: Sequence[int], lead: int, trains: bool) -> Cases:
    """Return the target steps that have all their inputs.

    lead : from 0 on. trains : climatology is leave-one-year-out.
    """
    length = glacier.sequence_length
    usable = [step for step in steps if step - lead >= length]
    befores = [None if trains else step - lead for step in usable]
    expected = []
    for step in usable:
        origin = glacier.origin(step - lead - length, trains)
        expected.append(glacier.region.expected(origin, step))
    departures = [glacier.region.departure(*pair) for pair in zip(usable, befores, strict=True)]
    shape = (len(usable), glacier.channels)
    return Cases(
        glacier,
        np.array(usable, int),
        np.array([glacier.date(step).year for step in usable], int),
        np.reshape(expected, shape),
        np.reshape([departure.shift for departure in departures], shape),
        np.reshape([departure.weight for departure in departures], shape),
        np.array(befores, object),
    )


def fitted(groups: Sequence[Cases]) -> float:
    """Return the part of the expected shift that carries over, 0 or more, by weighted least squares with a prior."""
    square = product = 0.0
    by_date: dict[int, float] = {}
    for group in groups:
        square += (group.weights * group.expected**2).sum()
        product += (group.weights * group.expected * group.wanted).sum()
        days = [group.glacier.middle(step).toordinal() for step in group.steps.tolist()]
        for day, weight in zip(days, group.weights.sum(axis=1).tolist(), strict=True):
            by_date[day] = by_date.get(day, 0.0) + weight
    weights = np.array(list(by_date.values()))
    if not weights.any():
        return 0.0
    dates = weights.sum() ** 2 / (weights**2).sum()  # as many of equal weight tell as much
    return max(0.0, product / (square * (1 + PRIOR_DATES / dates) + TINY))


# ── What it is worth ─────────────────────────────────────────────────────────────────────────────────────────────


class Evidence:
    """Gains over climatology on steps that a fit was not made on."""

    def __init__(self):
        self.days, self.sums = [], []  # of each step: its day; its gain and its pixels

    def add(self, group: Cases, carry: float) -> None:
        """Add what a fit gains at each target step of a glacier."""
        region = group.glacier.region
        for step, before, expected in zip(
            group.steps.tolist(), group.befores, group.expected, strict=True
        ):
            gain, pixels = region.gain(step, before, carry * expected)
            if pixels:
                self.days.append(group.glacier.date(step))
                self.sums.append((gain, pixels))

    def factor(self) -> float:
        """Return how far the fit may be trusted, in [0, 1], by the rule for networks."""
        if not self.sums:
            return 0.0
        gains, pixels = sum_by_block(np.array(self.sums), date_blocks(self.days)).T
        return block_factor(gains, pixels)


def earned_carry(glaciers: Sequence[Glacier]) -> np.ndarray:
    """Return the part (horizon,) of the region's expected shift that each lead time takes, as far as it was earned.

    0 for series without a whole year of validation, as for networks.
    """
    carry = np.zeros(glaciers[0].horizon)
    years = [deal_years(glacier) for glacier in glaciers]
    if not any(of_glacier.years for of_glacier in years):
        return carry
    for lead in range(len(carry)):
        training = [training_cases(glacier, lead) for glacier in glaciers]
        validation = []
        for glacier, of_glacier in zip(glaciers, years, strict=True):
            steps = sorted(of_glacier.earning)
            validation.append(cases(glacier, steps, lead, trains=False))
        fit = fitted(training)
        carry[lead] = fit * evidence(training, validation, fit).factor()
    return carry


def training_cases(glacier: Glacier, lead: int) -> Cases:
    """Return the training targets of a glacier at a lead time."""
    parts = [window.part for window in glacier.patches.windows]
    targets = target_steps(parts, glacier.sequence_length, glacier.horizon)
    return cases(glacier, targets["train"], lead, trains=True)


def evidence(training: Sequence[Cases], validation: Sequence[Cases], fit: float) -> Evidence:
    """Return what fits gain where they were not made: on each training year without it, in validation by all."""
    worth = Evidence()
    for year in np.unique(np.concatenate([group.years for group in training])):
        without = fitted([group.part(group.years != year) for group in training])
        for group in training:
            worth.add(group.part(group.years == year), without)
    for group in validation:
        worth.add(group, fit)
    return worth
