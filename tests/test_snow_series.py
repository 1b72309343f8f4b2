"""Rows of snow.csv from maps whose area, snow line and dates are known, and runs chosen by validation."""

from datetime import date
from types import SimpleNamespace

import numpy as np
import pytest

from DeepLearning.training import choice, run_folders
from DeepLearning.verification import ahead, pictures, snow_series
from DeepLearning.verification.members import Agreement
from DeepLearning.verification.snow_series import PastStep, SnowSeries, make_ground, past_members
from glacier import distribution
from glacier.grid import Grid, centre_latitude
from glacier.seasons import step_date
from glacier.storage import disk, runner

SIDE, MEMBERS = 20, 20
TRANSFORM = (30.0, 0.0, 600015.0, 0.0, -30.0, 3500025.0)
SQUARE = 30.0**2 * SIDE**2 / 1e6  # km2 of the scene


def quarter(step):
    """First day of a quarter, counted from October 2015."""
    return step_date(2015 * 4 + 3 + step, 4)


def ground(elevation=None, ice=None):
    return make_ground((SIDE, SIDE), TRANSFORM, elevation, ice, southern=False)


def slope():
    """Elevation that rises by 10 m a row, from 3000 m."""
    return 3000.0 + 10 * np.arange(SIDE)[:, None] + np.zeros((1, SIDE))


def snow_above(row):
    return np.arange(SIDE)[:, None] >= row + np.zeros((1, SIDE))


def rows_of_a_year(ice=None):
    """A winter of full snow, a summer whose snow lies above row 10 in half of the members and row 12 in the others."""
    series = SnowSeries(quarter, (SIDE, SIDE), ground(slope(), ice), MEMBERS)
    for step in range(3):
        series.add("past", step, [snow_above(0)] * MEMBERS, 400)
    summer = [snow_above(10 + 2 * (member % 2)) for member in range(MEMBERS)]
    series.add("forecast", 3, summer, 0)
    return series.rows


def select(rows, quantity):
    return [row for row in rows if row["quantity"] == quantity]


def test_area_and_snow_line_of_each_step():
    rows = rows_of_a_year()
    areas = select(rows, "snow_covered_area")
    assert [row["part"] for row in areas] == ["past", "past", "past", "forecast"]
    assert areas[0]["p5"] == areas[0]["p95"] == pytest.approx(SQUARE)
    assert areas[3]["p5"] == pytest.approx(0.4 * SQUARE)
    assert areas[3]["p95"] == pytest.approx(0.5 * SQUARE)
    assert (areas[3]["first_day"], areas[3]["last_day"]) == ("2016-07-01", "2016-09-30")
    assert [row["observed_pixels"] for row in areas] == [400, 400, 400, 0]
    lines = select(rows, "snow_line")
    assert lines[3]["p5"] == pytest.approx(3095)
    assert lines[3]["p95"] == pytest.approx(3115)


def test_a_hydrological_year_that_the_forecast_completes():
    ice = snow_above(5)
    rows = rows_of_a_year(ice)
    (days,) = select(rows, "snow_cover_days")
    assert days["part"] == "forecast"
    assert (days["first_day"], days["last_day"]) == ("2015-10-01", "2016-09-30")
    assert days["observed_pixels"] == 1200
    assert days["p5"] == pytest.approx(274 + 0.4 * 92)
    assert days["p95"] == pytest.approx(274 + 0.5 * 92)
    assert select(rows, "first_snow_day")[0]["p50"] == "2015-10-01"
    last = date(2016, 6, 30).toordinal() + 0.45 * 92
    assert abs(date.fromisoformat(select(rows, "last_snow_day")[0]["p50"]).toordinal() - last) <= 1
    assert select(rows, "end_of_summer_snow_line")[0]["p50"] == pytest.approx(3105)
    (ratio,) = select(rows, "accumulation_area_ratio")
    assert (ratio["p5"], ratio["p95"]) == pytest.approx((8 / 15, 10 / 15))


def test_no_altitude_no_outline_no_guess():
    series = SnowSeries(quarter, (SIDE, SIDE), ground(), MEMBERS)
    for step in range(4):
        series.add("past", step, [snow_above(3)] * MEMBERS, 400)
    quantities = {row["quantity"] for row in series.rows}
    assert quantities == {"snow_covered_area", "first_snow_day", "last_snow_day", "snow_cover_days"}


def test_a_year_whose_beginning_is_not_known_has_no_numbers():
    series = SnowSeries(lambda step: quarter(step + 1), (SIDE, SIDE), ground(), MEMBERS)
    for step in range(3):
        series.add("past", step, [snow_above(0)] * MEMBERS, 400)
    assert {row["quantity"] for row in series.rows} == {"snow_covered_area"}


def test_large_scenes_are_thinned_and_keep_their_area():
    large = make_ground((600, 1000), TRANSFORM, None, None, southern=False)
    assert large.thinning == 4
    assert large.pixel_area == 900 * 16


def test_maps_put_together_from_bands_are_the_whole():
    """Bands of 7 rows, every third pixel of the members' snow: as if the scene had come at once."""
    random = np.random.default_rng(0)
    values = random.random((3, 2, 1, 20, 23)).astype(np.float32)  # members, horizon, C, H, W
    glacier = SimpleNamespace(horizon=2, shape=(20, 23), series=SimpleNamespace(channels=("ndsi",)))
    maps = ahead.Maps(glacier, 3, 3)
    for top in range(0, 20, 7):
        rows = slice(top, min(top + 7, 20))
        band = values[..., rows, :]
        maps.keep(rows, {"median": band[0], "p_snow": band[1]})
        for member in range(3):
            maps.keep_member(rows, member, band[member])
    forecast = maps.ahead()
    assert np.array_equal(forecast.median, values[0])
    assert np.array_equal(forecast.probability, values[1])
    assert np.array_equal(forecast.member, values[0])
    assert np.array_equal(forecast.snow, values[:, :, 0, ::3, ::3] > 0.4)


