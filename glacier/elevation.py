"""The elevation of a glacier's ground on its grid, context/elevation.npy: from an archive's model, or from a file."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from rasterio.warp import Resampling

import config
from config import Config, GlacierError
from glacier import stages
from glacier.grid import Grid
from glacier.satellites import signing
from glacier.satellites.image_checks import UnreadableError
from glacier.satellites.items import Item
from glacier.satellites.reading import How, read_file
from glacier.satellites.search import Query, search
from glacier.storage import disk, runner

log = logging.getLogger(__name__)
STAGE = stages.CONTEXT
NAME = "elevation.npy"
ASSETS = ("data", "elevation", "dem")  # what archives call a model's file
ALL_YEARS = (1900, 2100)  # a model has the date of its making
MISSING = -32768  # fits the whole numbers of most models
# m, of ground; what lies beyond is a number for missing
LOWEST = -500.0
HIGHEST = 9000.0


def make_elevation(cfg: Config, grid: Grid) -> int:
    """Make context/ of the glacier unless it is up to date; return the exit code. Without `elevation` nothing is made.

    An archive that cannot be asked costs a warning and no scene; the next run asks again.
    """
    if cfg.elevation is None:
        return 0
    name, version = runner.file_inputs(cfg, ["elevation"])[0]
    inputs = {"grid": config.fingerprint([grid.crs, grid.transform, grid.shape]), name: version}
    command = STAGE.command(cfg)

    def work(folder: Path) -> runner.Result:
        model = str(cfg.elevation)
        query = Query(cfg.source, cfg.boundingBox, ALL_YEARS, cfg.sensor, model)
        heights = read_model(model, query, grid)
        return write(folder, heights)

    try:
        return runner.make(
            cfg, cfg.folder / STAGE, runner.used_settings(cfg, ["elevation"]), inputs, work, command
        )
    except NoModelError as error:
        log.warning("Without elevation: %s", error)
        return 0


class NoModelError(GlacierError):
    """The archive's model cannot be had now."""


def read_model(model: str, query: Query, grid: Grid) -> np.ndarray:
    """Return the elevation (H, W) [m] from a file, or from the collection of an archive that has this name."""
    if model != Config.elevation:
        if not Path(model).is_file():
            raise GlacierError(
                f"elevation {model} does not exist; give the path of a GeoTIFF, "
                f"{Config.elevation}, or None"
            )
        try:
            return mosaic([model], grid)
        except UnreadableError as error:
            raise GlacierError(f"elevation {model}: {error}; give a GeoTIFF") from error
    try:
        items, _ = search(query)
    except GlacierError as error:
        raise NoModelError(f"{Config.elevation}: {error}") from error
    hrefs = [href for href in map(model_file, items) if href]
    try:
        signing.get_first_tokens(hrefs)
        return mosaic(hrefs, grid)
    except UnreadableError as error:
        raise NoModelError(f"{Config.elevation} cannot be read ({error})") from error


def model_file(item: Item) -> str:
    """Return the address of a model's file, empty if the item has none."""
    keys = [key for key in ASSETS if key in item.assets]
    if keys:
        return item.assets[keys[0]].href
    return ""


def mosaic(hrefs: Iterable[str], grid: Grid) -> np.ndarray:
    """Return the elevation float32 (H, W) [m] on the grid, NaN where unknown; where files overlap, the first one's."""
    heights = np.full(grid.shape, np.nan, np.float32)
    for href in hrefs:
        try:
            layer = read_file(href, grid, How(Resampling.bilinear, MISSING))
        except OverflowError:
            raise UnreadableError("the file holds numbers without a sign, no elevation") from None
        values = layer.values.astype(np.float32)
        there = (values > LOWEST) & (values < HIGHEST)
        heights = np.where(np.isnan(heights) & there, values, heights)
    return heights


def write(folder: Path, heights: np.ndarray) -> runner.Result:
    """Write the elevation if any is known; return the file and what to tell."""
    if np.isnan(heights).all():
        return runner.Result([], {"elevation": 0}, [("elevation", "the archive has no model here")])
    folder.mkdir(parents=True, exist_ok=True)
    with disk.writing_array(folder / NAME, heights.shape) as out:
        out[:] = heights
    low = np.nanmin(heights)
    high = np.nanmax(heights)
    part = float(np.isfinite(heights).mean())
    table = [("elevation [m]", f"{low:.0f} to {high:.0f}"), ("known [%]", round(100 * part, 1))]
    return runner.Result([folder / NAME], {"elevation": round(part, 4)}, table)


def read_elevation(cfg: Config) -> np.ndarray | None:
    """Return the elevation (H, W) [m] of the glacier's grid, NaN where unknown; None where stage 1 found none."""
    path = cfg.folder / STAGE / NAME
    if cfg.elevation is None or not path.is_file():
        return None
    return disk.read_array(path)
