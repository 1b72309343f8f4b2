"""Short pairs and speed over time: which scenes are compared, what the files hold, what real fast ice shows."""

import csv
import json
from datetime import date, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import xarray
from conftest import ROOT
from rasterio.warp import transform

import movement
from config import Config, GlacierError, load
from glacier.grid import Grid
from glacier.report.movement import along
from glacier.velocity import pairs, preparation, series, velocities
from glacier.velocity.pairs import Pair
from glacier.velocity.velocities import Nodes

YAHTSE = ROOT.parent / "shared/data/movement/yahtse"
GRID = Grid("EPSG:32607", (15.0, 0.0, 500000.0, 0.0, -15.0, 6700000.0), (160, 160))
NODES = Nodes.over(GRID, 4)


# ── Which scenes ─────────────────────────────────────────────────────────────────────────────────────────────────


def daily(count, step, start=date(2016, 1, 5)):
    return [start + timedelta(days=step * number) for number in range(count)]


def test_partners_are_those_that_see_the_same():
    """A scene of cloud that lies nearest in season, and one that sees the other half, are left for one that shares."""
    days = [date(2016, 7, 1), date(2017, 7, 1), date(2017, 7, 9), date(2017, 7, 15)]
    seen = np.ones((4, 100), bool)
    seen[1] = False
    seen[2, :95] = False
    chosen = pairs.choose_pairs(days, 1, seen=seen)
    assert [pair[:2] for pair in chosen] == [(0, 3)]
    days = [date(2016, 7, 1), *daily(8, 1, date(2017, 6, 27))]
    seen = np.ones((9, 100), bool)
    seen[5, 40:] = False  # nearest in season, but it shows less than half
    partners = [pair.second for pair in pairs.choose_pairs(days, 1, seen=seen) if pair.first == 0]
    assert len(partners) == pairs.PARTNERS
    assert 5 not in partners


def test_a_scene_that_lies_badly_comes_last():
    days = [date(2016, 7, 1), *daily(8, 2, date(2017, 6, 25))]
    quality = np.array([0.9] * 9)
    quality[4] = 0.05  # nearest in season
    chosen = [
        pair.second for pair in pairs.choose_pairs(days, 1, quality=quality) if pair.first == 0
    ]
    assert len(chosen) == pairs.PARTNERS
    assert 4 not in chosen


def test_the_number_of_pairs_is_linear_in_the_scenes():
    for count in (50, 100, 200):
        days = daily(count, 3)
        chosen = pairs.choose_pairs(days, 4, short_days=(8, 100))
        for first in range(count):
            assert sum(pair.first == first for pair in chosen) <= 2 * pairs.PARTNERS
    every_year = [date(2010 + year, 7, 1) for year in range(5)]
    assert len(pairs.choose_pairs(every_year, 4)) == 10


def test_short_pairs_where_the_ice_is_fast_enough():
    assert pairs.spans(200, 30, None) == (None, 3)  # slow ice: whole years
    (fewest, most), years = pairs.spans(5000, 15, None)
    assert 8 <= fewest < 16 < most < 32
    assert years == 0  # 330 px in a year
    assert pairs.spans(1000, 30, None)[1] == 1
    assert pairs.spans(1000, 30, None)[0] is not None
    assert pairs.spans(200, 30, (8.0, 100.0)) == ((8.0, 100.0), 0)
    assert pairs.spans(200, 30, (300.0, 800.0))[1] == 2
    chosen = pairs.choose_pairs(daily(20, 16), 0, (10.0, 40.0))
    assert {round(pair.years * pairs.DAYS) for pair in chosen} == {16, 32}


def test_no_pair_is_one_line_that_names_the_days():
    days = daily(2, 150)
    with pytest.raises(GlacierError, match="8 to 100 days apart; take more"):
        preparation.find_pairs(
            days, np.ones(2, bool), np.ones(2), None, ((8, 100), 0), 8, "take more"
        )
    seen = np.zeros((2, 9), bool)
    with pytest.raises(GlacierError, match="that see the same"):
        preparation.find_pairs(
            daily(2, 16), np.ones(2, bool), np.ones(2), seen, ((8, 100), 0), 8, "take more"
        )


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("pairDays=100,8", "in this order"),
        ("pairDays=9", "in this order"),
        ("points=77.6", "one after the other"),
    ],
)
def test_settings_are_checked(flag, told):
    with pytest.raises(GlacierError, match=told):
        load(Config, [f"--{flag}"])


