"""Scores of whole windows, on a series whose values encode their dates: what belongs where is known beforehand."""

from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from DeepLearning import evaluate
from DeepLearning.training import networks
from DeepLearning.verification import regions, scoring, tables
from DeepLearning.verification.diagnosis import Diagnosis, pixel_bands, rank_sums, sample_pixels
from DeepLearning.verification.scoring import (
    COLUMNS,
    origins_of_all_years,
    rolling_rows,
    rows_of,
    score,
)
from glacier import console, distribution
from glacier.seasons import step_date

SIDE, STEPS, HORIZON, INPUTS = 20, 36, 2, 4
CPU = torch.device("cpu")


def value_of(step):
    """The value of a step, alike for all pixels: tells its month and year, and lies between 0.46 and 0.86."""
    return 0.46 + 0.035 * (step % 12) + 0.005 * (step // 12)


class MonthlyGlacier:
    """A glacier of 36 months; what scoring asks of one, without files. The right half is the kept-out block."""

    def __init__(self, channels=("ndsi",), floor=0.3):
        values = np.array([value_of(step) for step in range(STEPS)], np.float32)
        frames = np.broadcast_to(values[:, None, None, None], (STEPS, len(channels), SIDE, SIDE))
        observed = np.ones((STEPS, SIDE, SIDE), bool)
        self.series = SimpleNamespace(
            values=frames.copy(),
            unclipped=frames.copy(),
            observed=observed,
            channels=channels,
            steps_per_year=12,
            dates=tuple(str(self.date(step)) for step in range(STEPS)),
        )
        parts = np.full((4, 4), "gap", dtype=object)
        parts[:, 0] = "train"
        parts[:, 3] = "block"
        self.patches = SimpleNamespace(patch_parts=parts)
        self.stride, self.patch_size, self.shape = 5, 5, (SIDE, SIDE)
        self.sequence_length, self.horizon, self.floor = INPUTS, HORIZON, floor
        self.x = distribution.thresholds(ndsi=channels == ("ndsi",))

    def date(self, step):
        return step_date(2015 * 12 + step, 12)

    def middle(self, step):
        return self.date(step) + timedelta(days=14)

    def training_steps(self):
        return 24

    def forecast_bands(self, forecaster, first, device):
        F = torch.from_numpy(forecaster(self, first))
        yield slice(0, 7), F[..., :7, :]
        yield slice(7, SIDE), F[..., 7:, :]


def certain(glacier, values):
    """F (horizon, K, C, H, W) of forecasts that are nearly sure of values (horizon,) or (horizon, H, W)."""
    maps = np.broadcast_to(np.array(values).reshape(HORIZON, -1, 1, 1, 1), (HORIZON, 1, 1, 1, 1))
    channels = len(glacier.series.channels)
    maps = np.broadcast_to(maps, (HORIZON, 1, channels, SIDE, SIDE))
    width = 0.06  # wider than what lies between two thresholds
    return ((glacier.x[:, None, None, None] - maps) / width + 0.5).clip(0, 1).astype(np.float32)


def targets(first):
    return np.arange(first + INPUTS, first + INPUTS + HORIZON)


def perfect(glacier, first):
    return certain(glacier, value_of(targets(first)))


def last_input(glacier, first):
    return certain(glacier, [value_of(first + INPUTS - 1)] * HORIZON)


def climatology(glacier, first):
    """The same month a year before."""
    return certain(glacier, value_of(targets(first) - 12))


FORECASTERS = {"climatology": climatology, "perfect": perfect, "last input": last_input}
FIRSTS = range(20, 31)  # targets: steps 24 to 35


def select(rows, **wanted):
    return [row for row in rows if wanted.items() <= row.items()]


def rows_for(glacier, forecasters=FORECASTERS, **wanted):
    return select(rows_of(score(glacier, forecasters, CPU, FIRSTS), glacier), **wanted)


@pytest.fixture(scope="module")
def plain_rows():
    """The rows of all forecasters on the glacier as it is. Do not change them."""
    return rows_for(MonthlyGlacier())


def test_rows_have_the_columns_of_the_file(plain_rows):
    rows = plain_rows
    assert all(tuple(row) == COLUMNS for row in rows)
    assert {row["region"] for row in rows} == {"seen", "block"}  # nobody is in doubt about snow


def test_each_forecast_meets_the_truth_of_its_date(plain_rows):
    """Bias by lead and method from the values of the dates themselves; the window's dates, no step before or after."""
    for lead in (1, 2):
        rows = select(plain_rows, region="seen", lead=lead)
        bias = {row["method"]: row["bias"] for row in rows}
        steps = np.array(FIRSTS) + INPUTS + lead - 1
        assert bias["perfect"] == pytest.approx(0, abs=0.01)
        assert bias["climatology"] == pytest.approx(-0.005, abs=0.01)
        expected = (value_of(np.array(FIRSTS) + INPUTS - 1) - value_of(steps)).mean()
        assert bias["last input"] == pytest.approx(expected, abs=0.01)
        likeness = {row["method"]: row["ssim"] for row in rows}
        assert likeness["perfect"] > 0.999 > likeness["last input"]
        assert {row["dates"] for row in rows} == {11}
    (row,) = select(plain_rows, region="seen", lead="all", season="all", method="perfect")
    assert row["dates"] == 12


def test_seasons_hold_their_own_months():
    """A forecast that is wrong in December to February only has its error in that season's row, and in no other."""

    def wrong_in_winter(glacier, first):
        winter = np.isin(targets(first) % 12, (11, 0, 1))
        return certain(glacier, value_of(targets(first)) - 0.1 * winter)

    forecasters = FORECASTERS | {"wrong": wrong_in_winter}
    rows = rows_for(MonthlyGlacier(), forecasters, region="seen", lead="all", method="wrong")
    errors = {row["season"]: abs(row["bias"]) for row in rows}
    assert errors.pop("Dec-Feb") == pytest.approx(0.1, abs=0.01)
    errors.pop("all")
    assert sorted(errors) == ["Jun-Aug", "Mar-May", "Sep-Nov"]
    assert max(errors.values()) < 0.01


def test_only_observed_pixels_of_the_region_count(plain_rows):
    """Garbage where nothing was observed, and in the other region, changes no row of a region."""
    plain = select(plain_rows, region="seen", lead=1, method="perfect")
    glacier = MonthlyGlacier()
    glacier.series.observed[:, 3:9, :] = False
    glacier.series.unclipped[:, :, 3:9, :] = np.nan
    glacier.series.unclipped[:, :, :, 15:] = -0.5
    changed = rows_for(glacier, region="seen", lead=1, method="perfect")
    for name in ("crps", "mse", "ssim", "bias", "coverage_90"):
        assert changed[0][name] == pytest.approx(plain[0][name], abs=1e-6)


def test_a_date_without_any_observation_is_no_date():
    glacier = MonthlyGlacier()
    glacier.series.observed[26] = False
    (row,) = rows_for(glacier, region="seen", lead=1, method="perfect")
    assert row["dates"] == 10


def test_skill_and_its_interval(plain_rows):
    """Eleven months are four blocks: no interval. A whole year and a half is six: one, and it holds the skill."""
    (row,) = select(plain_rows, region="seen", lead=1, method="last input")
    rows = select(plain_rows, region="seen", lead=1, method="climatology")
    assert row["crpss"] == pytest.approx(1 - row["crps"] / rows[0]["crps"])
    assert np.isnan([row["crpss_low"], row["crpss_high"]]).all()
    glacier = MonthlyGlacier()
    scored = score(glacier, FORECASTERS, CPU, range(13, 31))
    (row,) = [
        row
        for row in scored.rows("seen")
        if row["method"] == "last input" and row["lead"] == 1 and row["season"] == "all"
    ]
    assert row["crpss_low"] < row["crpss"] < row["crpss_high"] <= 1


def test_the_stratum_in_doubt_follows_climatology_never_the_truth():
    """Climatology gives the upper half of the rows half a chance of snow: those count, whatever came."""

    def doubtful(glacier, first):
        F = certain(glacier, [0.9] * HORIZON)
        half = np.linspace(0, 1, len(glacier.x), dtype=np.float32)[:, None, None, None]
        F[..., :10, :] = half
        return F

    rows = rows_for(MonthlyGlacier(), FORECASTERS | {"climatology": doubtful}, lead=1)
    doubt = [row for row in rows if row["region"] == regions.IN_DOUBT]
    assert {row["method"] for row in doubt} == set(FORECASTERS)
    glacier = MonthlyGlacier()
    glacier.series.unclipped[:, :, 10:] = 0.1  # only the lower half changes
    changed = rows_for(glacier, FORECASTERS | {"climatology": doubtful}, lead=1)
    for old, new in zip(rows, changed, strict=True):
        same = old["crps"] == pytest.approx(new["crps"])
        assert same == (old["region"] == regions.IN_DOUBT)


def test_similarity_in_bands_of_rows_is_that_of_the_whole_map(monkeypatch):
    random = np.random.default_rng(0)
    glacier = MonthlyGlacier()
    glacier.series.unclipped[:] = random.random(glacier.series.unclipped.shape)
    glacier.series.observed[:] = random.random(glacier.series.observed.shape) < 0.8
    judge = scoring.Judge(glacier, CPU)
    window = scoring.window_at(glacier, 20)
    means = random.random(window.truth.shape).astype(np.float32)
    classes = regions.classes_of(judge.tiles, window.observed, np.zeros_like(window.observed))
    whole = judge.similarity(means, window, classes, 1)
    assert whole.any()
    monkeypatch.setattr(scoring, "SIMILAR_ROWS", 3)
    assert judge.similarity(means, window, classes, 1) == pytest.approx(whole, rel=1e-12)


def test_similarity_is_to_what_the_patches_hold():
    """A truth below snowThreshold counts as 0, as in the patches."""
    random = np.random.default_rng(0)
    glacier, clipped = MonthlyGlacier(), MonthlyGlacier()
    values = random.random(glacier.series.unclipped.shape).astype(np.float32)
    glacier.series.unclipped[:] = values
    clipped.series.unclipped[:] = np.where(values < glacier.floor, 0, values)
    means = random.random((HORIZON, 1, SIDE, SIDE)).astype(np.float32)
    sums = []
    for one in (glacier, clipped):
        judge = scoring.Judge(one, CPU)
        window = scoring.window_at(one, 20)
        classes = regions.classes_of(judge.tiles, window.observed, np.zeros_like(window.observed))
        sums.append(judge.similarity(means, window, classes, 1))
    assert sums[0] == pytest.approx(sums[1], abs=1e-12)


def test_the_span_of_colours_knows_no_test():
    glacier = MonthlyGlacier(("red", "green", "blue"), None)
    before = scoring.span(glacier)
    glacier.series.values[glacier.training_steps() :] += 100
    assert scoring.span(glacier) == before > 0


def test_a_region_holds_its_pixels_in_doubt_too():
    """Half of the region is in doubt: its sums are those of both halves."""
    sums = np.zeros((1, regions.CLASSES, 1))
    sums[0, :, 0] = np.arange(regions.CLASSES)
    seen = regions.region_sums(sums, "seen")[0, :, 0]
    block = regions.region_sums(sums, "block")[0, :, 0]
    numbers = np.arange(25)
    assert np.array_equal(seen, numbers + numbers + 50)
    assert np.array_equal(block, numbers + 25 + numbers + 75)
    assert np.array_equal(regions.region_sums(sums, regions.IN_DOUBT)[0, :, 0], numbers + 50)


def test_the_factor_of_a_network_stands_in_its_rows(plain_rows):
    def network(glacier, first):
        return perfect(glacier, first)

    network.factor = torch.tensor([0.25, 0.75])
    forecasters = {"climatology": climatology, "network": network}
    rows = rows_for(MonthlyGlacier(), forecasters, method="network")
    factors = {row["lead"]: row["factor"] for row in rows}
    assert factors == {1: 0.25, 2: 0.75, "all": 0.5}
    assert np.isnan(select(plain_rows, method="perfect")[0]["factor"])


def test_colours_have_no_snow_and_their_own_span():
    """Red, green and blue: no F1, no Brier score, no doubt about snow; SSIM does not change with the unit."""
    glacier = MonthlyGlacier(("red", "green", "blue"), None)
    rows = rows_for(glacier)
    assert {row["region"] for row in rows} == {"seen", "block"}
    assert np.isnan([row["f1"] for row in rows]).all()
    assert np.isnan([row["brier"] for row in rows]).all()
    assert np.isfinite([row["ssim"] for row in rows]).all()


def test_origins_of_all_years_from_the_second_to_the_end():
    """Five months apart, as 2 to 4 divide the year: no target in the first year, none after the last, all seasons."""
    glacier = MonthlyGlacier()
    firsts = list(origins_of_all_years(glacier))
    assert firsts == [8, 13, 18, 23, 28]
    rows = rolling_rows(glacier, FORECASTERS, CPU)
    wanted = {"lead": "all", "season": "all", "method": "perfect"}
    (row,) = [row for row in rows if wanted.items() <= row.items()]
    assert row["region"] == "seen, all years"
    assert row["dates"] == 10
    assert {row["season"] for row in rows} == {"all", "Dec-Feb", "Mar-May", "Jun-Aug", "Sep-Nov"}


def test_a_series_without_a_second_year_has_no_such_rows():
    glacier = MonthlyGlacier()
    glacier.series.dates = glacier.series.dates[:13]
    assert rolling_rows(glacier, FORECASTERS, CPU) == []


def test_where_nothing_was_observed_there_are_no_rows():
    glacier = MonthlyGlacier()
    glacier.series.observed[:] = False
    assert rows_for(glacier) == []


def test_tiles_of_the_regions_are_apart():
    masks = regions.region_masks(MonthlyGlacier())
    tiles = regions.numbered_tiles(masks)
    assert set(tiles[masks["seen"]]) == set(range(25))
    assert set(tiles[masks["block"]]) == set(range(25, 50))
    assert (tiles[~(masks["seen"] | masks["block"])] == -1).all()


# ── What is said ─────────────────────────────────────────────────────────────────────────────────────────────────


def row_of(**more):
    """A network's row over all lead times and seasons."""
    row = {
        "region": "seen",
        "lead": "all",
        "season": "all",
        "method": "LSTM",
        "dates": 21,
        "n_eff": 9.2,
        "crpss": 0.04,
        "crpss_low": -0.02,
        "crpss_high": 0.09,
        "factor": 0.7,
    }
    return row | more


NAN = float("nan")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({}, "is 4 % [-2, +9] better than climatology: no proof."),
        (
            {"crpss_low": 0.011},
            "is 4 % [+1, +9] better than climatology: the interval is clear of 0.",
        ),
        (
            {"crpss": -0.3, "crpss_low": -0.52, "crpss_high": -0.11},
            "is 30 % [+11, +52] worse than climatology: the interval is clear of 0.",
        ),
        (
            {"crpss": 0.012, "crpss_low": -0.004, "crpss_high": 0.02},
            "is 1.2 % [-0.4, +2.0] better than climatology: no proof.",
        ),
        (
            {"crpss_low": NAN, "crpss_high": NAN},
            "is 4 % better than climatology: no proof, for fewer than 6 three-month blocks of dates give no interval.",
        ),
        (
            {"factor": 0.0, "crpss": 0.0},
            "is climatology itself: what it added was not earned in validation.",
        ),
        ({"factor": 0.0}, "is 4 % [-2, +9] better than climatology: no proof."),  # the region's
        (
            {"crpss": NAN, "crpss_low": NAN},
            "is not to be compared with climatology, which made no error at all.",
        ),
    ],
)
def test_the_verdict_in_one_sentence(more, sentence):
    rows = [row_of(method="ridge"), row_of(**more)]
    assert tables.verdict_of(rows, "LSTM") == f"On 21 clear-sky dates (n_eff 9) LSTM {sentence}"
    assert "nothing can be said" in tables.verdict_of([], "LSTM")


