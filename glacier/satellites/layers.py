"""Files of an archive on the glacier's grid, each read once: they wait on the disk until their scene is done."""

from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glacier.grid import Grid
from glacier.satellites.image_checks import UnreadableError
from glacier.satellites.items import Item
from glacier.satellites.overpasses import Acquisition, File
from glacier.satellites.reading import How, Layer, read_file
from glacier.satellites.waiting import waiting_file
from glacier.storage import disk
from glacier.texts import printable

RESAMPLED = "resampled.npy"  # ending of a waiting file whose pixels lay elsewhere


@dataclass(frozen=True)
class Job:
    """What all scenes of a run share. limit : maxMissingFraction. scale, offset : of the archive's first sensor.

    folder : where finished scenes and files wait. workers : files read at once in one process. finer : a band to keep
    on a finer grid as well, and by how much finer; empty and 1: none.
    """

    bands: tuple[str, ...]
    grid: Grid
    limit: float
    scale: float
    offset: float
    folder: Path
    workers: int
    finer: tuple[str, int] = ("", 1)


@functools.cache
def reading_pool(workers: int) -> ThreadPoolExecutor:
    """Return this process's one pool of threads that read files."""
    return ThreadPoolExecutor(workers)


def kept_name(name: str, times: int) -> str:
    """Return what a band or quality file on a grid finer by some times is called while it waits."""
    return name if times == 1 else f"{name}-{times}"


def read_kept(item: Item, name: str, file: File, how: How, job: Job, times: int = 1) -> Layer:
    """Return a file of an item on the grid, from the network once only: it waits until the scene is done.

    name : of the band or quality file. times : by how much finer than the common grid. It is not forced onto the disk,
    for it is gone again in a second: a kill spares it, and if a power cut does not it is read again.
    """
    name = kept_name(name, times)
    for kind in (f"{name}.npy", f"{name}.{RESAMPLED}"):
        path = waiting_file(job.folder, item.identity, kind)
        if path.is_file():
            with suppress(ValueError, EOFError):
                return Layer(np.load(path, allow_pickle=False), kind.endswith(RESAMPLED))
    grid = job.grid.finer(times)
    layer = read_file(file.href, grid, how)
    kind = RESAMPLED if layer.resampled else "npy"
    path = waiting_file(job.folder, item.identity, f"{name}.{kind}")
    part = disk.hidden_neighbour(path)
    with open(part, "wb") as target:
        np.save(target, layer.values)
    os.replace(part, path)
    return layer


def read_layers(
    acquisition: Acquisition,
    files: dict[str, File],
    how: dict[str, How],
    job: Job,
    times: int = 1,
) -> dict[str, Layer]:
    """Return files of an item by name; how : by name as well. times : as in read_kept.

    Raises UnreadableError if one cannot be had, after the others are safe on disk.
    """
    pool = reading_pool(job.workers)
    reads = {
        name: pool.submit(read_kept, acquisition.item, name, file, how[name], job, times)
        for name, file in files.items()
    }
    wait(reads.values())
    for name, read in reads.items():
        if isinstance(read.exception(), UnreadableError):
            raise UnreadableError(f"{printable(files[name].asset.key)}: {read.exception()}")
    return {name: read.result() for name, read in reads.items()}


def waiting_layers(acquisitions: list[Acquisition], job: Job) -> list[Path]:
    """Return the files of a scene's items that wait on disk."""
    paths = []
    band, times = job.finer
    for acquisition in acquisitions:
        for name in (*acquisition.names, kept_name(band, times)):
            for kind in ("npy", RESAMPLED):
                identity = acquisition.item.identity
                paths.append(waiting_file(job.folder, identity, f"{name}.{kind}"))
    return [path for path in paths if path.is_file()]