# ── Which pairs are believed ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("shift", "noise", "fault"),
    [
        (0.2, 0.2, ""),
        (1.5, 0.2, velocities.NOT_STILL),  # not co-registered
        (0.0, 4.0, velocities.NOT_STILL),  # cloud that matches cloud
    ],
)
def test_a_pair_whose_ground_does_not_stand_still_is_refused(shift, noise, fault):
    rng = np.random.default_rng(0)
    moved = rng.normal(shift, noise, (2, 40, 40))
    stable = np.zeros((40, 40), bool)
    stable[:, :20] = True
    moved[:, :, 20:] += 7
    assert velocities.ground_fault(moved, stable) == fault
    moved[:, 1:, :20] = np.nan
    assert velocities.ground_fault(moved, stable) == velocities.NOT_SEEN


# ── Over time ────────────────────────────────────────────────────────────────────────────────────────────────────


def made_series(speeds, noise=1.0):
    """Series of one pair of 16 days in the middle of every month of 2016, of ice in the right half."""
    days = []
    chosen = []
    for month in range(1, 13):
        days += [date(2016, month, 5), date(2016, month, 21)]
        chosen.append(Pair(len(days) - 2, len(days) - 1, 16 / 365.25))
    stable = np.zeros(NODES.shape, bool)
    stable[:, :20] = True
    tracked = np.zeros((12, 3, *NODES.shape), np.float32)
    tracked[:, 0] = np.where(stable, 0, np.array(speeds)[:, None, None])
    tracked[:, 2] = 16 / 365.25
    return (
        series.make_series(tracked, chosen, np.full(12, noise), days, stable),
        stable,
        tracked,
        chosen,
        days,
    )


def test_each_month_has_its_field_and_its_bounds():
    speeds = [100 + 20 * np.cos(2 * np.pi * month / 12) for month in range(12)]
    fields, stable, *_ = made_series(speeds)
    assert [period.start.month for period in fields] == list(range(1, 13))
    assert {(period.end - period.start).days for period in fields} == {16}
    for period, speed in zip(fields, speeds, strict=True):
        assert period.field.velocity[0, 20, 35] == pytest.approx(speed, rel=1e-4)
        assert (period.field.count == 1).all()
    seasons = series.seasonal_speeds(fields, ~stable, northern=True)
    assert seasons["winter"] > seasons["summer"]
    south = series.seasonal_speeds(fields, ~stable, northern=False)
    assert south["summer"] == pytest.approx(seasons["winter"])
    assert series.seasonal_speeds(fields[:2], ~stable, northern=True) == {}


def test_errors_are_those_of_the_ground_and_fall_with_the_time_between():
    """A displacement is as uncertain over 16 days as over a year; a velocity is not."""
    noise = velocities.ground_error(np.ones((1, 2, 2)), np.array([40.0]))
    assert noise == pytest.approx(40.0)
    assert velocities.ground_error(np.ones((4, 2, 2)), np.full(4, 40.0)) == pytest.approx(20.0)
    fields, *_ = made_series([100.0] * 12, noise=9.0)
    assert fields[0].field.error[:, 20, 38] == pytest.approx(9.0, rel=0.1)
    _, stable, tracked, chosen, days = made_series([100.0] * 12)
    refused = np.full(12, 1.0)
    refused[3] = np.nan
    assert len(series.make_series(tracked, chosen, refused, days, stable)) == 11


def test_the_series_opens_with_xarray_at_the_right_place_and_time(tmp_path):
    fields, *_ = made_series([100.0 + month for month in range(12)])
    path = series.write_series(tmp_path / "velocity_series.nc", fields, NODES, "test")
    with xarray.open_dataset(path) as opened:
        assert opened.sizes["time"] == 12
        assert opened.vx.attrs["units"] == "m year-1"
        assert opened.vx.attrs["standard_name"] == "land_ice_surface_x_velocity"
        bounds = opened.time_bounds.values
        assert ((bounds[:, 1] - bounds[:, 0]) / np.timedelta64(1, "D") == 16).all()
        assert str(bounds[0, 0])[:10] == "2016-01-05"
        x, y = NODES.places[:, 20, 35]
        at = opened.speed.sel(x=x, y=y, method="nearest", tolerance=1e-6)
        assert at.values == pytest.approx([100.0 + month for month in range(12)], rel=1e-3)
    with rasterio.open(f"netcdf:{path}:vx") as file:
        assert file.crs.to_epsg() == 32607
        assert tuple(file.transform)[:6] == pytest.approx(tuple(NODES.transform)[:6])


def test_points_are_lines_with_intervals(tmp_path):
    fields, *_ = made_series([100.0] * 12, noise=9.0)
    x, y = NODES.places[:, 20, 36]
    (longitude,), (latitude,) = transform(GRID.crs, "EPSG:4326", [x], [y])
    places = series.place_points((longitude, latitude), NODES)
    assert places == [(20, 36)]
    rows = series.point_rows(fields, places, NODES)
    path = series.write_points(tmp_path / "points.csv", rows)
    with open(path) as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 12
    assert lines[0]["start"] == "2016-01-05"
    assert float(lines[0]["longitude"]) == pytest.approx(longitude, abs=1e-5)
    assert float(lines[0]["speed_m_per_yr"]) == pytest.approx(100, rel=0.01)
    width = float(lines[0]["high_m_per_yr"]) - float(lines[0]["low_m_per_yr"])
    assert width == pytest.approx(2 * 1.645 * 9, rel=0.15)
    with pytest.raises(GlacierError, match="outside the boundingBox"):
        series.place_points((latitude, longitude), NODES)