def test_ten_lines_the_networks_first_then_by_crps():
    glacier = MonthlyGlacier()
    many = FORECASTERS | {f"copy {number}": last_input for number in range(12)}
    rows = rows_of(score(glacier, many, CPU, [20]), glacier)
    lines = tables.table(rows, ["copy 7"])
    assert len(lines) == 11
    assert [line[0] for line in lines[:3]] == ["method", "copy 7", "perfect"]


def test_the_skill_by_lead_time_is_short_and_that_of_the_rows():
    """The network and the best baseline, at four of twelve lead times, in percent, in a line of a hundred letters."""
    rows = []
    for lead in [*range(1, 13), "all"]:
        number = 13 if lead == "all" else lead
        one = {"lead": lead, "crpss": number / 100, "crpss_low": -0.5, "crpss_high": 0.5}
        rows.append(row_of(**one))
        rows.append(row_of(**one | {"method": "ridge", "crps": 0.5, "crpss_low": NAN}))
        rows.append(row_of(**one | {"method": "carry", "crps": 0.4, "crpss": -number / 100}))
        rows.append(row_of(**one | {"method": "climatology", "crps": 0.1}))
        rows.append(row_of(**one | {"region": "block", "crpss": 9}))
    lines = tables.skill_by_lead(rows, ["LSTM"])
    assert lines == [
        ("skill [%], 95 %", "lead 1", "lead 5", "lead 8", "lead 12", "all leads"),
        ("LSTM", *(f"+{number}.0 [-50, +50]" for number in (1, 5, 8, 12, 13))),
        ("carry", *(f"-{number}.0 [-50, +50]" for number in (1, 5, 8, 12, 13))),
    ]
    assert max(map(len, console.lines_of(lines))) <= 100
    assert "[" not in tables.percent_cell(row_of(crpss_low=NAN))


