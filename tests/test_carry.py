"""What a region's departure is, and what part of it carries over, on series whose answer is known beforehand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import expit, logit
from test_models import sample

from DeepLearning.data.base import Memory
from DeepLearning.data.glacier import Glacier, training_thresholds
from DeepLearning.data.region import Region
from DeepLearning.models import UNet
from DeepLearning.training import carry
from glacier import distribution
from glacier.patches.split import split_windows
from glacier.patches.windows import Series
from glacier.seasons import step_date

YEARS, A_YEAR, SIDE = 10, 12, 32


def region(pixels: int = 64) -> Region:
    """Return the region of a square scene of which nothing but its size is known."""
    glacier = SimpleNamespace(
        shape=(pixels, pixels), thresholds=distribution.thresholds(True), floor=0.3
    )
    return Region(glacier)


@pytest.mark.parametrize("shift", [-1.5, 0.0, 1.0])
def test_the_shift_of_a_scene_is_found(shift):
    """Values drawn from a function moved by a known shift; what is sure tells nothing and changes nothing."""
    random = np.random.default_rng(0)
    scene = region()
    function = np.sort(random.random((len(scene.levels), 1, 4096)), axis=0)
    function[:, :, :2000] = np.repeat([[0.0], [1.0]], 1000, axis=1).reshape(1, 1, 2000)
    odds = logit(function.clip(1e-6, 1 - 1e-6))
    below = random.random((1, 1, 4096)) < expit(odds + shift)
    departure = scene.fit(odds, below)
    assert departure.shift[0] == pytest.approx(0.85 * shift, abs=0.1)  # the prior holds it near 0
    sure = scene.fit(odds[..., :2000], below[..., :2000])
    assert sure.shift[0] == pytest.approx(0, abs=1e-3)
    assert sure.weight[0] < 1e-3 * departure.weight[0]


def series(carries: bool) -> np.ndarray:
    """Return monthly maps (T, 1, H, W) of a slope whose snow line departs from the usual one as a whole.

    carries : departures keep 0.8 a month; else they are the same ones in random order.
    """
    random = np.random.default_rng(5)
    months = YEARS * A_YEAR
    line = 0.5 - 0.35 * np.cos(2 * np.pi * np.arange(months) / A_YEAR)
    departures = np.zeros(months)
    for month in range(1, months):
        departures[month] = 0.8 * departures[month - 1] + 0.08 * random.standard_normal()
    if not carries:
        departures = random.permutation(departures)
    height = np.linspace(0, 1, SIDE)[:, None] + 0.05 * random.standard_normal((SIDE, SIDE))
    snow = height > (line + departures)[:, None, None]
    noise = 0.03 * random.standard_normal((months, SIDE, SIDE))
    return (np.where(snow, 0.75, 0.05) + noise).astype(np.float32)[:, None]


class Made(Glacier):
    """A made series (T, 1, H, W), split as createPatches does, without any file."""

    def __init__(self, values: np.ndarray):
        months = len(values)
        self.name, self.whole, self.memory = "made", False, Memory()
        self.sequence_length, self.horizon, self.floor = 4, 2, 0.3
        self.thresholds = training_thresholds(distribution.thresholds(True), self.floor)
        observed = np.random.default_rng(4).random((months, SIDE, SIDE)) > 0.2
        dates = tuple(str(step_date(2013 * A_YEAR + month, A_YEAR)) for month in range(months))
        clipped = np.where(values < self.floor, np.float32(0), values)
        self.series = Series(clipped, observed, dates, A_YEAR, ("ndsi",), "", (), values)
        parts = split_windows(months, self.sequence_length, self.horizon, 0.2, 0.1, A_YEAR)
        windows = [SimpleNamespace(part=part, start=start) for start, part in enumerate(parts)]
        self.patches = SimpleNamespace(windows=windows, split=SimpleNamespace(block=None))


def test_what_the_region_carries_is_earned():
    glacier = Made(series(carries=True))
    earned = carry.earned_carry([glacier])
    assert earned[0] > 0.25
    assert carry.earned_carry([glacier, glacier]) == pytest.approx(earned, rel=0.02)  # no new dates
    # an early spring is followed by an early summer: the expected shift has the sign of the last one
    target = len(glacier.series.dates) - 12
    origin = glacier.origin(target - glacier.sequence_length)
    last = glacier.region.departure(target - 1, target - 1)
    expected = glacier.region.expected(origin, target)
    assert np.sign(expected) == np.sign(last.shift)
    later = glacier.region.expected(origin, target + 1)
    days = (glacier.middle(target + 1) - glacier.middle(target)).days
    assert later == pytest.approx(expected * np.exp(-days / 45), rel=1e-5)


def test_what_does_not_carry_over_earns_nothing():
    glacier = Made(series(carries=False))
    assert carry.earned_carry([glacier]).tolist() == [0, 0]


def test_noise_in_the_future_changes_no_departure():
    """Noise in the last fifth: what the region carries, and each expected departure before it, are equal bit by bit."""
    values = series(carries=True)
    poisoned = values.copy()
    end = len(values) - round(0.2 * len(values))
    noise = np.random.default_rng(9).uniform(-1, 1, values[end:].shape)
    poisoned[end:] = noise
    answers = []
    for maps in (values, poisoned):
        glacier = Made(maps)
        origin = glacier.origin(end - glacier.sequence_length)
        answers.append([*carry.earned_carry([glacier]), *glacier.region.expected(origin, end)])
    assert answers[0] == answers[1]


def test_the_factor_leaves_the_regions_part():
    """With factor 0 a network says climatology moved by the carried departure, and by nothing else."""
    inputs, context = sample()
    network = UNet(16, 1, 4, 3, widths=(4, 4))
    torch.nn.init.constant_(network.project.bias, 0.7)
    network.factor.zero_()
    network.region_carry.copy_(torch.tensor([0.5, 0.25, 0.0]))
    shift, log_stretch = network.earned(inputs, context)
    expected = torch.tensor([0.5, 0.25, 0.0]).view(-1, 1, 1, 1) * context.shift
    assert torch.allclose(shift, expected.expand_as(shift), atol=1e-6)
    assert not log_stretch.any()
    network.factor.fill_(1)
    trained, _ = network.earned(inputs, context)
    assert torch.allclose(trained, expected + 0.7, atol=1e-5)
