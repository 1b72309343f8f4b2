"""What a run of stage 1 will read, known before a pixel is: scenes, grid, bands."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass

from config import GlacierError
from glacier.grid import Grid, Lattice, choose_lattice, lattice_of, make_grid
from glacier.satellites import search as archive
from glacier.satellites import sensors
from glacier.satellites.overpasses import Acquisition, Dropped, overpasses
from glacier.satellites.reading import peek
from glacier.satellites.search import Query
from glacier.satellites.selection import count_reasons, find_bands, select
from glacier.satellites.web import Reader, SourceError
from glacier.workers import scenes_at_once

SMALLEST = 8  # px a side of the grid
ROUND = 0.5  # of which every sensor's pixel size is a multiple [m]
OPENED = 5  # files at most, to learn how pixels lie where the items do not tell
REQUESTS_PER_FILE = 3  # size, header, pixels; more where the box cuts through wide files


@dataclass(frozen=True)
class Plan:
    """What will be read. scenes : the acquisitions of each, in time order. bands : common names. dropped : and why.

    finer : the band that is read on a finer grid as well, and by how much finer; empty and 1: none.
    """

    grid: Grid
    scenes: list[list[Acquisition]]
    bands: list[str]
    dropped: Dropped
    finer: tuple[str, int] = ("", 1)


def make_plan(
    query: Query, pixel_size: float, workers: int, earlier: Grid | None, tracking_band: str = ""
) -> Plan:
    """Search, select, and return the plan; GlacierError if there is nothing to read or memory is too small.

    pixel_size : of the grid [m]. earlier : the grid of scenes that are there already, which is kept.
    tracking_band : read on a finer grid as well, where the archive has it finer than pixel_size.
    """
    times = sensors.times_finer(query.sensors, tracking_band, pixel_size)
    check_size(query, pixel_size, workers, times)
    items, odd = archive.search(query)
    acquisitions, dropped = select(
        items, query.sensors, query.platforms, query.max_cloud_percent, read_collection
    )
    dropped = odd + dropped
    if not acquisitions:
        raise GlacierError(nothing_line(query, dropped, [] if dropped else archive.years_of(query)))
    grid = earlier or choose_grid(query, pixel_size, acquisitions)
    scenes = overpasses(acquisitions, grid.crs)
    bands = find_bands(query.sensors, scenes)
    finer = (tracking_band, times) if times > 1 and tracking_band in bands else ("", 1)
    return Plan(grid, scenes, bands, dropped, finer)


@functools.cache
def read_collection(address: str) -> dict:
    """Return the collection at an address, an empty one if there is none; asked for once."""
    try:
        content = Reader().read(address)
    except SourceError as error:
        if error.may_pass:
            raise GlacierError(f"the collection {address} does not answer ({error})") from error
        return {}
    return content if isinstance(content, dict) else {}


def nothing_line(query: Query, dropped: Dropped, years: list[int]) -> str:
    """Return one line on why there is nothing to read, with where the box lies and what to try.

    years : of which the archive has scenes of the box, if it has any.
    """
    west, south, east, north = query.box
    left_out = f" (left out: {count_reasons(dropped)})" if dropped else ""
    line = (
        f"no scene found for boundingBox {list(query.box)}, years {list(query.years)} "
        f"in {query.source}{left_out}; check these settings, maxCloudPercent and platforms"
    )
    others = sensors_of(reason for _, reason in dropped)
    if others:
        return f"{line}; there are scenes of --sensor={','.join(others)}"
    if years:
        return f"{line}; there are scenes of {years[0]} to {years[-1]}: set years to lie within"
    if dropped:
        return line
    place = f"{(south + north) / 2:.2f} N, {(west + east) / 2:.2f} E"
    line += f". The box lies at {place}"
    if west >= -90 and east <= 90:
        swapped = ",".join(f"{degrees:.10g}" for degrees in (south, west, north, east))
        line += f"; if latitude came first, give --boundingBox={swapped}"
    return line


def sensors_of(reasons: Iterable[str]) -> list[str]:
    """Return the sensors, keys of sensors.SENSORS, whose satellites were left out."""
    platforms = {reason.removeprefix("platform ") for reason in reasons}
    return [name for name, row in sensors.SENSORS.items() if platforms & set(row.platforms)]


def choose_grid(query: Query, pixel_size: float, acquisitions: list[Acquisition]) -> Grid:
    """Return the grid on which most items lie already, so that they are copied and not resampled.

    Where items do not tell how their pixels lie, or in a way that no file of the sensor does, the files of a few of
    them are opened, and stand for the others.
    """
    lattices, silent = [], []
    for acquisition in acquisitions:
        green = acquisition.bands["green"].asset
        lattice = lattice_of(green.crs, green.transform, pixel_size)
        sensor = sensors.find(acquisition.sensor)
        if green.tells_place and is_likely(green.transform, lattice, sensor.anchor % pixel_size):
            lattices.append(lattice)
        else:
            silent.append(green)
    samples = silent[:: math.ceil(len(silent) / OPENED)] if silent else []
    for sample in samples:
        lattice = lattice_of(*peek(sample.href), pixel_size)
        lattices += [lattice] * round(len(silent) / len(samples))
    anchor = sensors.find(query.sensors[0]).anchor
    return make_grid(query.box, pixel_size, choose_lattice(query.box, lattices, anchor))


def is_likely(transform: tuple[float, ...], lattice: Lattice | None, anchor: float) -> bool:
    """Tell whether an item's transform may be that of its files: upright, on the sensor's lattice.

    Archives write the middle of a pixel for its corner, a size of 29.996 m, or GDAL's order of the numbers.
    """
    if lattice is not None:
        return lattice.left == lattice.top == anchor
    size = transform[0]
    is_degrees = 0 < size < 0.1
    is_round = size > 0 and size % ROUND == 0
    return transform[4] < 0 and (is_degrees or is_round)


def check_size(query: Query, pixel_size: float, workers: int, times: int = 1) -> None:
    """Raise GlacierError if a box has hardly a pixel, or its scenes do not fit into memory.

    A scene is held as all its bands and its quality, twice while it is put together. times : by how much finer one
    band is held as well.
    """
    rows = [sensors.find(name) for name in query.sensors]
    grid = make_grid(query.box, pixel_size, rows[0].anchor)
    if min(grid.shape) < SMALLEST:
        raise GlacierError(
            f"boundingBox is {grid.shape[1]} x {grid.shape[0]} px of {pixel_size:g} m: too small to compare "
            f"scenes or cut patches (at least {SMALLEST} px a side); draw a larger box or lower pixelSize"
        )
    layers = max(len(row.bands) + len(row.quality) for row in rows)
    if times > 1:
        layers += times**2
    need = 2 * scenes_at_once(workers) * layers * 2 * grid.shape[0] * grid.shape[1]
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if need > have:
        raise GlacierError(
            f"boundingBox is {grid.shape[1]} x {grid.shape[0]} px of {pixel_size:g} m: its scenes "
            f"need {need / 1e9:.1f} GB of memory, this machine has {have / 1e9:.1f} GB; "
            "draw a smaller box or raise pixelSize"
        )


def plan_table(plan: Plan, years: tuple[int, ...]) -> list[tuple]:
    """Return a row a year: scenes, files, MB (uncompressed), requests; their sums, and why others are left out."""
    height, width = plan.grid.shape
    megabytes = 2e-6 * height * width  # a file's
    band, times = plan.finer
    finer_files = times**2 if band else 0  # in files of the common grid
    rows: list[tuple] = [("year", "scenes", "files", "MB", "requests")]
    for year in range(years[0], years[1] + 1):
        scenes = [scene for scene in plan.scenes if scene[0].item.datetime.year == year]
        acquisitions = [acquisition for scene in scenes for acquisition in scene]
        files = sum(len(acquisition.names) for acquisition in acquisitions)
        volume = (files + len(acquisitions) * finer_files) * megabytes
        files += len(acquisitions) * bool(band)
        rows.append((year, len(scenes), files, round(volume, 1), files * REQUESTS_PER_FILE))
    columns = list(zip(*rows[1:], strict=True))
    sums = [round(sum(column), 1) for column in columns[1:]]
    rows.append(("all", *sums))
    reasons = count_reasons(plan.dropped)
    rows += [(f"left out: {reason}", count) for reason, count in reasons.items()]
    return rows
