"""Stage 2: put the scenes exactly on top of each other, then make seasonal composites without gaps.

    python alignment.py --name=parvati

Reads rawData/. Writes aligned/: scenes.npy (every scene, co-registered), composites.npy (one a step of the year, gaps
filled from the past), observed.npy (which composite pixels were really seen), seen.npy and spread.npy (by how many
scenes, and how far these differ), their .json records, and pictures.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from datetime import date
from pathlib import Path

import numpy as np

from config import Config
from glacier import console, outlines, workers
from glacier.aligned import COMPOSITES, STAGE, read_aligned_scenes, read_composites, write_records
from glacier.composites import KINDS, Arrays, composite, fill_gaps, shapes
from glacier.coregistration.resampling import resample
from glacier.coregistration.series import estimate_transforms, one_thread
from glacier.coregistration.stack import Series, channel_names, collect
from glacier.coregistration.verdict import Transforms
from glacier.grid import Grid
from glacier.ground import OUTLINE_ERROR, ndsi, outline_mask, persistent_snow
from glacier.report import pages
from glacier.report.alignment import describe, draw
from glacier.scenes import read_grid, read_scenes
from glacier.storage import disk, runner

# What other people's scripts import from here.
__all__ = [
    "ndsi",
    "fill_gaps",
    "estimate_transforms",
    "resample",
    "composite",
    "read_composites",
    "read_aligned_scenes",
    "run",
]

log = logging.getLogger(__name__)
USES = (
    "extractNDSI",
    "alignmentMethod",
    "alignmentFrame",
    "motionModel",
    "stoppingCriterion",
    "maxIterations",
    "stepsPerYear",
)
MAX_CORRECTION = 60.0  # m, five times what Landsat's Tier 1 allows (12 m RMSE); at least 2 px, for coarser sensors


def stable_ground(cfg: Config, grid: Grid, series: Series) -> np.ndarray:
    """Return the weights of co-registration, float32 (H, W): 1 on ground, 0 on ice that may move."""
    if cfg.iceOutline:
        ice, origin = outline_mask(cfg.iceOutline, grid, OUTLINE_ERROR), cfg.iceOutline
    elif series.index is not None:
        dates = [date.fromisoformat(record["date"]) for record in series.records]
        ice, origin = (
            persistent_snow(series.index, dates),
            "snow and ice that outlast the melt season",
        )
    else:
        ice, origin = (
            np.zeros(grid.shape, bool),
            "no iceOutline and no swir16 band to find it: motion may be lost",
        )
    log.info("  moving ice: %.0f %% of the scene (%s)", 100 * ice.mean(), origin)
    return (~ice).astype(np.float32)


@contextlib.contextmanager
def workplace(cfg: Config) -> Iterator[Executor | None]:
    """Give what compares the scenes: `workers` processes here (None for one), or the workers of a Dask scheduler."""
    if cfg.executor != Config.executor:
        with workers.workplace(cfg.executor, cfg.workers) as (cluster, _):
            yield cluster
        return
    processes = min(cfg.workers, os.cpu_count() or 1)
    if processes == 1:
        yield None
        return
    with ProcessPoolExecutor(processes, initializer=one_thread) as pool:
        yield pool


def find_transforms(cfg: Config, grid: Grid, series: Series) -> Transforms:
    """Return where the scenes lie, found by several processes at once."""
    stable = stable_ground(cfg, grid, series)
    limit = max(2.0, MAX_CORRECTION / abs(grid.transform[0]))
    with workplace(cfg) as executor:
        return estimate_transforms(
            series.images,
            cfg.motionModel,
            cfg.alignmentMethod,
            stable,
            gauge=cfg.alignmentFrame,
            limit=limit,
            criterion=cfg.stoppingCriterion,
            iterations=cfg.maxIterations,
            executor=executor,
        )


def make_aligned(cfg: Config, folder: Path) -> runner.Result:
    """Do the work of the stage in its folder; return what it made."""
    grid = read_grid(cfg)
    names = channel_names(cfg, next(read_scenes(cfg)).bands)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch,
        contextlib.ExitStack() as files,
    ):
        series = collect(read_scenes(cfg), names, Path(scratch))
        transforms = find_transforms(cfg, grid, series)
        aligned = files.enter_context(
            disk.writing_array(
                folder / "scenes.npy", (len(series.records), len(names), *grid.shape)
            )
        )
        for i, scene in enumerate(console.progress(series.channels, "resampling")):
            aligned[i] = [resample(channel, transforms.matrices[i]) for channel in scene]

        def out(steps: int) -> Arrays:
            sizes = shapes(steps, aligned.shape[1:])
            return Arrays(
                *(
                    files.enter_context(disk.writing_array(folder / name, size, kind))
                    for name, size, kind in zip(COMPOSITES, sizes, KINDS, strict=True)
                )
            )

        days = [date.fromisoformat(record["date"]) for record in series.records]
        values, observed, steps = composite(aligned, days, cfg.stepsPerYear, out)
        pictures = draw(
            folder / "quicklooks", series, aligned, transforms, values, steps, grid.transform[0]
        )
        seen = float(observed.mean())
    arrays = [folder / name for name in ("scenes.npy", *COMPOSITES)]
    result = write_records(cfg, folder, grid, names, series.records, transforms, steps, seen)
    pictures += describe(cfg, folder, result.table)
    return runner.Result([*result.files, *arrays, *pictures], result.counts, result.table)


def check_inputs(cfg: Config) -> None:
    """Raise GlacierError if bands are missing or the outline is none."""
    channel_names(cfg, next(read_scenes(cfg)).bands)
    if cfg.iceOutline:
        outline_mask(cfg.iceOutline, read_grid(cfg))


def run(cfg: Config) -> int:
    """Make aligned/ of the glacier unless it is up to date; return the exit code."""
    code = runner.run_stage(
        cfg,
        STAGE,
        USES,
        make_aligned,
        runner.file_inputs(cfg, ["iceOutline"], outlines.files(cfg.iceOutline)),
        check_inputs,
    )
    pages.report(cfg)
    return code


if __name__ == "__main__":
    sys.exit(console.main(run))
