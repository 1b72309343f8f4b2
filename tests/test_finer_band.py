"""Sentinel-2's 10 m band is tracked on a grid of its own: small motion is measured better than at 30 m."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
import rasterio
from archives import Archive, box_around, scenes_of
from conftest import command
from scipy import ndimage

import dataAPI
import movement
from config import GlacierError
from glacier.coregistration.transforms import on_finer_grid
from glacier.satellites import sensors
from glacier.velocity import fields

CRS, LEFT, TOP = "EPSG:32643", 300000.0, 3600000.0
SIDE = 510  # pixels of 10 m
HALF_WIDTH = 110  # of the ice, in such pixels
SPEED = 9.0  # m/yr to the east
DAYS = ["2019-08-01", "2020-08-02", "2021-08-01"]
YEARS = [0.0, 1.0, 2.0]
OFFSETS = [(0, 0), (12, -7), (-9, 5)]  # m, by which each scene lies wrong, east and north


def texture(seed, size):
    """Return spline coefficients of a periodic random image whose features are about `size` px wide."""
    noise = np.random.default_rng(seed).standard_normal((SIDE, SIDE))
    smooth = ndimage.gaussian_filter(noise, size, mode="wrap")
    return ndimage.spline_filter(smooth / smooth.std(), order=3, mode="grid-wrap")


def look(coefficients, east, south):
    """Return the texture moved by some pixels of 10 m."""
    rows, columns = np.indices(coefficients.shape)
    places = (rows - south, columns - east)
    return ndimage.map_coordinates(coefficients, places, order=3, mode="grid-wrap", prefilter=False)


def numbers(reflectance):
    return np.round(reflectance / 1e-4 + 1000).clip(1, 60000).astype(np.uint16)


def coarser(image, times):
    side = len(image) // times
    return image.reshape(side, times, side, times).mean(axis=(1, 3))


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Three summers of ice that moves by SPEED between still rock, its texture of 10 m, each scene a little off."""
    folder = tmp_path_factory.mktemp("archive")
    archive = Archive(folder / "archive")
    rock, ice, snow = texture(1, 1.2), texture(2, 1.2), texture(3, 9)
    column = np.abs(np.indices((SIDE, SIDE))[1] - SIDE / 2)
    on_ice = column < HALF_WIDTH
    rng = np.random.default_rng(5)
    for day, years, (east, north) in zip(DAYS, YEARS, OFFSETS, strict=True):
        shift = np.array([east, -north]) / 10
        moved = look(ice, *(shift + [SPEED * years / 10, 0]))
        ground = look(rock, *shift)
        nir = np.where(on_ice, 0.6 + 0.05 * moved, 0.3 + 0.05 * ground)
        nir += 0.01 * rng.standard_normal(nir.shape)
        green = np.where(on_ice, 0.7, 0.2) + 0.02 * look(snow, *shift)
        swir16 = np.where(on_ice, 0.05, 0.25) + 0.01 * look(snow, *shift)
        layers = {
            "B03": numbers(green),
            "B08": numbers(nir),
            "B11": numbers(coarser(swir16, 2)),
            "SCL": np.full((SIDE // 2, SIDE // 2), 5, np.uint8),
        }
        sizes = {"B03": 10.0, "B08": 10.0, "B11": 20.0, "SCL": 20.0}
        archive.add(
            f"S2_{day}",
            "sentinel-2",
            f"{day}T05:30:00Z",
            layers,
            CRS,
            (LEFT, TOP),
            sizes,
            **{"s2:processing_baseline": "05.00"},
        )
    return archive


def settings(archive, band, **more):
    """The settings of a run on the archive, and its flags."""
    box = box_around(CRS, LEFT, TOP, 10 * SIDE, 10 * SIDE)
    given = {"years": [2019, 2021], "maxVelocity": 30.0, "patchSize": 24, "trackingBand": band}
    return archive.settings(box, "sentinel-2", elevation=None, **(given | more))


def flags(cfg):
    """The same as a user types it."""
    box = ",".join(str(degrees) for degrees in cfg.boundingBox)
    names = ("name", "source", "maxMissingFraction", "maxVelocity", "patchSize", "trackingBand")
    lists = [f"--boundingBox={box}", "--years=2019,2021", "--sensor=sentinel-2", "--elevation=None"]
    return [f"--{name}={getattr(cfg, name)}" for name in names] + lists


def test_pixels_of_the_finer_grid_are_those_of_the_coarse_one():
    """A shift by one pixel of 30 m is one by three pixels of 10 m; a turn keeps its middle on the ground."""
    shift = np.array([[1, 0, 1.0], [0, 1, -2], [0, 0, 1]])
    np.testing.assert_allclose(on_finer_grid(shift, 3)[:2, 2], [3, -6], atol=1e-12)
    turn = np.array([[0.9, 0.1, 2.0], [-0.2, 1.1, 1], [1e-4, 0, 1]])
    place = np.array([7.0, 4.0, 1])
    coarse = turn @ place
    fine = on_finer_grid(turn, 3) @ [3 * 7 + 1, 3 * 4 + 1, 1]
    np.testing.assert_allclose(fine[:2] / fine[2], 3 * coarse[:2] / coarse[2] + 1)


def test_only_bands_that_all_sensors_have_finer_are_kept_finer():
    assert sensors.times_finer(["sentinel-2"], "nir", 30.0) == 3
    assert sensors.times_finer(["sentinel-2"], "nir", 20.0) == 2
    assert sensors.times_finer(["sentinel-2"], "nir", 10.0) == 1
    assert sensors.times_finer(["sentinel-2"], "nir08", 30.0) == 1
    assert sensors.times_finer(["landsat-8-9"], "red", 60.0) == 1
    assert sensors.times_finer(["sentinel-2", "landsat-8-9"], "red", 30.0) == 1


def test_the_finer_band_is_kept_as_the_archive_has_it(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    scenes = scenes_of(settings(archive, "nir", years=[2019, 2019]))
    with rasterio.open(archive.folder / f"S2_{DAYS[0]}/B08.tif") as file:
        grid = movement.read_grid(settings(archive, "nir", years=[2019, 2019]))
        column, row = ~file.transform @ grid.transform[2::3]
        height, width = (3 * length for length in grid.shape)
        there = file.read(1)[
            round(row) : round(row) + height, round(column) : round(column) + width
        ]
    np.testing.assert_array_equal(scenes[0].finer, there)
    np.testing.assert_allclose(scenes[0].finer_reflectance(), there * 1e-4 - 0.1, atol=1e-6)
    plain = scenes_of(settings(archive, "nir08", years=[2019, 2019]))
    assert plain[0].finer is None
    with pytest.raises(GlacierError, match="no band on a finer grid"):
        plain[0].finer_reflectance()


class Tracked(NamedTuple):
    bands: dict[str, np.ndarray]
    affine: rasterio.Affine
    movement: fields.Movement


@pytest.fixture(scope="module")
def tracked(archive, tmp_path_factory):
    """The velocities of the archive tracked at 10 m, and with a grid that makes the band no finer, at 30 m."""
    results = {}
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("GLACIER_HOME", str(home))
        cfg = settings(archive, "nir")
        for script in ("dataAPI.py", "alignment.py"):
            command(home, script, *flags(cfg))
        for name, finest in (("ten", ("nir",)), ("thirty", ())):
            row = dataclasses.replace(sensors.SENSORS["sentinel-2"], finest=finest)
            patch.setitem(sensors.SENSORS, "sentinel-2", row)
            movement.make_movement(cfg, cfg.folder / "movement")
            with rasterio.open(cfg.folder / "movement/velocity.tif") as file:
                bands = dict(zip(file.descriptions, file.read(), strict=True))
                results[name] = Tracked(bands, file.transform, fields.read_movement(cfg))
    return results


def test_small_motion_is_measured_better_at_ten_metres(tracked):
    """9 m a year, a third of a pixel of 30 m, in scenes that lie wrong by as much."""
    errors = {}
    for name, result in tracked.items():
        east, north = result.bands["vx"], result.bands["vy"]
        x = result.affine.c + result.affine.a * (np.arange(east.shape[1]) + 0.5)
        inside = np.abs(x - LEFT - 5 * SIDE) < 10 * HALF_WIDTH - 500  # m, from the margin
        off = np.hypot(east - SPEED, north)[:, inside]
        assert np.isfinite(off).mean() > 0.8
        errors[name] = np.nanmedian(off)
    assert tracked["ten"].affine.a == pytest.approx(40)
    assert tracked["thirty"].affine.a == pytest.approx(120)
    assert errors["ten"] < 0.5
    assert errors["ten"] < 0.7 * errors["thirty"]


def test_what_is_carried_along_moves_on_the_grid_of_the_composites(tracked):
    """The displacement in a year, in pixels of 30 m, whatever the band was tracked on."""
    for result in tracked.values():
        made = result.movement
        yearly = made.displacement(made.field())
        assert yearly.shape[1:] == tuple(length // made.times for length in made.nodes.grid.shape)
        middle = yearly[:, 40:-40, yearly.shape[2] // 2]
        assert np.median(middle, axis=1) == pytest.approx([SPEED / 30, 0], abs=0.05)


def test_a_band_that_was_not_read_at_ten_metres_is_one_line(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    cfg = settings(archive, "nir08", years=[2019, 2020])
    assert dataAPI.run(cfg) == 0
    with pytest.raises(GlacierError, match="at 30 m only.*10 m.*--trackingBand=nir"):
        movement.check_inputs(settings(archive, "nir", years=[2019, 2020]))
