"""The making of one archive: where its grid lies, when the satellite passes, and scene by scene what it sees."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import rasterio
from rasterio import warp

from demo.catalogue import CRS, write_catalogue, write_model, write_scene
from demo.landscape import PIXEL_SIZE, Landscape, build_landscape
from demo.scene import PAD, observe, snow_lines, usual_snow_line
from demo.truth import Truth, read_truth, write_truth, write_weather
from demo.weather import Weather
from glacier import console

CENTRE = 77.65, 32.1  # degrees: near the Parvati glacier, Himachal Pradesh, India
PARTIAL_SHARE = 0.06  # of the scenes lie at the edge of the swath


def make_glacier(
    folder: Path,
    *,
    size: int = 256,
    years: tuple[int, int] = (2013, 2022),
    scenes_per_year: int = 22,
    seed: int = 0,
    max_velocity: float = 120.0,
    ice_width: float = 0.4,
    misregistration: float = 0.4,
    cloudiness: float = 1.0,
    weather: Weather | None = None,
) -> Truth:
    """Write an archive into `folder` (its catalogue is folder/catalog.json) and return its truth.

    The parameters are those of `Settings`: lengths in px of 30 m, `max_velocity` in m/yr. weather : of a valley of a
    region; None: the glacier's own.
    """
    transform, bounding_box = place_grid(size, margin_of(size))
    landscape = make_landscape(seed, size, ice_width, max_velocity)

    rng = np.random.default_rng([seed, 1])
    dates = overpasses(years, scenes_per_year, first=int(rng.integers(8)))
    ids = [f"LC08_L2SP_147038_{day:%Y%m%d}_02_T1" for day in dates]
    heights, departures = snow_lines(rng, dates)
    if weather is not None:
        departures = np.array([weather.on(day) for day in dates])
        seasons = np.array([day.timetuple().tm_yday for day in dates])
        heights = usual_snow_line(seasons) + departures
    shifts = (misregistration * rng.standard_normal((len(dates), 2)).clip(-2.5, 2.5)).round(4)
    partial = rng.random(len(dates)) < PARTIAL_SHARE
    reference = reference_day(dates)

    clouds = []
    for index, day in enumerate(console.progress(dates, "scenes")):
        scene = observe(
            np.random.default_rng([seed, 2, index]),
            landscape,
            day,
            (day - reference).days / 365.25,
            heights[index],
            departures[index],
            cloudiness,
            tuple(shifts[index]),
            bool(partial[index]),
        )
        write_scene(folder / ids[index], ids[index], day, scene, transform)
        clouds.append(round(scene.cloud_fraction, 4))
    write_truth(
        folder / "truth",
        landscape,
        transform,
        dict(zip(ids, shifts.tolist(), strict=True)),
        dict(zip(ids, clouds, strict=True)),
    )
    if weather is not None:
        write_weather(folder / "truth", weather)
    inner = slice(PAD, -PAD)
    write_model(folder, landscape.elevation[inner, inner], transform, bounding_box)
    write_catalogue(folder, ids, dates, bounding_box)
    return read_truth(folder)


def margin_of(size: int) -> int:
    """Return how far the scenes reach beyond the bounding box [px]."""
    return max(8, size // 16)


def make_landscape(seed: int, size: int, ice_width: float, max_velocity: float) -> Landscape:
    """Return the valley of a seed, PAD px larger on each side than the scenes."""
    shape = (size + 2 * (margin_of(size) + PAD),) * 2
    random = np.random.default_rng([seed, 0])
    return build_landscape(random, shape, size, ice_width, max_velocity)


def landscape_of(settings: dict) -> Landscape:
    """Return the valley of an archive whose manifest has these settings."""
    names = ("seed", "size", "iceWidth", "iceVelocity")
    return make_landscape(*(settings[name] for name in names))


def reference_day(dates: list[date]) -> date:
    """Return the day on which the ice's texture is not sheared: the middle of the series."""
    return dates[0] + (dates[-1] - dates[0]) / 2


def overpasses(years: tuple[int, int], scenes_per_year: int, first: int) -> list[date]:
    """Return evenly spaced dates from day `first` of the first year to the end of the last."""
    start = date(years[0], 1, 1) + timedelta(days=first)
    end = date(years[1], 12, 31)
    return [
        start + timedelta(days=days)
        for days in range(0, (end - start).days + 1, int(365.25 // scenes_per_year))
    ]


def place_grid(size: int, margin: int) -> tuple[rasterio.Affine, tuple[float, float, float, float]]:
    """Return the transform of a grid of size + 2 margin px, and the largest box [degrees] within its middle.

    Landsat's pixel edges lie on multiples of 30 m plus 15 m. The box is a rectangle in longitude and latitude whose
    bounds in the grid's CRS fit `size` px, with 10 m to spare on each side.
    """
    (east,), (north,) = warp.transform("EPSG:4326", CRS, [CENTRE[0]], [CENTRE[1]])
    half = PIXEL_SIZE * size / 2
    corner = [
        15 + PIXEL_SIZE * round((value - 15) / PIXEL_SIZE) for value in (east - half, north + half)
    ]
    middle = corner[0] + half, corner[1] - half

    def box(reach):
        return warp.transform_bounds(
            CRS,
            "EPSG:4326",
            middle[0] - reach,
            middle[1] - reach,
            middle[0] + reach,
            middle[1] + reach,
        )

    west, _, east, _ = warp.transform_bounds("EPSG:4326", CRS, *box(half))
    west, south, east, north = (
        round(value, 6) for value in box((half - 10) * 2 * half / (east - west))
    )
    left = corner[0] - margin * PIXEL_SIZE
    top = corner[1] + margin * PIXEL_SIZE
    return rasterio.Affine(PIXEL_SIZE, 0, left, 0, -PIXEL_SIZE, top), (west, south, east, north)
