"""Scenes from the files of a STAC archive: bands and mask on one grid, each file read once."""

from __future__ import annotations

import functools
import logging
import math
import os
import pickle
import re
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rasterio.warp import Resampling

from glacier.grid import Grid
from glacier.satellites import sensors
from glacier.satellites.reading import UnreadableError, read_file
from glacier.satellites.search import Item
from glacier.storage import disk

log = logging.getLogger(__name__)
# bands without which a scene is of no use; of the others, those that are there
NEEDED = ("green", "swir16")
TOO_MUCH_MISSING = "more missing than maxMissingFraction"


@dataclass(frozen=True)
class Job:
    """What all scenes of a run share. limit : maxMissingFraction. scale, offset : of the archive's first sensor.

    folder : where finished scenes and files wait. workers : files read at once in one process.
    """

    bands: tuple[str, ...]
    grid: Grid
    limit: float
    scale: float
    offset: float
    folder: Path
    workers: int


@dataclass(frozen=True)
class Outcome:
    """What became of a scene. reason : why it is dropped, or nothing. fault : why it is lost, or nothing."""

    id: str
    reason: str = ""
    fault: str = ""
    megabytes: float = 0.0


@functools.cache
def reading_pool(workers: int) -> ThreadPoolExecutor:
    """Return this process's one pool of threads that read files."""
    return ThreadPoolExecutor(workers)


def waiting_file(folder: Path, name: str, kind: str = "pkl") -> Path:
    """Return where a finished scene (pkl), the reason why it is dropped (txt) or a file of an item (KEY.npy) waits."""
    return folder / re.sub(r"[^A-Za-z0-9._-]", "_", f"{name}.{kind}")


def read_kept(item: Item, key: str, resampling: Resampling, outside: int, job: Job) -> np.ndarray:
    """Return a file of an item on the grid, (H, W), from the network once only: it waits until the scene is done.

    It is not forced onto the disk, for it is gone again in a second: a kill spares it, and if a power cut does not it
    is read again.
    """
    path = waiting_file(job.folder, item.id, f"{key}.npy")
    if path.is_file():
        with suppress(ValueError, EOFError):
            return np.load(path, allow_pickle=False)
    values = read_file(item.hrefs[key], job.grid, resampling, outside)
    part = disk.hidden_neighbour(path)
    with open(part, "wb") as file:
        np.save(file, values)
    os.replace(part, path)
    return values


def read_layers(
    item: Item, outsides: dict[str, int], resampling: Resampling, job: Job
) -> dict[str, np.ndarray]:
    """Return some files of an item, {asset key: (H, W)}, those it has; outsides : asset key -> value outside the file.

    Raises UnreadableError if one cannot be had, after the others are safe on disk.
    """
    reads = {
        key: reading_pool(job.workers).submit(read_kept, item, key, resampling, outside, job)
        for key, outside in outsides.items()
        if key in item.hrefs
    }
    wait(reads.values())
    for key, read in reads.items():
        if isinstance(read.exception(), UnreadableError):
            raise UnreadableError(f"{key}: {read.exception()}")
    return {key: read.result() for key, read in reads.items()}


def read_mask(item: Item, job: Job) -> np.ndarray:
    """Return the mask bits (H, W) uint8 that the quality files of an item tell."""
    row = sensors.find(item.sensor)
    layers = read_layers(item, row.quality, Resampling.nearest, job)
    return row.mask(*(layers.get(key) for key in row.quality))


def read_bands(item: Item, mask: np.ndarray, job: Job) -> np.ndarray:
    """Return digital numbers (bands, H, W) uint16, 0 where the item has nothing; fill is added to its mask in place."""
    row = sensors.find(item.sensor)
    dn = np.zeros((len(job.bands), *job.grid.shape), np.uint16)
    if (mask & sensors.FILL > 0).all():  # it only touches the box
        return dn
    keys = {band: row.bands[band] for band in job.bands if band in row.bands}
    layers = read_layers(item, dict.fromkeys(keys.values(), row.nodata), Resampling.bilinear, job)
    for index, band in enumerate(job.bands):
        if keys.get(band) in layers:
            dn[index] = sensors.shifted(
                layers.pop(keys[band]), row.nodata, row.shift(item.properties)
            )
    mask[(dn[[job.bands.index(band) for band in NEEDED]] == 0).any(0)] |= sensors.FILL
    return dn


def read_day(day: list[Item], job: Job) -> dict | None:
    """Return one scene as the plain dict that is pickled; None if quality alone tells that too much is missing.

    Of several items the first observed pixel counts: band by band the same item's.
    """
    masks = [read_mask(item, job) for item in day]
    if np.logical_and.reduce([mask != 0 for mask in masks]).mean() > job.limit:
        return None
    mask, dn = masks[0], read_bands(day[0], masks[0], job)
    for item, other_mask in zip(day[1:], masks[1:], strict=True):
        if not mask.any():
            break
        other_dn = read_bands(item, other_mask, job)
        better = (mask != 0) & (other_mask == 0) | (mask & sensors.FILL > 0)
        dn, mask = np.where(better, other_dn, dn), np.where(better, other_mask, mask)
    first, row = day[0], sensors.find(day[0].sensor)
    own = (
        {}
        if (row.scale, row.offset) == (job.scale, job.offset)
        else {"scale": row.scale, "offset": row.offset}
    )
    return {
        "id": first.id,
        "datetime": first.datetime.isoformat(),
        "platform": first.platform,
        "cloud_percent": first.cloud_percent,
        "missing_fraction": float((mask != 0).mean()),
        "sun_azimuth": first.sun_azimuth,
        "sun_elevation": first.sun_elevation,
        "collection": first.collection,
        "tier": worst_tier(day),
        "geometric_rmse": worst_rmse(day),
        **own,
        "dn": dn,
        "mask": mask,
    }


def worst_tier(day: list[Item]) -> str:
    """Return the tier of the least certain item of a scene: T2, then RT, then T1; empty if none tells."""
    tiers = {item.tier for item in day}
    return next((tier for tier in ("T2", "RT", "T1") if tier in tiers), "")


def worst_rmse(day: list[Item]) -> float:
    """Return the largest geometric error of a scene's items [m], NaN if none tells."""
    errors = [item.geometric_rmse for item in day if not math.isnan(item.geometric_rmse)]
    return max(errors, default=math.nan)


def fetch(day: list[Item], job: Job) -> Outcome:
    """Read one scene into its waiting file unless it is there; return what became of it.

    A scene with too much missing leaves a .txt with the reason, so that it is not read again either.
    """
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)  # its messages quote signed addresses
    name = day[0].id
    path, note = waiting_file(job.folder, name), waiting_file(job.folder, name, "txt")
    if path.is_file():
        return Outcome(name)
    if note.is_file():
        return Outcome(name, note.read_text())
    job.folder.mkdir(parents=True, exist_ok=True)
    try:
        scene = read_day(day, job)
    except UnreadableError as error:
        return Outcome(name, fault=f"cannot be read: {error}")
    files = [waiting_file(job.folder, item.id, f"{key}.npy") for item in day for key in item.hrefs]
    files = [file for file in files if file.is_file()]
    megabytes = 1e-6 * sum(file.stat().st_size for file in files)
    too_much = scene is None or scene["missing_fraction"] > job.limit
    with disk.writing(note if too_much else path) as file:
        if too_much:
            file.write(TOO_MUCH_MISSING.encode())
        else:
            pickle.dump(scene, file, protocol=5)
    for file in files:
        file.unlink()
    return Outcome(name, TOO_MUCH_MISSING if too_much else "", megabytes=megabytes)
