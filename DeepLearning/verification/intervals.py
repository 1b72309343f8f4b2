"""How sure a skill is: jackknife-t over 3-month blocks of dates crossed with tiles, and the effective number of dates.

Kept as our own code, beside the libraries for resampling: the score of a block is a ratio of two sums over its
observed pixels, blocks hold different numbers of them, and dates are crossed with places.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
from scipy.special import stdtrit

BLOCK_MONTHS = 3
# of dates; with fewer an interval of heavy-tailed errors covers far less than it says
FEWEST_BLOCKS = 6
LEVEL = 0.95
PRIOR_PAIRS = 4  # of neighbouring dates without any correlation
NOTHING = (float("nan"), float("nan"))


def date_blocks(dates: Sequence[date]) -> np.ndarray:
    """Return the number of the 3-month block that holds each date, int (N,): calendar quarters since the year 0."""
    months = [12 * day.year + day.month - 1 for day in dates]
    return np.array(months, dtype=int) // BLOCK_MONTHS


def sum_by_block(sums: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Return sums (N, ...) added up by block, (blocks that occur, ...), in the order of their numbers."""
    numbers, place = np.unique(blocks, return_inverse=True)
    total = np.zeros((len(numbers), *sums.shape[1:]))
    np.add.at(total, place, sums)
    return total


def log_ratios_without_one(errors: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return log(sum of errors / sum of reference) with each unit left out in turn; both (N,), so is the answer."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log((errors.sum() - errors) / (reference.sum() - reference))


def jackknife_variance(errors: np.ndarray, reference: np.ndarray) -> float:
    """Return the delete-one jackknife variance of the log ratio of two sums over units (N,), 0 with one unit.

    Efron & Stein (1981), 10.1214/aos/1176345462. Units without any reference error tell nothing and are left out.
    """
    holds = (reference > 0) | (errors > 0)
    count = int(holds.sum())
    if count < 2:
        return 0.0
    ratios = log_ratios_without_one(errors[holds], reference[holds])
    return float((count - 1) / count * ((ratios - ratios.mean()) ** 2).sum())


def skill_interval(
    errors: np.ndarray, reference: np.ndarray, blocks: np.ndarray
) -> tuple[float, float]:
    """Return the 95 % interval of the skill 1 - errors / reference; NaN below FEWEST_BLOCKS blocks of dates.

    errors, reference : sums of a score over the observed pixels of each date and tile, (dates, tiles).
    blocks : number of each date's block, as date_blocks gives it. Blocks without an observed pixel do not count.
    Jackknife-t of the logarithm of the ratio, so that no interval exceeds 1. Neighbours in time and neighbours in space
    are alike: variances over blocks and over tiles add up, less that over their crossings, which both hold
    (Cameron, Gelbach & Miller 2011, 10.1198/jbes.2010.07136); blocks - 1 degrees of freedom.
    """
    own = sum_by_block(errors, blocks)  # (blocks, tiles)
    other = sum_by_block(reference, blocks)
    observed = (other.sum(axis=1) > 0) | (own.sum(axis=1) > 0)
    own = own[observed]
    other = other[observed]
    count = len(own)
    if count < FEWEST_BLOCKS or not (own.sum() > 0 and other.sum() > 0):
        return NOTHING
    over_dates = jackknife_variance(own.sum(axis=1), other.sum(axis=1))
    over_tiles = jackknife_variance(own.sum(axis=0), other.sum(axis=0))
    over_crossings = jackknife_variance(own.ravel(), other.ravel())
    variance = over_dates + max(over_tiles - over_crossings, 0.0)
    if not np.isfinite(variance):
        return NOTHING
    log_ratio = np.log(own.sum() / other.sum())
    reach = stdtrit(count - 1, 0.5 + LEVEL / 2) * np.sqrt(variance)
    return float(1 - np.exp(log_ratio + reach)), float(1 - np.exp(log_ratio - reach))


def effective_dates(values: np.ndarray, steps: np.ndarray) -> float:
    """Return how many independent dates tell as much as these, between 1 and their number; NaN without any.

    values : a score, or a difference of scores, of each date (N,). steps : number of each date's step, rising (N,).
    n (1 - r) / (1 + r), r the correlation of neighbouring steps (Wilks 2011, Statistical Methods, section 5.2.4), of
    which a short series shows (1 + 4 r) / n too little (Kendall 1954, 10.1093/biomet/41.3-4.403); never below 0. Few
    pairs of neighbours tell little of r: it is shrunk to 0 as if PRIOR_PAIRS more had none.
    """
    count = len(values)
    if count == 0:
        return float("nan")
    centred = values - values.mean()
    neighbours = np.flatnonzero(np.diff(steps) == 1)
    variance = (centred**2).mean()
    if len(neighbours) == 0 or variance <= 0:
        return float(count)
    measured = (centred[neighbours] * centred[neighbours + 1]).mean() / variance
    unbiased = measured + (1 + 4 * measured) / count
    trusted = len(neighbours) / (len(neighbours) + PRIOR_PAIRS)
    correlation = trusted * np.clip(unbiased, 0, 1)
    return float(max(1.0, count * (1 - correlation) / (1 + correlation)))


def worst_date_share(errors: np.ndarray) -> float:
    """Return the share of the worst date in a sum of errors (dates,) >= 0; NaN without any error."""
    total = errors.sum()
    if total > 0:
        return float(errors.max() / total)
    return float("nan")