# ── Ranks, reliability, bands ────────────────────────────────────────────────────────────────────────────────────


def test_ranks_by_hand():
    """One truth at rank 0.35, one anywhere in [0, 0.5], one at the very top."""
    shares = rank_sums(np.array([0.35, 0.0, 1.0]), np.array([0.35, 0.5, 1.0]))
    assert shares == pytest.approx([0.2, 0.2, 0.2, 1.2, 0.2, 0, 0, 0, 0, 1], abs=1e-6)


def test_reliability_of_what_was_scored():
    """Snow always came and P(snow) was 1: all forecasts in the last bin, each with its event; the block left out."""
    diagnosed = {"perfect": Diagnosis()}
    score(MonthlyGlacier(), FORECASTERS, CPU, [20], diagnosed)
    table = diagnosed["perfect"].reliability
    pixels = SIDE * 5 * HORIZON
    assert table[-1] == pytest.approx([pixels] * 3)
    assert diagnosed["perfect"].ranks.sum() == pytest.approx(pixels)


def test_sample_pixels_go_from_low_to_high():
    values = np.broadcast_to(np.arange(100.0).reshape(10, 10), (3, 10, 10))
    observed = np.ones((3, 10, 10), bool)
    observed[1:, 0] = False
    mask = np.ones((10, 10), bool)
    places = sample_pixels(values, observed, mask)
    means = values[0][tuple(places.T)]
    assert (np.diff(means) > 0).all()
    assert (places[:, 0] > 0).all()