def test_the_margin_is_where_the_window_sees_both():
    ice = np.zeros(GRID.shape, bool)
    ice[:, 80:] = True
    mixed = preparation.margin_nodes(ice, NODES)
    columns = NODES.columns[mixed[20]]
    assert 80 - columns.min() == pytest.approx(10, abs=4)
    assert columns.max() - 80 == pytest.approx(10, abs=4)


def test_speed_along_a_flow_line_has_no_steps():
    """Between nodes it is interpolated; beside an unknown node it is that of the nearest one."""
    speed = np.broadcast_to(10.0 * np.arange(8), (6, 8)).copy()
    speed[0, 0] = np.nan
    line = np.array([[0.25, 0.75], [2.5, 1.5], [3.0, 2.25], [3.0, 6.75]])
    assert along(speed, line) == pytest.approx([10, 15, 22.5, 67.5])


# ── Real fast ice ────────────────────────────────────────────────────────────────────────────────────────────────


def test_yahtse_in_sixteen_days(tmp_path, monkeypatch):
    """Two real scenes as the stage gets them: 2.06 m a day in the middle of the ice, in one period of 16 days."""
    files = sorted(YAHTSE.glob("*.tif"))
    if len(files) != 2:
        pytest.skip(f"{YAHTSE} is not there")
    scenes = []
    for path in files:
        with rasterio.open(path) as file:
            image = file.read(1).astype(np.float32)
            grid = Grid(file.crs.to_string(), tuple(file.transform)[:6], image.shape)
        scenes.append(SimpleNamespace(bands=("pan",), reflectance=lambda band, image=image: image))
    ice = [
        (40, 0), (440, 0), (470, 150), (530, 240), (530, 330), (520, 450), (460, 620),
        (400, 679), (190, 679), (230, 560), (290, 520), (360, 410), (330, 350), (250, 310),
        (170, 190), (90, 60), (40, 0),
    ]  # fmt: skip
    a, _, left, _, e, top = grid.transform
    ring = [(left + a * column, top + e * row) for column, row in ice]
    outline = {
        "type": "Feature",
        "properties": {},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "crs": {"type": "name", "properties": {"name": grid.crs}},
    }
    collection = {"type": "FeatureCollection", "features": [outline], "crs": outline["crs"]}
    (tmp_path / "ice.geojson").write_text(json.dumps(collection))
    aligned = SimpleNamespace(
        dates=("2016-07-18", "2016-08-03"),
        accepted=np.ones(2, bool),
        quality=np.ones(2),
        matrices=np.array([np.eye(3)] * 2),
        transform=grid.transform,
        channels=("pan",),
    )
    monkeypatch.setattr(movement, "read_aligned_scenes", lambda cfg: aligned)
    monkeypatch.setattr(movement, "read_grid", lambda cfg: grid)
    monkeypatch.setattr(movement, "read_scenes", lambda cfg: iter(scenes))
    cfg = Config(
        name="yahtse",
        maxVelocity=8000.0,
        trackingBand="pan",
        iceOutline=str(tmp_path / "ice.geojson"),
    )
    result = movement.make_movement(cfg, tmp_path / "movement")
    assert result.counts["pairs_used"] == 1
    with xarray.open_dataset(tmp_path / "movement/velocity_series.nc") as opened:
        bounds = opened.time_bounds.values[0]
        assert (bounds[1] - bounds[0]) / np.timedelta64(1, "D") == 16
        speed = opened.speed.values[0] / 365.25
    nodes = Nodes.over(grid, 4)
    on_ice = movement.outline_mask(cfg.iceOutline, grid)[np.ix_(nodes.rows, nodes.columns)]
    assert np.isfinite(speed[on_ice]).mean() > 0.7
    assert np.nanmedian(speed[on_ice]) == pytest.approx(2.24, rel=0.02)
    with open(tmp_path / "movement/points.csv") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) >= 3
    assert max(float(line["speed_m_per_yr"]) for line in lines) > 5 * 365
    pictures = {"points.png", "arrows.png", "flowline.png", "speed.png"}
    assert {file.name for file in result.files} >= pictures | {"velocity.tif", "section.html"}
    assert (
        "velocity.tif is empty: pairs it needs",
        3,
    ) in result.table  # one pair is not believed there
