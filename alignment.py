"""Stage 2: put the scenes exactly on top of each other, then make seasonal composites without gaps.

    python alignment.py --name=parvati

Reads rawData/. Writes aligned/: scenes.npy (every scene, co-registered), composites.npy (one a step of the year, gaps
filled from the past), observed.npy (which composite pixels were really seen), seen.npy and spread.npy (by how many
scenes, and how far these differ), their .json records, and pictures.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from concurrent.futures import Executor
from datetime import date
from pathlib import Path

import config  # first: it tells who forgot to activate .venv

# isort: split
import numpy as np

from config import Config
from glacier import console, export, machine, outlines, stages, workers
from glacier.aligned import (
    COMPOSITES,
    FILES,
    STAGE,
    AlignedScenes,
    holds_scenes,
    read_aligned_scenes,
    read_composites,
    write_composite_records,
    write_map,
    write_scene_records,
)
from glacier.composites import KINDS, Arrays, composite, fill_gaps, shapes
from glacier.coregistration.resampling import resample
from glacier.coregistration.series import estimate_transforms, one_thread
from glacier.coregistration.stack import SceneStack, channel_names, stack_scenes
from glacier.coregistration.verdict import Transforms, admit, allowed_error, geometric_doubt
from glacier.grid import Grid
from glacier.ground import OUTLINE_ERROR, ndsi, outline_mask, persistent_snow
from glacier.report import pages
from glacier.report.alignment import describe, draw_before_after, summary, unaligned_warning
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
# bytes that a process takes which compares scenes, and for each pixel
PROCESS, PROCESS_A_PIXEL = 150e6, 75
USES = (
    "extractNDSI",
    "alignmentMethod",
    "alignmentFrame",
    "motionModel",
    "stoppingCriterion",
    "maxIterations",
    "maxGeometricError",
    "harmonise",
    "stepsPerYear",
)


def stable_ground(cfg: Config, grid: Grid, series: SceneStack) -> np.ndarray:
    """Return the weights of co-registration, float32 (H, W): 1 on ground, 0 on ice that may move."""
    if cfg.iceOutline:
        ice = outline_mask(cfg.iceOutline, grid, OUTLINE_ERROR)
        origin = cfg.iceOutline
    elif series.index is not None:
        dates = [date.fromisoformat(record["date"]) for record in series.records]
        ice = persistent_snow(series.index, dates)
        origin = "snow and ice that outlast the melt season"
    else:
        ice = np.zeros(grid.shape, bool)
        origin = "no iceOutline and no swir16 band to find it: motion may be lost"
    log.info("  moving ice: %.0f %% of the scene (%s)", 100 * ice.mean(), origin)
    return (~ice).astype(np.float32)


@contextlib.contextmanager
def comparing(cfg: Config, pixels: int) -> Iterator[Executor | None]:
    """Give what compares the scenes: `workers` processes here (None for one), or the workers of a Dask scheduler."""
    if cfg.executor != Config.executor:
        with workers.workplace(cfg.executor, cfg.workers) as (cluster, _):
            yield cluster
        return
    processes = machine.at_once(cfg.workers, pixels, PROCESS_A_PIXEL, PROCESS)
    if processes == 1:
        yield None
        return
    with workers.processes(processes, one_thread) as pool:
        yield pool


def find_transforms(cfg: Config, grid: Grid, series: SceneStack) -> tuple[Transforms, np.ndarray]:
    """Return where the scenes lie, and which of them belong in the composites, (T,) bool."""
    stable = stable_ground(cfg, grid, series)
    with comparing(cfg, stable.size) as executor:
        transforms = estimate_transforms(
            series.images,
            cfg.motionModel,
            cfg.alignmentMethod,
            stable,
            gauge=cfg.alignmentFrame,
            limit=allowed_error(grid.pixel_size),
            criterion=cfg.stoppingCriterion,
            iterations=cfg.maxIterations,
            executor=executor,
        )
    doubts = [geometric_doubt(record, cfg.maxGeometricError) for record in series.records]
    return admit(transforms, doubts)


def co_register(cfg: Config, folder: Path, made_with: str) -> None:
    """Make scenes.npy and the records of the scenes, of which scenes.json comes last."""
    grid = read_grid(cfg)
    names = channel_names(cfg.extractNDSI, next(read_scenes(cfg)).bands)
    folder.mkdir(parents=True, exist_ok=True)
    with disk.scratch(folder) as scratch:
        series = stack_scenes(read_scenes(cfg), names, scratch)
        transforms, admitted = find_transforms(cfg, grid, series)
        (folder / "scenes.json").unlink(missing_ok=True)  # it stands for the scenes made with it
        shape = (len(series.records), len(names), *grid.shape)
        with disk.writing_array(folder / "scenes.npy", shape) as aligned:
            for i, scene in enumerate(console.progress(series.channels, "resampling")):
                aligned[i] = [resample(channel, transforms.matrices[i]) for channel in scene]
            draw_before_after(folder, series, aligned, transforms.accepted, grid)
    write_scene_records(folder, grid, names, series.records, transforms, admitted, made_with)


def make_composites(cfg: Config, folder: Path, scenes: AlignedScenes) -> None:
    """Make the composites of the co-registered scenes, and their record."""
    days = [date.fromisoformat(day) for day in scenes.dates]
    with contextlib.ExitStack() as files:

        def out(steps: int) -> Arrays:
            sizes = shapes(steps, scenes.values.shape[1:])
            arrays = []
            for name, size, kind in zip(COMPOSITES, sizes, KINDS, strict=True):
                array = files.enter_context(disk.writing_array(folder / name, size, kind))
                arrays.append(array)
            return Arrays(*arrays)

        *_, steps = composite(scenes.values, days, cfg.stepsPerYear, out, scenes.in_composites)
    write_composite_records(folder, scenes, steps, cfg.stepsPerYear)


def make_aligned(cfg: Config, folder: Path) -> runner.Result:
    """Do the work of the stage in its folder; return what it made. Other steps a year need other composites only."""
    made_with = scenes_fingerprint(cfg)
    if not cfg.force and holds_scenes(folder, made_with):
        log.info("  the co-registered scenes are as before: only the composites are made anew")
    else:
        co_register(cfg, folder, made_with)
    scenes = read_aligned_scenes(cfg)
    make_composites(cfg, folder, scenes)
    series = read_composites(cfg)
    write_map(folder, series)
    counts, table = summary(scenes, series)
    warning = unaligned_warning(scenes)
    if warning:
        log.warning("  %s", warning)
    files = [folder / name for name in FILES]
    files += describe(cfg, folder, table, warning)
    return runner.Result(files, counts, table)


def scenes_fingerprint(cfg: Config) -> str:
    """Return what the co-registered scenes depend on, as 16 hexadecimal digits: all but the steps of the year."""
    settings = runner.used_settings(cfg, [name for name in USES if name != "stepsPerYear"])
    return config.fingerprint([settings, outline_inputs(cfg), runner.need(cfg, stages.RAW_DATA)])


def outline_inputs(cfg: Config) -> list[tuple[str, str]]:
    """Return what stands for the file of the outline, as the manifest holds it."""
    return runner.file_inputs(cfg, ["iceOutline"], outlines.files(cfg.iceOutline))


def check_inputs(cfg: Config) -> None:
    """Raise GlacierError if bands are missing or the outline is none."""
    channel_names(cfg.extractNDSI, next(read_scenes(cfg)).bands)
    if cfg.iceOutline:
        outline_mask(cfg.iceOutline, read_grid(cfg))


def run(cfg: Config) -> int:
    """Make aligned/ of the glacier unless it is up to date; return the exit code."""
    code = runner.run_stage(
        cfg,
        STAGE,
        USES,
        make_aligned,
        outline_inputs(cfg),
        check_inputs,
    )
    export.write(cfg)
    pages.report(cfg)
    return code


if __name__ == "__main__":
    sys.exit(console.main(run))
