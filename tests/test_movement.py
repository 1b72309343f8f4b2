"""Motion that is known beforehand is found, with honest errors; bad input is one line."""

import dataclasses
import json
from datetime import date, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from conftest import command, copy_home
from scipy import ndimage

import config
import movement
from config import GlacierError
from demo.makeGlacier import read_truth
from glacier.aligned import read_aligned_scenes
from glacier.grid import Grid
from glacier.storage import disk, pickles
from glacier.velocity import displacement, fields, preparation, velocities
from glacier.velocity.flow import advect, end_point_error, flow
from glacier.velocity.velocities import Nodes, Pair

TRANSFORM = (30.0, 0.0, 500015.0, 0.0, -30.0, 3550005.0)


def texture(shape, seed=0):
    """Return spline coefficients of a periodic random image with features of about 5 px."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    return ndimage.spline_filter(
        ndimage.gaussian_filter(noise, 2, mode="wrap"), order=5, mode="grid-wrap"
    )


def look(coefficients, dx, dy):
    """Return the image whose pixel (x, y) shows the texture at (x - dx, y - dy); dx, dy may vary."""
    rows, columns = np.indices(coefficients.shape)
    return ndimage.map_coordinates(
        coefficients, (rows - dy, columns - dx), order=5, mode="grid-wrap", prefilter=False
    ).astype(np.float32)


# ── Displacement ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("dx", "dy"), [(0.25, -0.4), (6.3, -2.7), (-13.5, 9.8)])
def test_a_known_shift_is_found_in_spite_of_clouds_and_another_light(dx, dy):
    pattern = texture((160, 160))
    first, second = look(pattern, 0, 0), 3 + 0.5 * look(pattern, dx, dy)
    first[40:70, 50:90] = np.nan
    second[100:120, 20:60] = np.nan
    tracks = displacement.track(first, second, 4, 18)
    inner = tracks.displacement[:, 8:-8, 8:-8]
    assert np.isfinite(inner[0]).mean() > 0.7
    assert np.nanmedian(inner, axis=(1, 2)) == pytest.approx([dx, dy], abs=0.02)
    off = np.abs(inner - np.array([dx, dy])[:, None, None])
    assert np.nanpercentile(off, 80) < 0.1
    assert np.nanpercentile(off, 98) < 0.4  # at the edges of gaps


def test_shear_is_followed():
    """Ice between banks: the displacement is found to 0.15 px, on the banks and in the middle."""
    row = np.indices((160, 160))[0]
    moved = 8 * np.exp(-(((row - 80) / 25) ** 2))
    pattern = texture((160, 160), seed=1)
    tracks = displacement.track(look(pattern, -moved / 2, 0), look(pattern, moved / 2, 0), 4, 10)
    nodes = displacement.nodes(160, 4)
    error = tracks.displacement[0] - moved[np.ix_(nodes, nodes)]
    assert np.nanpercentile(np.abs(error[5:-5, 5:-5]), 90) < 0.15


def test_noise_gives_no_vectors():
    rng = np.random.default_rng(0)
    first, second = (
        ndimage.gaussian_filter(rng.standard_normal((128, 128)), 2).astype(np.float32)
        for _ in range(2)
    )
    assert np.isfinite(displacement.track(first, second, 4, 10).displacement[0]).mean() < 0.1
    empty = np.full((64, 64), np.nan, np.float32)
    assert np.isnan(displacement.track(empty, empty, 4, 5).displacement).all()


def test_departure_finds_the_vector_that_does_not_fit():
    field = np.ones((2, 9, 9))
    field[:, 4, 4] = 3
    assert np.unravel_index(displacement.departure(field).argmax(), (9, 9)) == (4, 4)


@pytest.mark.parametrize("method", ["farneback", "dis"])
def test_flow_and_its_end_point_error(method):
    pattern = texture((128, 128), seed=2)
    first, second = look(pattern, 0, 0), look(pattern, 2.5, -1.5)
    truth = np.broadcast_to(np.array([2.5, -1.5])[:, None, None], (2, 128, 128))
    assert end_point_error(flow(first, second, method), truth) < 0.2
    blurred = np.zeros_like(second)
    still = flow(first, first, method)
    assert end_point_error(still, truth) == pytest.approx(np.hypot(2.5, 1.5), abs=0.1)
    assert np.isfinite(flow(blurred, blurred, method)).all()
    with pytest.raises(GlacierError, match="farneback, dis"):
        flow(first, second, "horn")


def test_advection_carries_the_image_and_its_gaps():
    pattern = texture((96, 96), seed=3)
    first, second = look(pattern, 0, 0), look(pattern, 3, 2)
    first[40:44, 40:44] = np.nan
    carried = advect(first, np.broadcast_to(np.array([3.0, 2.0])[:, None, None], (2, 96, 96)))
    assert np.isnan(carried[42:46, 43:47]).all()
    inner = (slice(8, -8), slice(8, -8))
    assert np.nanmax(np.abs(carried - second)[inner]) < 0.02 * second.std()


# ── Velocity ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pairs_are_of_one_season_and_whole_years():
    days = [
        date(2018, 8, 1),
        date(2018, 11, 1),
        date(2019, 8, 10),
        date(2019, 12, 31),
        date(2021, 7, 20),
    ]
    assert [pair[:2] for pair in velocities.choose_pairs(days)] == [(0, 2), (0, 4), (2, 4)]
    assert [pair[:2] for pair in velocities.choose_pairs(days, 1)] == [(0, 2)]
    assert velocities.longest_span(1000, 30) == 1
    assert velocities.longest_span(100, 30) == velocities.MAX_YEARS


def test_displacement_becomes_velocity_to_the_north():
    moved = velocities.to_velocity(np.array([2.0, -1.0]), 2.0, TRANSFORM)
    assert moved == pytest.approx([30.0, 15.0])


def test_weighted_median_by_hand():
    ranked = np.array([[1.0], [2.0], [10.0]])
    assert velocities.weighted_median(ranked, np.array([[1.0], [1.0], [1.0]])) == 2
    assert velocities.weighted_median(ranked, np.array([[1.0], [1.0], [3.0]])) == 10
    assert np.isnan(velocities.weighted_median(ranked, np.zeros((3, 1))))


def test_errors_cover_the_truth_when_scenes_err():
    """Each scene lies wrong by 0.1 px, which its pairs share; 90 % intervals hold the truth in 85 to 98 %."""
    rng = np.random.default_rng(4)
    days = [
        date(2014, 8, 1) + timedelta(days=round(365.25 * year + 16 * part))
        for year in range(7)
        for part in range(3)
    ]
    pairs = velocities.choose_pairs(days)
    shift = rng.normal(0, 0.1, (len(days), 2, 40, 10))
    noise = rng.normal(0, 0.1, (len(pairs), 2, 40, 10))
    moved = np.array(
        [
            50 + 30 * (shift[pair.second] - shift[pair.first] + part) / pair.years
            for pair, part in zip(pairs, noise, strict=True)
        ]
    )
    weights = np.array([np.full((40, 10), pair.years) for pair in pairs])
    field = velocities.combine(moved, weights, pairs)
    assert 0.85 < np.mean(np.abs(field.velocity - 50) < 1.645 * field.error) < 0.98


def test_flow_line_follows_a_circle():
    rows, columns = np.indices((60, 60)) - 30.0
    around = np.stack(
        [rows, columns]
    )  # to the east below the middle, where rows are positive: anticlockwise
    line = velocities.trace(around, (30, 50)) - 30
    assert np.hypot(*line.T) == pytest.approx(20, abs=1.5)


def test_ground_is_brought_to_rest_and_the_ice_with_it():
    stable = np.zeros((20, 20), bool)
    stable[:, :10] = True
    truth = np.where(stable, 0.0, 50.0) * np.array([1.0, -0.5])[:, None, None]
    offset = np.array([7.0, -3.0])[:, None, None]
    velocity, noise = velocities.correct(truth + offset, stable)
    np.testing.assert_allclose(velocity, truth, atol=1e-9)
    assert noise == pytest.approx(0, abs=1e-9)


def test_two_pairs_are_not_believed_where_three_are_needed():
    pairs = [Pair(0, 1, 1.0), Pair(0, 2, 2.0), Pair(1, 2, 1.0)]
    moved = np.full((3, 2, 1, 2), 10.0)
    moved[2, :, 0, 1] = np.nan
    field = velocities.combine(moved, np.ones((3, 1, 2)), pairs)
    assert field.velocity[:, 0, 0] == pytest.approx(10)
    assert np.isnan(field.velocity[:, 0, 1]).all()
    assert field.count.tolist() == [[3, 2]]


def test_certain_is_three_standard_errors():
    error = np.full((2, 1, 2), 1.0)
    speed = np.array([[2.9, 3.1]]) * np.sqrt(2)
    field = velocities.Field(np.stack([speed, np.zeros((1, 2))]), error, np.ones((1, 2)))
    assert velocities.certain(field).tolist() == [[False, True]]


def test_the_window_adds_its_own_error_where_the_ice_ends():
    stable = np.zeros((40, 40), bool)
    stable[:, :20] = True
    speed = np.where(stable, 0.0, 100.0)
    velocity = np.stack([speed, np.zeros_like(speed)]).astype(np.float32)
    field = velocities.Field(velocity, np.full_like(velocity, 2.0), np.full((40, 40), 9))
    finished, _ = velocities.finish(field, stable, 4)
    assert finished.error[0, 20, 39] == pytest.approx(2, abs=0.5)
    assert 10 < finished.error[0, 20, 20] < 30
    assert 10 < finished.error[0, 20, 19] < 30


def test_pixels_of_the_geotiff_have_their_middle_at_the_nodes(tmp_path):
    for shape in ((61, 82), (64, 80), (63, 79)):
        nodes = Nodes.over(Grid("EPSG:32643", TRANSFORM, shape), 4)
        x, y = nodes.places
        field = velocities.Field(
            np.stack([x, y]) / 1e3, np.ones((2, *nodes.shape)), np.ones(nodes.shape)
        )
        margin = np.zeros(nodes.shape, bool)
        path = fields.write_geotiff(tmp_path / "velocity.tif", field, margin, nodes, {})
        with rasterio.open(path) as file:
            east, north = file.read([2, 3])
            rows, columns = np.indices(file.shape)
            across, down = file.transform @ (columns + 0.5, rows + 0.5)
            assert file.crs.to_epsg() == 32643
        np.testing.assert_allclose(across, x)
        np.testing.assert_allclose(down, y)
        np.testing.assert_allclose(east, across / 1e3, rtol=1e-6)
        np.testing.assert_allclose(north, down / 1e3, rtol=1e-6)
        column = (x - TRANSFORM[2]) / 30
        assert column[0] == pytest.approx(nodes.columns + 0.5)


def test_scenes_are_tracked_as_co_registered(tmp_path):
    pattern = texture((64, 64), seed=5)
    scene = SimpleNamespace(reflectance=lambda band: look(pattern, 3, -2))
    matrix = np.array([[1.0, 0, 3], [0, 1, -2], [0, 0, 1]])
    images = preparation.collect([scene], matrix[None], "nir08", (64, 64), tmp_path / "images")
    inner = (slice(6, -6), slice(6, -6))
    np.testing.assert_allclose(images[0][inner], look(pattern, 0, 0)[inner], atol=1e-4)


def test_a_velocity_before_a_day_knows_no_later_scene():
    days = tuple(date(2015 + year, 8, 1) for year in range(6))
    pairs = tuple(Pair(first, first + 1, 1.0) for first in range(5))
    tracked = np.ones((5, 3, 12, 12), np.float32)
    tracked[:, :2] = np.arange(5.0)[:, None, None, None] * 100
    stable = np.zeros((12, 12), bool)
    stable[:, :6] = True
    tracked[:, :2, :, :6] = 0
    nodes = Nodes.over(Grid("EPSG:32643", TRANSFORM, (48, 48)), 4)
    movement_files = fields.Movement(tracked, pairs, days, stable, nodes)
    early = movement_files.field(
        before=date(2018, 8, 2)
    )  # the pairs that end in 2016, 2017 and 2018
    assert early.count.max() == 3
    assert early.velocity[0, 6, 11] == pytest.approx(100)
    assert movement_files.field(before=date(2018, 8, 1)) is None


def test_scenes_that_lie_wrong_say_nothing_of_where_the_ice_is():
    """Five summers with the same ice; a sixth scene, left out of the composites, lies 30 px off."""
    index = np.full((6, 1, 64, 64), -0.2, np.float32)
    index[:5, :, 10:30, 10:30] = 0.8
    index[5, :, 40:60, 40:60] = 0.8
    aligned = SimpleNamespace(
        values=index,
        channels=("ndsi",),
        dates=tuple(f"{2014 + year}-08-01" for year in range(6)),
        in_composites=np.arange(6) < 5,
    )
    grid = Grid("EPSG:32643", TRANSFORM, (64, 64))
    ice = movement.ice_mask(SimpleNamespace(iceOutline=None), aligned, grid)
    assert ice[10:30, 10:30].all()
    assert not ice[36:, 36:].any()


# ── The stage ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def moved_home(finished_home, tmp_path_factory):
    """The small glacier with its movement, compared with its own truth in the form of ITS_LIVE."""
    home = copy_home(finished_home, tmp_path_factory.mktemp("movement"))
    truth = read_truth(home / "datasets/small/archive")
    with rasterio.open(
        home / "itslive.tif",
        "w",
        driver="GTiff",
        dtype="float32",
        count=2,
        height=truth.ice.shape[0],
        width=truth.ice.shape[1],
        crs="EPSG:32643",
        transform=truth.transform,
        nodata=-32767,
    ) as file:
        file.write(truth.velocity)
        file.descriptions = ("vx", "vy")
    printed = command(
        home,
        "movement.py",
        "--name=small",
        "--maxVelocity=150",
        f"--itsLive={home / 'itslive.tif'}",
    )
    assert "NMAD over stable ground" in printed
    return home


def test_known_velocity_is_found_to_five_percent(moved_home):
    truth = read_truth(moved_home / "datasets/small/archive")
    with rasterio.open(moved_home / "datasets/small/movement/velocity.tif") as file:
        speed, east, north, *_ = file.read()
        assert file.descriptions == fields.BANDS
        assert file.units == fields.UNITS
        assert file.crs.to_epsg() == 32643
        assert file.tags()["PERIOD"].startswith("2013")
        assert file.transform.a == 120
        left, top = file.transform.c, file.transform.f
    step = 120 * (np.arange(len(speed)) + 0.5)
    row = np.floor((truth.transform.f - (top - step)) / 30).astype(int)[:, None]
    column = np.floor((left + step - truth.transform.c) / 30).astype(int)
    known = truth.velocity[:, row, column]
    core = ndimage.binary_erosion(truth.ice, iterations=5)[row, column] & np.isfinite(speed)
    assert core.sum() > 50
    ratio = speed[core] / np.hypot(*known)[core]
    assert np.median(ratio) == pytest.approx(1, abs=0.05)
    angle = np.angle((east + 1j * north)[core] / (known[0] + 1j * known[1])[core])
    assert np.median(np.abs(np.degrees(angle))) < 3


def test_itslive_scores_and_pictures_are_written(moved_home):
    folder = moved_home / "datasets/small/movement"
    scores = json.loads((folder / "itslive.json").read_text())
    assert abs(scores["speed_bias"]) < 2
    assert scores["speed_correlation"] > 0.9
    shown = {path.name for path in (folder / "quicklooks").iterdir()}
    assert shown == {
        "speed.png",
        "error.png",
        "arrows.png",
        "flowline.png",
        "glacier.gif",
        "itslive.png",
        "points.png",
    }


def test_what_was_made_is_read_back(moved_home, monkeypatch):
    monkeypatch.setenv("GLACIER_HOME", str(moved_home))
    made = fields.read_movement(config.load(config.Config, ["--name=small"]))
    with rasterio.open(moved_home / "datasets/small/movement/velocity.tif") as file:
        np.testing.assert_allclose(made.field().velocity, file.read([2, 3]), rtol=1e-4, atol=1e-4)
    assert made.field(before=date(2014, 1, 1)) is None
    early = made.field(before=date(2016, 1, 1))
    assert early.count.max() < made.field().count.max()
    assert made.displacement(early).shape == (2, *made.nodes.grid.shape)


def test_what_is_up_to_date_reads_no_series(moved_home, monkeypatch):
    monkeypatch.setenv("GLACIER_HOME", str(moved_home))
    opened = []
    monkeypatch.setattr(disk, "read_array", opened.append)
    monkeypatch.setattr(pickles, "read_pickles", opened.append)
    words = ["--name=small", "--maxVelocity=150", f"--itsLive={moved_home / 'itslive.tif'}"]
    assert movement.run(config.load(config.Config, words)) == 0
    assert not opened


def test_again_is_up_to_date_and_bad_input_is_one_line(moved_home):
    same = ("movement.py", "--name=small", "--maxVelocity=150")
    assert "up to date" in command(moved_home, *same, f"--itsLive={moved_home / 'itslive.tif'}")
    far = moved_home / "far.tif"
    with rasterio.open(
        far,
        "w",
        driver="GTiff",
        dtype="float32",
        count=2,
        height=9,
        width=9,
        crs="EPSG:32643",
        transform=rasterio.Affine(120, 0, 200000, 0, -120, 4500000),
        nodata=-32767,
    ) as file:
        file.write(np.ones((2, 9, 9), np.float32))
    manifest = (moved_home / "datasets/small/movement/manifest.yaml").read_bytes()
    for flag, text in (
        (f"--itsLive={far}", "no velocity within the scenes"),
        ("--itsLive=nothing.tif", "cannot be read"),
        ("--trackingBand=nir", "did you mean nir08?"),
        ("--maxVelocity=0", "from 1 to 30000"),
    ):
        printed = command(moved_home, *same, flag, code=2)
        assert text in printed
        assert "Traceback" not in printed
        assert printed.strip().splitlines()[-1].startswith("error: ")
    assert (moved_home / "datasets/small/movement/manifest.yaml").read_bytes() == manifest


def test_scenes_that_cannot_give_a_velocity_are_one_line(moved_home, monkeypatch):
    monkeypatch.setenv("GLACIER_HOME", str(moved_home))
    cfg = config.load(config.Config, ["--name=small"])
    aligned = read_aligned_scenes(cfg)
    single = np.arange(len(aligned.dates)) == 0
    with pytest.raises(GlacierError, match="1 co-registered scene, but"):
        movement.find_pairs(cfg, dataclasses.replace(aligned, accepted=single))
    one_year = np.array([day < "2014" for day in aligned.dates])
    with pytest.raises(GlacierError, match="same season"):
        movement.find_pairs(cfg, dataclasses.replace(aligned, accepted=one_year))
    frozen = dataclasses.replace(aligned, values=np.ones_like(aligned.values))
    with pytest.raises(GlacierError, match="0 of 576 grid nodes are stable"):
        movement.stable_ground(
            cfg, frozen, Nodes.over(Grid(aligned.crs, aligned.transform, (96, 96)), 4)
        )


def test_a_pair_without_stable_ground_counts_for_nothing():
    moved, ground = velocities.correct(np.ones((2, 8, 8)), np.zeros((8, 8), bool))
    assert np.isnan(moved).all()
    assert np.isnan(ground)
    tracked = np.stack([np.full_like(moved, speed) if speed else moved for speed in (5, 0, 7, 7)])
    weights = np.array([1, 9, 1, 1])[:, None, None] * np.ones((4, 8, 8))
    field = velocities.combine(tracked, weights, [Pair(0, 1, 1.0)] * 4)
    assert (field.count == 3).all()
    assert (field.velocity == 7).all()