def test_the_same_season_of_the_last_year_that_is_over():
    """Four steps a year, eight known: step 8 has step 4 beside it; 13 has 5, for 9 is a forecast itself."""
    series = SimpleNamespace(steps_per_year=4, dates=tuple(range(8)))
    glacier = SimpleNamespace(series=series)
    earlier = [pictures.year_before(glacier, step) for step in (2, 4, 7, 8, 11, 13)]
    assert earlier == [None, 0, 3, 4, 7, 5]


def test_past_members_keep_what_was_observed_and_draw_the_rest():
    observed = np.zeros((SIDE, SIDE), bool)
    observed[:12] = True
    snow = snow_above(6) & observed
    snow_level = np.where(np.arange(SIDE)[:, None] < 15, 0.5, 1.0) + np.zeros((1, SIDE))
    scores = np.where(observed, 0.0, np.nan)
    past = PastStep(4, snow, observed, snow_level, scores)
    maps = np.array(list(past_members(past, Agreement(), MEMBERS, ground())))
    assert (maps[:, observed] == snow[observed]).all()
    assert not maps[:, 15:].any()  # no snow there in any year
    assert maps[:, 12:15].mean() == pytest.approx(0.5, abs=0.15)
    assert maps[:, 12:15].mean(axis=(1, 2)).std() > 0


def test_a_snowy_day_makes_its_gaps_snowy():
    """Where all that was seen has more snow than usual, the unseen part has too."""
    observed = np.zeros((SIDE, SIDE), bool)
    observed[:12] = True
    snow_level = np.full((SIDE, SIDE), 0.5)
    shares = {}
    for departure in (-1.5, 1.5):
        scores = np.where(observed, departure, np.nan)
        past = PastStep(4, observed & (departure > 0), observed, snow_level, scores)
        maps = np.array(list(past_members(past, Agreement(), MEMBERS, ground())))
        shares[departure] = maps[:, ~observed].mean()
    assert shares[-1.5] < 0.3
    assert shares[1.5] > 0.7


def test_a_past_step_stands_beside_the_climatology_of_the_steps_before_it():
    """Step 7 of values that encode their step, against a base that says which past it was asked for."""
    x = distribution.thresholds(ndsi=True)
    asked = []

    def base(step, before, rows, columns):
        asked.append((step, before))
        F = np.linspace(0, 1, len(x), dtype=np.float32)[:, None, None, None]
        return np.broadcast_to(F, (len(x), 1, SIDE, SIDE))[..., rows, columns]

    values = np.full((9, 1, SIDE, SIDE), 0.1, np.float32)
    values[7] = 0.9
    observed = np.ones((9, SIDE, SIDE), bool)
    observed[7, 0] = False
    glacier = SimpleNamespace(
        base=SimpleNamespace(distribution=base),
        series=SimpleNamespace(unclipped=values, observed=observed),
        x=x,
    )
    past = snow_series.past_step(glacier, 7, slice(None), slice(None))
    assert asked == [(7, 7)]
    assert past.snow[1:].all()
    assert np.isnan(past.scores[0]).all()
    assert np.isfinite(past.scores[1:]).all()
    rank = np.interp(0.4, x, np.linspace(0, 1, len(x)))
    assert past.snow_level == pytest.approx(np.full((SIDE, SIDE), rank), abs=1e-6)


def test_hemispheres():
    assert centre_latitude(Grid("EPSG:32643", TRANSFORM, (10, 10))) == pytest.approx(31.6, abs=0.1)
    south = (30.0, 0.0, 300000.0, 0.0, -30.0, 5900000.0)
    assert centre_latitude(Grid("EPSG:32719", south, (10, 10))) < -30


# ── The best run ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Writes finished runs of the glacier "toy": make(number, network CRPS, climatology CRPS, years of validation)."""
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))

    def make(number, network, climatology, years=2, patches="now", **more):
        folder = run_folders.runs_folder() / f"toy-LSTM-{number:03d}"
        record = {"network": "LSTM", "names": ["toy"], "patches": {"toy": patches}, "settings": {}}
        disk.write_yaml(folder / "config.yaml", record | {"format": run_folders.FORMAT} | more)
        crps = {"validation": {"network": network, "climatology": climatology}}
        counts = {"crps": crps, "validation_years": years}
        runner.write_manifest(folder, {}, {}, [folder / "config.yaml"], counts, 0)
        return folder

    return make


def test_the_best_run_by_validation_is_chosen(runs):
    runs(1, 0.05, 0.05)
    best = runs(2, 0.04, 0.05)
    runs(3, 0.03, 0.02)
    runs(4, 0.01, 0.05, patches="of another split")
    runs(5, 0.01, 0.05, format=1)
    finished = choice.finished_runs("toy", "now")
    assert [run_folders.run_number(run) for run in finished] == [1, 2, 3]
    run, why = choice.best_run(finished)
    assert run == best
    assert why == "the best of 3 by validation, CRPS 20.0 % below climatology"


def test_without_validation_the_newest_run_is_chosen(runs):
    runs(1, 0.01, 0.05, years=0)
    newest = runs(2, 0.04, 0.05, years=0)
    run, why = choice.best_run(choice.finished_runs("toy", "now"))
    assert run == newest
    assert "validation decides nothing" in why
    assert [run.name for run in choice.newest_of_each_network([newest])] == [newest.name]