def test_bands_of_a_pixel():
    F = np.zeros((2, 33, 1, 4, 5), np.float32)
    x = distribution.thresholds(ndsi=True)
    F[:] = (x >= 0.5)[:, None, None, None]
    F[0, :, 0, 2, 3] = np.linspace(0, 1, 33)
    bands = pixel_bands(F, np.array([[2, 3], [0, 0]]), x, None)
    assert bands[2] == pytest.approx([x[16], 0.475], abs=0.01)
    assert bands[:, 0] == pytest.approx(
        np.interp([0.05, 0.25, 0.5, 0.75, 0.95], F[0, :, 0, 2, 3], x), abs=1e-4
    )


def test_networks_at_their_start_stand_together_where_they_forecast_the_same(monkeypatch):
    """Four networks: one that earned something, two that carry the same, one that carries more."""
    made = {
        "SimVP": ([0.5, 0.0], [0.1, 0.0]),
        "LSTM": ([0.0, 0.0], [0.1, 0.0]),
        "UNet": ([0.0, 0.0], [0.1, 0.0]),
        "ConvLSTM": ([0.0, 0.0], [0.3, 0.0]),
    }

    def load(run, device):
        factor, carry = (torch.tensor(part) for part in made[run])
        return SimpleNamespace(name=run, factor=factor, region_carry=carry)

    monkeypatch.setattr(networks, "load_network", load)
    monkeypatch.setattr(evaluate.choice, "labels_of", lambda runs: {run: run for run in runs})
    loaded = evaluate.load_networks(list(made), torch.device("cpu"))
    assert {label: network.name for label, network in loaded.items()} == {
        "SimVP": "SimVP",
        "LSTM, UNet (at start)": "LSTM",
        "ConvLSTM (at start)": "ConvLSTM",
    }
