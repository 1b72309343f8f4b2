"""Intervals, effective numbers and blocks against numbers known beforehand."""

from datetime import date

import numpy as np
import pytest
from scipy.stats import t as student

from DeepLearning.verification import intervals
from DeepLearning.verification.intervals import date_blocks, effective_dates, skill_interval


def test_blocks_are_quarters_of_the_calendar():
    days = [date(2019, 12, 31), date(2020, 1, 1), date(2020, 3, 31), date(2020, 4, 1)]
    first, *others = date_blocks(days)
    assert [block - first for block in others] == [1, 1, 2]


def test_interval_by_hand():
    """Six blocks in one tile: the jackknife written out; the interval stays below 1."""
    errors = np.array([1.0, 2.0, 1.5, 0.5, 1.0, 3.0])
    reference = np.array([2.0, 2.5, 1.0, 1.0, 2.0, 4.0])
    ratios = []
    for left_out in range(6):
        kept = np.arange(6) != left_out
        ratios.append(np.log(errors[kept].sum() / reference[kept].sum()))
    variance = 5 / 6 * np.sum((np.array(ratios) - np.mean(ratios)) ** 2)
    reach = student.ppf(0.975, 5) * np.sqrt(variance)
    middle = np.log(errors.sum() / reference.sum())
    low, high = skill_interval(errors[:, None], reference[:, None], np.arange(6))
    assert low == pytest.approx(1 - np.exp(middle + reach))
    assert high == pytest.approx(1 - np.exp(middle - reach))


def test_dates_of_one_block_are_one_unit():
    """Twelve dates in pairs give the interval of the six sums, not a narrower one."""
    random = np.random.default_rng(0)
    errors, reference = random.gamma(2, 1, (2, 12, 4))
    blocks = np.repeat(np.arange(6), 2)
    sums = [part.reshape(6, 2, 4).sum(axis=1) for part in (errors, reference)]
    assert skill_interval(errors, reference, blocks) == pytest.approx(
        skill_interval(*sums, np.arange(6))
    )


def test_no_interval_below_six_blocks():
    """Five observed blocks give none, however many tiles, dates or empty blocks there are."""
    random = np.random.default_rng(0)
    errors, reference = random.gamma(2, 1, (2, 40, 25))
    blocks = np.arange(40) % 5
    assert np.isnan(skill_interval(errors, reference, blocks)).all()
    unobserved = np.concatenate([errors, np.zeros((3, 25))])
    other = np.concatenate([reference, np.zeros((3, 25))])
    more_blocks = np.concatenate([blocks, [5, 6, 7]])
    assert np.isnan(skill_interval(unobserved, other, more_blocks)).all()
    assert np.isfinite(skill_interval(errors, reference, np.arange(40) % 6)).all()


def test_interval_of_equal_forecasts_is_a_point():
    errors = np.random.default_rng(0).random((8, 10))
    assert skill_interval(errors, errors, np.arange(8)) == pytest.approx((0, 0), abs=1e-12)


@pytest.mark.parametrize("shared", ["dates", "tiles"])
def test_interval_covers_the_true_skill_when_errors_are_shared(shared):
    """What all tiles of a date, or all dates of a tile, have in common counts once: about 90 of 100 intervals hold.

    Tiles alone, or crossings alone, would hold the true skill less than half as often.
    """
    random = np.random.default_rng(1)
    held = 0
    shape = (12, 1) if shared == "dates" else (1, 25)
    for _ in range(400):
        common = random.gamma(4, 0.25, shape)
        reference = random.gamma(8, 1 / 8, (12, 25))
        errors = 0.5 * common * random.gamma(8, 1 / 8, (12, 25))
        low, high = skill_interval(errors, reference, np.arange(12))
        held += low <= 0.5 <= high
    assert 0.87 <= held / 400 <= 0.99


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_effective_number_of_dates(correlation):
    """An AR(1) of 200 dates is worth n (1 - r) / (1 + r) independent ones."""
    random = np.random.default_rng(0)
    numbers = []
    for _ in range(40):
        noise = random.standard_normal(200)
        series = noise.copy()
        for step in range(1, 200):
            fresh = np.sqrt(1 - correlation**2) * noise[step]
            series[step] = correlation * series[step - 1] + fresh
        numbers.append(effective_dates(series, np.arange(200)))
    expected = 200 * (1 - correlation) / (1 + correlation)
    assert np.mean(numbers) == pytest.approx(expected, rel=0.15)


def test_effective_dates_skip_gaps():
    """Only neighbouring steps are compared: every other step missing leaves no pair, and all dates count."""
    values = np.repeat([0.0, 1.0, 3.0], 4)
    assert effective_dates(values, np.arange(12)) < 7
    assert effective_dates(values, 2 * np.arange(12)) == 12
    assert np.isnan(effective_dates(np.array([]), np.array([])))
    assert effective_dates(np.ones(5), np.arange(5)) == 5


def test_worst_date():
    assert intervals.worst_date_share(np.array([1.0, 6.0, 1.0])) == 0.75
    assert np.isnan(intervals.worst_date_share(np.zeros(3)))


def test_effective_dates_by_hand():
    """1, 2, 3, 4: neighbours correlate by 1/3, to which four dates add (1 + 4/3) / 4; 3 pairs beside 4 without any."""
    correlation = 3 / (3 + 4) * (1 / 3 + (1 + 4 / 3) / 4)
    expected = 4 * (1 - correlation) / (1 + correlation)
    assert effective_dates(np.array([1.0, 2, 3, 4]), np.arange(4)) == pytest.approx(expected)
