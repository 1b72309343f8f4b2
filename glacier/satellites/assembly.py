"""Scenes from the files of a STAC archive: bands and mask on one grid, each file read once."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
from rasterio.warp import Resampling

from glacier.satellites import scaling, sensors
from glacier.satellites.image_checks import (
    UnreadableError,
    check_numbers,
    check_quality,
    check_scale,
)
from glacier.satellites.items import Item
from glacier.satellites.layers import Job, read_layers, waiting_layers
from glacier.satellites.overpasses import Acquisition, File
from glacier.satellites.reading import How
from glacier.satellites.scaling import Statement
from glacier.satellites.selection import NEEDED
from glacier.satellites.sensors import Sensor
from glacier.satellites.waiting import Outcome, keep_reason, keep_scene, read_waiting

log = logging.getLogger(__name__)
TOO_MUCH_MISSING = "more missing than maxMissingFraction"
IMPLAUSIBLE = (
    f"more than {100 * scaling.IMPLAUSIBLE_SHARE:.0f} % of a band's clear pixels reflect below "
    f"{scaling.POSSIBLE[0]} or above {scaling.POSSIBLE[1]}: check the archive's scale and offset"
)


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_mask(acquisition: Acquisition, job: Job) -> np.ndarray:
    """Return the mask bits (H, W) uint8 that the quality files of an item tell."""
    row = sensors.find(acquisition.sensor)
    how = {name: How(Resampling.nearest, outside) for name, outside in row.quality.items()}
    layers = read_layers(acquisition, acquisition.quality, how, job)
    checked = {name: check_quality(layer.values) for name, layer in layers.items()}
    in_order = [checked.get(name) for name in row.quality]
    return row.mask(*in_order)


@dataclass
class Bands:
    """The bands of an item. dn : (bands, H, W) uint16, 0 where missing. doubt : about its scaling, or nothing.

    finer : (H * times, W * times) uint16, the band that is kept on a finer grid as well; None without one.
    """

    dn: np.ndarray
    resampled: bool = False
    doubt: str = ""
    finer: np.ndarray | None = None


def read_bands(acquisition: Acquisition, mask: np.ndarray, job: Job) -> Bands:
    """Return the digital numbers of an item; fill is added to its mask (H, W) in place."""
    row = sensors.find(acquisition.sensor)
    dn = np.zeros((len(job.bands), *job.grid.shape), np.uint16)
    if (mask & sensors.FILL > 0).all():  # it only touches the box
        return Bands(dn, finer=no_finer(job))
    files = {band: file for band, file in acquisition.bands.items() if band in job.bands}
    how = {
        band: How(Resampling.bilinear, row.nodata, file.asset.nodata)
        for band, file in files.items()
    }
    layers = read_layers(acquisition, files, how, job)
    numbers = {name: check_numbers(layer.values, row.nodata) for name, layer in layers.items()}
    resampled = layers["green"].resampled
    layers.clear()
    chosen, doubt = choose_statements(files, numbers, mask == 0, row)
    for index, band in enumerate(job.bands):
        if band in numbers:
            values = numbers.pop(band)
            check_scale(values, row.nodata, chosen[band].scale)
            missing = values == row.nodata
            dn[index] = scaling.stored(values, missing, chosen[band], row.scale, row.offset)
    needed = [job.bands.index(band) for band in NEEDED]
    mask[(dn[needed] == 0).any(0)] |= sensors.FILL
    return Bands(dn, resampled, doubt, read_finer(acquisition, chosen, job))


def no_finer(job: Job) -> np.ndarray | None:
    """Return the band on the finer grid where nothing was measured, None if the run keeps none."""
    band, times = job.finer
    return np.zeros(job.grid.finer(times).shape, np.uint16) if band else None


def read_finer(
    acquisition: Acquisition, chosen: dict[str, Statement], job: Job
) -> np.ndarray | None:
    """Return the digital numbers of the band on the finer grid, 0 where missing; None if the run keeps none.

    chosen : what is followed of each band's scaling.
    """
    band, times = job.finer
    if band not in acquisition.bands:
        return no_finer(job)
    row = sensors.find(acquisition.sensor)
    file = acquisition.bands[band]
    how = How(Resampling.bilinear, row.nodata, file.asset.nodata)
    layers = read_layers(acquisition, {band: file}, {band: how}, job, times)
    values = check_numbers(layers[band].values, row.nodata)
    return scaling.stored(values, values == row.nodata, chosen[band], row.scale, row.offset)


def choose_statements(
    files: dict[str, File], numbers: dict[str, np.ndarray], clear: np.ndarray, row: Sensor
) -> tuple[dict[str, Statement], str]:
    """Return the statement of scaling to follow for each band, and what is doubtful about it, or nothing.

    Where an archive contradicts itself, that of the first source which the pixels bear out.
    """
    told = {band: file.statements for band, file in files.items()}
    sources = [statement.source for statement in told["green"]]
    if len(sources) == 1:
        return {band: statements[0] for band, statements in told.items()}, ""
    for source in sources:
        statements = {band: said_by(source, said) for band, said in told.items()}
        borne_out = [
            scaling.bears_out(numbers[band], clear & (numbers[band] != row.nodata), statement)
            for band, statement in statements.items()
        ]
        if all(borne_out):
            return statements, f"the archive contradicts itself on the offset; {source} is followed"
    first = {band: said[0] for band, said in told.items()}
    return first, "the archive contradicts itself on the offset"


def said_by(source: str, statements: tuple[Statement, ...]) -> Statement:
    """Return the statement of a source, or the first where that source says nothing."""
    return next((one for one in statements if one.source == source), statements[0])


# ── Scenes ───────────────────────────────────────────────────────────────────────────────────────────────────────


def read_scene(acquisitions: list[Acquisition], job: Job) -> tuple[dict | None, Outcome]:
    """Return one scene as the plain dict that is pickled, and its outcome; None if too much is missing.

    Of several items the first observed pixel counts: band by band the same item's.
    """
    first = acquisitions[0]
    masks = [read_mask(acquisition, job) for acquisition in acquisitions]
    missing_in_all = np.logical_and.reduce([mask != 0 for mask in masks])
    dropped = Outcome(first.item.identity, TOO_MUCH_MISSING)
    if missing_in_all.mean() > job.limit:
        return None, dropped
    mask, bands = masks[0], read_bands(first, masks[0], job)
    dn, finer, doubts = bands.dn, bands.finer, [bands.doubt]
    for acquisition, next_mask in zip(acquisitions[1:], masks[1:], strict=True):
        if not mask.any():
            break
        following = read_bands(acquisition, next_mask, job)
        doubts.append(following.doubt)
        better = ((mask != 0) & (next_mask == 0)) | (mask & sensors.FILL > 0)
        dn = np.where(better, following.dn, dn)
        if finer is not None and following.finer is not None:
            better_finer = better.repeat(job.finer[1], axis=0).repeat(job.finer[1], axis=1)
            finer = np.where(better_finer, following.finer, finer)
        mask = np.where(better, next_mask, mask)
    missing_fraction = float((mask != 0).mean())
    if missing_fraction > job.limit:
        return None, dropped
    row = sensors.find(first.sensor)
    share = scaling.implausible_share(dn, mask == 0, row.scale, row.offset)
    warning = next(filter(None, doubts), "")
    if share > scaling.IMPLAUSIBLE_SHARE:
        warning = IMPLAUSIBLE
    outcome = Outcome(first.item.identity, resampled=bands.resampled, warning=warning)
    facts = describe(acquisitions, job) | {"missing_fraction": missing_fraction}
    if finer is not None:
        facts["finer"] = finer
    return facts | {"dn": dn, "mask": mask}, outcome


def describe(acquisitions: list[Acquisition], job: Job) -> dict:
    """Return what the archive tells of a scene, as plain values."""
    items = [acquisition.item for acquisition in acquisitions]
    first, row = items[0], sensors.find(acquisitions[0].sensor)
    facts = {
        "id": first.id,
        "collection": first.collection,
        "datetime": first.datetime.isoformat(),
        "sensor": acquisitions[0].sensor,
        "platform": first.platform or acquisitions[0].sensor,
        "cloud_percent": first.cloud_percent,
        "sun_azimuth": first.sun_azimuth,
        "sun_elevation": first.sun_elevation,
        "tier": worst_tier(items),
        "geometric_rmse": worst_rmse(items),
    }
    if (row.scale, row.offset) != (job.scale, job.offset):
        facts |= {"scale": row.scale, "offset": row.offset}
    return facts


def worst_tier(items: list[Item]) -> str:
    """Return the tier of the least certain item of a scene: T2, then RT, then T1; empty if none tells."""
    tiers = {item.tier for item in items}
    return next((tier for tier in ("T2", "RT", "T1") if tier in tiers), "")


def worst_rmse(items: list[Item]) -> float:
    """Return the largest geometric error of a scene's items [m], NaN if none tells."""
    errors = [item.geometric_rmse for item in items if not math.isnan(item.geometric_rmse)]
    return max(errors, default=math.nan)


def fetch(acquisitions: list[Acquisition], job: Job) -> Outcome:
    """Read one scene into its waiting file unless it is there; return what became of it.

    A scene with too much missing leaves a .txt with the reason, so that it is not read again either.
    """
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)  # its messages quote signed addresses
    identity = acquisitions[0].item.identity
    waiting = read_waiting(job.folder, identity)
    if waiting is not None:
        return waiting
    job.folder.mkdir(parents=True, exist_ok=True)
    try:
        scene, outcome = read_scene(acquisitions, job)
    except UnreadableError as error:
        return Outcome(identity, fault=f"cannot be read: {error}")
    except MemoryError:
        return Outcome(identity, fault="cannot be read: too little memory")
    files = waiting_layers(acquisitions, job)
    megabytes = 1e-6 * sum(file.stat().st_size for file in files)
    if scene is None:
        keep_reason(job.folder, identity, outcome.reason)
    else:
        keep_scene(job.folder, scene, outcome)
    for file in files:
        file.unlink()
    return Outcome(identity, outcome.reason, "", megabytes, outcome.resampled, outcome.warning)
