"""Stage 1: satellite scenes of the glacier, from a STAC archive onto one grid.

    python dataAPI.py --name=parvati --dryRun=True     # how many scenes, MB and requests
    python dataAPI.py --name=parvati
    python dataAPI.py --name=alps --outlines=rgi.shp --minArea=1     # glacier.yaml of each: datasets/alps/<id>/
    python dataAPI.py --name='alps/*'

Reads the Planetary Computer, another STAC API, a catalogue or items on disk or the web (`source`).
Writes datasets/<name>/rawData/<year>.pkl: all bands as digital numbers with their mask, scene by scene; and
context/elevation.npy, the elevation of the ground.
Exit code 3: scenes were lost to faults of archive or network; the same command tries those again, and only those.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import config
from config import Config, GlacierError, setting
from glacier import agreement, console, elevation
from glacier.report import pages
from glacier.report.scenes import describe
from glacier.satellites import sensors, signing
from glacier.satellites.fetching import counts_of, fetch_all, gather, table_of
from glacier.satellites.layers import Job
from glacier.satellites.planning import Plan, make_plan, plan_table
from glacier.satellites.search import Query, source_hash
from glacier.scenes import (
    STAGE,
    earlier_grid,
    join_years,
    read_grid,
    read_scenes,
    take_back,
    write_biases,
)
from glacier.storage import disk, runner

# What other people's scripts import from here.
__all__ = ["read_scenes", "read_grid", "run"]

log = logging.getLogger(__name__)
USES = (
    "boundingBox",
    "years",
    "sensor",
    "collection",
    "platforms",
    "maxCloudPercent",
    "maxMissingFraction",
    "pixelSize",
)


@dataclass(frozen=True)
class Settings(Config):
    outlines: str | None = setting(
        None, "make the glaciers of a group (name) from this file of outlines, as RGI's", path=True
    )
    ids: tuple[str, ...] = setting((), "of the outlines to take; empty: all in boundingBox")
    minArea: float = setting(0.0, "smaller outlines are not taken [km2]", low=0)


def plan_of(cfg: Config) -> Plan:
    """Search the archive; return what is to be read."""
    query = Query(
        cfg.source,
        cfg.boundingBox,
        cfg.years,
        cfg.sensor,
        cfg.collection,
        cfg.platforms,
        cfg.maxCloudPercent,
    )
    grid = earlier_grid(cfg.folder / STAGE, cfg.boundingBox, cfg.pixelSize)
    return make_plan(query, cfg.pixelSize, cfg.workers, grid, cfg.trackingBand)


def read_years(cfg: Config, folder: Path) -> runner.Result:
    """Search, read, mask and write the yearly pickles."""
    plan = plan_of(cfg)
    log.info("  %d scenes of %s on %s", len(plan.scenes), ", ".join(cfg.sensor), described(plan))
    header = header_of(cfg, plan)
    waiting = folder / f".scenes-{header['made_with']}"
    if cfg.force:
        taken = 0
    else:
        taken = take_back(folder, waiting, header["made_with"])
    if taken:
        log.info("  %d scenes are there already", taken)
    job = Job(
        tuple(plan.bands),
        plan.grid,
        cfg.maxMissingFraction,
        header["scale"],
        header["offset"],
        waiting,
        cfg.workers,
        plan.finer,
    )
    acquisitions = [acquisition for scene in plan.scenes for acquisition in scene]
    signing.get_first_tokens(acquisition.bands["green"].href for acquisition in acquisitions)
    outcomes = console.progress(
        fetch_all(plan.scenes, job, cfg.executor),
        "scenes",
        len(plan.scenes),
        megabytes=lambda outcome: outcome.megabytes,
    )
    harvest = gather(plan.scenes, list(outcomes), plan.dropped)
    files = join_years(folder, header, harvest, waiting)
    counts = counts_of(harvest, plan.dropped) | {"grid": grid_facts(plan)}
    table = table_of(harvest, plan.dropped)
    return runner.Result(files, counts, table, exit_code=3 if harvest.lost else 0)


def header_of(cfg: Config, plan: Plan) -> dict:
    """Return what all scenes share; `made_with` tells a later run whether it would make them alike."""
    row = sensors.find(cfg.sensor[0])
    settings = runner.used_settings(cfg, [name for name in USES if name != "years"])
    grid = grid_facts(plan)
    finer = {"finer": list(plan.finer)} if plan.finer[0] else {}
    parts = [settings, source_hash(cfg.source), plan.bands, grid]
    made_with = config.fingerprint([*parts, finer] if finer else parts)
    return {
        "schema": disk.SCHEMA,
        **grid,
        **finer,
        "bands": plan.bands,
        "scale": row.scale,
        "offset": row.offset,
        "nodata": 0,
        "made_with": made_with,
    }


def grid_facts(plan: Plan) -> dict:
    """Return the grid as plain values."""
    grid = plan.grid
    return {"crs": grid.crs, "transform": list(grid.transform), "shape": list(grid.shape)}


def described(plan: Plan) -> str:
    """Return grid and bands in a few words."""
    height, width = plan.grid.shape
    bands = ", ".join(plan.bands)
    text = f"{height} x {width} px of {plan.grid.pixel_size:g} m, {plan.grid.crs}; bands {bands}"
    band, times = plan.finer
    return f"{text}; {band} at {plan.grid.pixel_size / times:g} m too" if band else text


def compare(cfg: Config, folder: Path, result: runner.Result) -> None:
    """Add to a result whether the sensors agree, where scenes of several overlap."""
    scenes = read_scenes(dataclasses.replace(cfg, harmonise=False))
    biases = agreement.compare_sensors(scenes, cfg.sensor)
    numbers = {one.sensor: one.bias for one in biases if math.isfinite(one.bias)}
    if numbers:
        rows = agreement.table_of(biases, cfg.sensor[0])
        result.files.append(write_biases(folder, numbers))
        result.table += rows
        result.counts["sensors"] = dict(rows)


def make_years(cfg: Config, folder: Path) -> runner.Result:
    """Make the yearly pickles and the pictures of what they hold."""
    result = read_years(cfg, folder)
    compare(cfg, folder, result)
    result.files += describe(cfg, folder, result.counts)
    return result


def say_plan(cfg: Config) -> int:
    """Print how many scenes each year has, how many MB (uncompressed) and requests they take, and read none."""
    plan = plan_of(cfg)
    lines = console.lines_of(plan_table(plan, cfg.years))
    log.info("%s\n%s", described(plan), "\n".join(lines))
    log.info("Nothing was read. Next: %s", STAGE.command(cfg))
    return 0


def check_box(cfg: Config) -> None:
    """Raise GlacierError for another name with the box of the default glacier: it was never drawn."""
    if cfg.name == Config.name or cfg.boundingBox != Config.boundingBox:
        return
    names = sorted(path.parent.name for path in cfg.folder.parent.glob("*/glacier.yaml"))
    there = ""
    if names:
        there = f" (glaciers with one: {', '.join(names)})"
    raise GlacierError(
        f"glacier {cfg.name!r} has no boundingBox of its own{config.nearest(cfg.name, names)}{there}; "
        f"draw it in the notebook, or give its --boundingBox"
    )


def make_region(cfg: Settings) -> int:
    """Write the settings of each glacier of an outline file."""
    from glacier import region

    within = None if cfg.boundingBox == Config.boundingBox else cfg.boundingBox
    rows = region.write_region(cfg, cfg.outlines, cfg.ids, cfg.minArea, within)
    log.info("%s", "\n".join(console.lines_of(rows)))
    log.info("Next: %s", console.command(STAGE.script, f"{cfg.name}/*"))
    return 0


def inputs_of(cfg: Config) -> list[tuple[str, str]]:
    """Return what the stage reads that is no setting of its own: the archive, and a band that is kept finer as well.

    Who tracks another band later need not read the scenes again.
    """
    inputs = source_hash(cfg.source)
    if sensors.times_finer(cfg.sensor, cfg.trackingBand, cfg.pixelSize) > 1:
        inputs.append(("finer band", cfg.trackingBand))
    return inputs


def run(cfg: Config) -> int:
    """Make rawData/ of the glacier, or with dryRun only say what that means."""
    if getattr(cfg, "outlines", None):
        return make_region(cfg)
    check_box(cfg)
    if cfg.dryRun:
        return say_plan(cfg)
    code = runner.run_stage(
        cfg,
        STAGE,
        USES,
        make_years,
        inputs_of(cfg),
        after=lambda: elevation.make_elevation(cfg, read_grid(cfg)),
    )
    pages.report(cfg)
    return code


if __name__ == "__main__":
    sys.exit(console.main(run, Settings))
