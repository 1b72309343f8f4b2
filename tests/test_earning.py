"""What a network earns: which years decide what, the factor by hand, and series whose answer is known beforehand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from toy import settings, write_glacier

import config
from DeepLearning.data.batches import Glaciers
from DeepLearning.data.glacier import Glacier
from DeepLearning.training import checkpoints, earning, run_folders, session
from DeepLearning.trainUNet import Settings as UNetSettings
from DeepLearning.trainUNet import build as build_unet
from glacier.patches.split import split_windows
from glacier.storage import runner

pytestmark = pytest.mark.usefixtures("one_thread", "no_pictures")


# ── Which years decide what ──────────────────────────────────────────────────────────────────────────────────────


def glacier_of(steps: int, a_year: int, validation: float):
    """Return what deal_years reads of a glacier."""
    parts = split_windows(steps, 3, 2, 0.2, validation, a_year)
    windows = [SimpleNamespace(part=part) for part in parts]
    return SimpleNamespace(
        patches=SimpleNamespace(windows=windows),
        series=SimpleNamespace(dates=("",) * steps, steps_per_year=a_year),
        sequence_length=3,
        horizon=2,
    )


@pytest.mark.parametrize(
    ("steps", "validation", "stopping", "earning_years"),
    [(240, 0.2, 2, 2), (240, 0.23, 2, 3), (360, 0.2, 3, 3)],
)
def test_no_year_stops_the_training_and_earns_as_well(steps, validation, stopping, earning_years):
    years = earning.deal_years(glacier_of(steps, 12, validation))
    assert (len(years.stopping), len(years.earning)) == (12 * stopping, 12 * earning_years)
    assert not years.stopping & years.earning
    assert years.years == stopping + earning_years
    end = steps - round(0.2 * steps)
    assert max(years.earning) == end - 1
    assert min(years.stopping | years.earning) == end - 12 * years.years


@pytest.mark.parametrize(("steps", "validation", "earning_years"), [(60, 0.1, 1), (120, 0.3, 3)])
def test_a_year_held_back_from_training_stops_it_where_validation_has_few(
    steps, validation, earning_years
):
    glacier = glacier_of(steps, 12, validation)
    years = earning.deal_years(glacier)
    assert len(years.earning) == 12 * earning_years
    end = min(years.earning)
    assert sorted(years.stopping) == list(range(end - 12, end))
    assert years.held_back == years.reported == years.stopping


def test_two_years_of_targets_are_needed_to_hold_one_back():
    """Five years of seasons, two of them test, one validation, inputs of a year: hardly a year of targets."""
    windows = [SimpleNamespace(part=part) for part in split_windows(20, 4, 2, 0.4, 0.1, 4)]
    glacier = SimpleNamespace(
        patches=SimpleNamespace(windows=windows),
        series=SimpleNamespace(dates=("",) * 20, steps_per_year=4),
        sequence_length=4,
        horizon=2,
    )
    years = earning.deal_years(glacier)
    assert not years.stopping
    assert not years.held_back
    assert sorted(years.earning) == [8, 9, 10, 11]


def test_below_four_years_validation_decides_nothing():
    years = earning.deal_years(glacier_of(47, 12, 0.3))
    assert (years.years, years.stopping, years.earning) == (0, frozenset(), frozenset())
    assert len(years.reported) == 14


# ── The factor ───────────────────────────────────────────────────────────────────────────────────────────────────


def scores_of(gains, blocks, pixels=None) -> earning.Scores:
    """Scores whose climatology is 1 a pixel, with these gains a pixel of origins (N,), one lead time."""
    gains = np.array(gains, float)[:, None]
    pixels = np.ones_like(gains) if pixels is None else np.array(pixels, float)[:, None]
    return earning.Scores(np.array(blocks), pixels * (1 - gains), pixels, pixels, pixels)


def test_the_factor_by_hand():
    """Gains 0.1, 0.2, 0.3, 0.4 in four blocks: mean 0.25, standard error 0.0645."""
    error = np.std([0.1, 0.2, 0.3, 0.4], ddof=1) / 2
    expected = 1 - (2 * error / 0.25) ** 2
    scores = scores_of([0.1, 0.2, 0.3, 0.4], [5, 6, 7, 8])
    assert earning.earned_factor(scores) == pytest.approx([expected])
    # two origins of a block are one block: their mean counts
    halves = scores_of([0.0, 0.2, 0.2, 0.3, 0.4], [5, 5, 6, 7, 8])
    halves.pixels[:2] = halves.climatology[:2] = 0.5
    halves.network[:2] = 0.5 * (1 - np.array([[0.0], [0.2]]))
    assert earning.earned_factor(halves) == pytest.approx([expected])


@pytest.mark.parametrize(
    ("gains", "blocks"),
    [
        ([0.3, 0.3, 0.3], [1, 2, 3]),  # fewer than four blocks
        ([0.3, 0.3, 0.3, 0.3, 0.3], [1, 1, 2, 2, 3]),
        ([-0.3, -0.3, -0.3, -0.3], [1, 2, 3, 4]),  # a sure loss
        ([0.9, -0.2, 0.1, -0.1], [1, 2, 3, 4]),  # a gain of one date
        ([0.0, 0.0, 0.0, 0.0], [1, 2, 3, 4]),
    ],
)
def test_what_is_not_earned(gains, blocks):
    assert earning.earned_factor(scores_of(gains, blocks)) == [0]


def test_blocks_without_an_observed_pixel_do_not_count():
    scores = scores_of([0.3, 0.3, 0.3, 0.3], [1, 2, 3, 4], pixels=[9, 9, 9, 0])
    assert earning.earned_factor(scores) == [0]
    scores = scores_of([0.3, 0.3, 0.3, 0.3], [1, 2, 3, 4], pixels=[9, 9, 9, 1])
    assert earning.earned_factor(scores) == pytest.approx([1])


def test_leads_count_only_where_their_own_target_does(toy):
    """The steps that earn are a year of the toy; windows across its border give the lead times that lie inside."""
    glacier = Glacier(settings(), coarse=True)
    glaciers, steps = Glaciers([glacier]), earning.deal_years(glacier).earning
    assert sorted(steps) == [18, 19, 20, 21]
    windows = earning.scored_windows(glaciers, [steps])
    assert [(window, leads) for _, window, leads in windows] == [
        (13, [False, True]),
        (14, [True, True]),
        (15, [True, True]),
        (16, [True, True]),
        (17, [True, False]),
    ]
    from DeepLearning.trainAttentionLSTM import build

    network = build(settings(), 1)
    torch.nn.init.constant_(network.project.bias, 0.3)
    scores = earning.score(network, glaciers, [steps], 8, torch.device("cpu"), factor=False)
    assert (scores.pixels > 0).tolist() == [leads for _, _, leads in windows]
    samples = glaciers.samples_of(0, [14], covering=True)
    batch = glaciers.batch(samples)
    assert scores.pixels[1].tolist() == batch.observed.sum(dim=(0, 2, 3, 4)).tolist()
    network.factor.fill_(0)
    nothing = earning.score(network, glaciers, [steps], 8, torch.device("cpu"), factor=True)
    assert nothing.network == pytest.approx(nothing.climatology)
    assert scores.climatology == pytest.approx(nothing.climatology)
    assert not np.allclose(scores.network, nothing.network)


# ── Made series: skill gets through, chance does not ─────────────────────────────────────────────────────────────


YEARS, A_YEAR, SIDE = 8, 12, 32
MOVES = 2  # px a month


def snow_line_series(shuffled: bool) -> np.ndarray:
    """Return monthly maps (T, 1, H, W) of snow fields of random width that are carried along, MOVES px a month.

    Where the next field comes from is known a few months ahead, but not to the pixel itself: nothing of its own past
    tells. shuffled : the maps in random order, so that nothing is carried on; each map stays as it is.
    """
    random = np.random.default_rng(3)
    months = YEARS * A_YEAR
    widths = random.integers(5, 14, 200)
    fields = np.repeat(np.arange(len(widths)) % 2, widths)  # bare and white in turn, along the way
    starts = MOVES * np.arange(months)[::-1]
    snow = np.stack([fields[start : start + SIDE] for start in starts])[:, None, :] > 0
    if shuffled:
        snow = random.permutation(snow)
    noise = 0.03 * random.standard_normal((months, SIDE, SIDE))
    values = np.where(snow, 0.75, 0.05) + noise
    return values.astype(np.float32)[:, None]


def train_on(home, values, **more) -> tuple[dict, dict]:
    """Train a small U-Net on a series; return its counts and its best checkpoint."""
    observed = np.random.default_rng(4).random((len(values), SIDE, SIDE)) > 0.2
    write_glacier(home, "line", values, observed, A_YEAR, stride=16, validationFraction=0.2)
    knobs = {"epochs": 12, "samplesPerEpoch": 160, "learningRate": 1e-2, "widths": (8, 8)}
    cfg = config.load(UNetSettings, name="line", wandb="disabled", **(knobs | more))
    session.train(cfg, build_unet)
    run = run_folders.list_runs()[-1]
    return runner.read_manifest(run)["counts"], checkpoints.read(run / "best.pt")


def test_skill_gets_through_where_there_is_some(tmp_path, monkeypatch):
    """What lies within a patch can be known but for the noise; what comes into it cannot: 2 and 4 px of its 16."""
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    counts, _ = train_on(tmp_path, snow_line_series(shuffled=False))
    scores = counts["crps"]["validation"]
    attainable = (1 - (MOVES + 2 * MOVES) / 2 / 16) * scores["climatology"]
    assert min(counts["factor"]) > 0.5
    assert scores["climatology"] - scores["network"] > 0.6 * attainable
    assert not counts["stayed_at_start"]


def test_with_the_years_shuffled_nothing_is_earned(tmp_path, monkeypatch):
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    counts, saved = train_on(tmp_path, snow_line_series(shuffled=True))
    assert counts["factor"] == [0, 0]
    assert counts["stayed_at_start"]
    assert counts["crps"]["validation"]["network"] == counts["crps"]["validation"]["climatology"]
    assert saved["weights"]["factor"].tolist() == [0, 0]


def test_noise_in_the_future_changes_nothing_that_is_learnt(tmp_path, monkeypatch):
    """The last fifth of the composites overwritten: weights, factor and climatology are the same, bit by bit."""
    values = snow_line_series(shuffled=False)
    poisoned = values.copy()
    end = len(values) - round(0.2 * len(values))
    poisoned[end:] = np.random.default_rng(9).uniform(-1, 1, poisoned[end:].shape)
    saved, functions = [], []
    for name, series in (("clean", values), ("poisoned", poisoned)):
        monkeypatch.setenv("GLACIER_HOME", str(tmp_path / name))
        _, best = train_on(tmp_path / name, series, epochs=3)
        saved.append(best["weights"])
        glacier = Glacier(config.load(UNetSettings, name="line"))
        functions.append([glacier.base.distribution(30, None), glacier.base.distribution(end, end)])
    assert saved[0]["factor"].max() > 0
    for name, weights in saved[0].items():
        assert torch.equal(weights, saved[1][name]), name
    for one, other in zip(*functions, strict=True):
        assert np.array_equal(one, other)
