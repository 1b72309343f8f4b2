"""Stage 1: satellite scenes of the glacier, from a STAC archive onto one grid.

    python dataAPI.py --name=parvati --dryRun=True     # how many scenes, MB and requests
    python dataAPI.py --name=parvati

Reads the Planetary Computer, another STAC API, or a catalogue on disk (`source`).
Writes datasets/<name>/rawData/<year>.pkl: all bands as digital numbers with their mask, scene by scene.
Exit code 3: scenes were lost to faults of archive or network; the same command tries those again, and only those.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from itertools import islice
from pathlib import Path

import config
from config import Config, GlacierError
from glacier import console
from glacier.report import pages
from glacier.report.scenes import describe
from glacier.satellites import sensors, signing
from glacier.satellites.assembly import Job, Outcome, fetch
from glacier.satellites.search import Item
from glacier.satellites.selection import (
    count_reasons,
    find_bands,
    find_days,
    glacier_grid,
    source_hash,
)
from glacier.scenes import STAGE, join_year, read_grid, read_scenes, take_back
from glacier.storage import disk, runner
from glacier.workers import workplace

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
REQUESTS_PER_FILE = 3  # size, header, pixels; more where the box cuts through wide files


class AllLostError(GlacierError):
    """Not one scene could be read."""

    exit_code = 3


def fetch_all(cfg: Config, days: list[list[Item]], job: Job) -> Iterator[Outcome]:
    """Yield what became of each scene, as they finish; few wait at a time, so memory stays flat."""
    with workplace(cfg) as (pool, at_once):
        rest, running = iter(days), set()
        while True:
            running |= {
                pool.submit(fetch, day, job) for day in islice(rest, at_once - len(running))
            }
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)


def read_years(cfg: Config, folder: Path) -> runner.Result:
    """Search, read, mask and write the yearly pickles."""
    grid = glacier_grid(cfg)
    days, dropped = find_days(cfg, grid)
    bands = find_bands(cfg, days)
    log.info(
        "  %d scenes of %s on %d x %d px of %g m, %s; bands %s",
        len(days),
        ", ".join(cfg.sensor),
        *grid.shape,
        cfg.pixelSize,
        grid.crs,
        ", ".join(bands),
    )
    settings = runner.used_settings(cfg, [name for name in USES if name != "years"])
    made_with = config.fingerprint([settings, source_hash(cfg), bands])
    waiting = folder / f".scenes-{made_with}"
    taken = 0 if cfg.force else take_back(folder, waiting, made_with)
    if taken:
        log.info("  %d scenes are there already", taken)
    row = sensors.find(cfg.sensor[0])
    job = Job(
        tuple(bands), grid, cfg.maxMissingFraction, row.scale, row.offset, waiting, cfg.workers
    )
    signing.get_first_tokens(
        item.hrefs[row.bands["green"]]
        for day in days
        for item in day
        for row in [sensors.find(item.sensor)]
    )
    outcomes = {
        outcome.id: outcome
        for outcome in console.progress(
            fetch_all(cfg, days, job),
            "scenes",
            len(days),
            megabytes=lambda outcome: outcome.megabytes,
        )
    }
    header = {
        "schema": disk.SCHEMA,
        "crs": grid.crs,
        "transform": list(grid.transform),
        "shape": list(grid.shape),
        "bands": bands,
        "scale": row.scale,
        "offset": row.offset,
        "nodata": 0,
        "made_with": made_with,
    }
    return conclude(folder, waiting, header, days, outcomes, dropped)


def conclude(
    folder: Path,
    waiting: Path,
    header: dict,
    days: list[list[Item]],
    outcomes: dict[str, Outcome],
    dropped: list[tuple[str, str]],
) -> runner.Result:
    """Join the waiting scenes into years; return what was made, dropped and lost, exit code 3 if any was lost."""
    found = [(day[0], outcomes[day[0].id]) for day in days]
    kept = [item for item, outcome in found if not outcome.reason and not outcome.fault]
    unfit = [(item, outcome.reason) for item, outcome in found if outcome.reason]
    lost = {item.id: outcome.fault for item, outcome in found if outcome.fault}
    dropped = [*dropped, *((item.id, reason) for item, reason in unfit)]
    if not kept and lost:
        raise AllLostError(
            f"{len(lost)} of {len(days)} scenes were lost to faults and none is left: "
            f"{count_reasons([*lost.items(), *dropped])}; check the network, then run again"
        )
    if not kept:
        raise GlacierError(
            f"none of {len(days)} scenes is usable: {count_reasons(dropped)}; "
            "raise maxCloudPercent or maxMissingFraction"
        )
    files = []
    for year in sorted({item.datetime.year for item in kept}):
        own = {"dropped": [item.id for item, _ in unfit if item.datetime.year == year]}
        files.append(
            join_year(
                folder,
                year,
                header | own,
                [item for item in kept if item.datetime.year == year],
                waiting,
            )
        )
    counts = {
        "kept": len(kept),
        "dropped": len(dropped),
        "lost": len(lost),
        "dropped_scenes": dict(dropped),
        "lost_scenes": lost,
    }
    table = [
        ("scenes kept", len(kept)),
        *((f"dropped: {why}", n) for why, n in count_reasons(dropped).items()),
        *((f"lost: {name}: {fault}",) for name, fault in lost.items()),
    ]
    if lost:
        table.append(
            (
                f"{len(lost)} scenes were lost to faults: the same command tries them again, and only them",
            )
        )
    return runner.Result(files, counts, table, exit_code=3 if lost else 0)


def make_years(cfg: Config, folder: Path) -> runner.Result:
    """Make the yearly pickles and the pictures of what they hold."""
    result = read_years(cfg, folder)
    result.files += describe(cfg, folder, result.counts)
    return result


def say_plan(cfg: Config) -> int:
    """Print how many scenes each year has, how many MB (uncompressed) and requests they take, and read none."""
    grid = glacier_grid(cfg)
    days, dropped = find_days(cfg, grid)
    megabytes = 2e-6 * grid.shape[0] * grid.shape[1]
    rows: list[tuple] = [("year", "scenes", "files", "MB", "requests")]
    for year in range(cfg.years[0], cfg.years[1] + 1):
        scenes = [day for day in days if day[0].datetime.year == year]
        files = sum(
            key in item.hrefs
            for day in scenes
            for item in day
            for row in [sensors.find(item.sensor)]
            for key in (*row.bands.values(), *row.quality)
        )
        rows.append(
            (year, len(scenes), files, round(files * megabytes, 1), files * REQUESTS_PER_FILE)
        )
    rows.append(
        ("all", *(round(sum(row[column] for row in rows[1:]), 1) for column in range(1, 5)))
    )
    rows += [(f"left out: {reason}", count) for reason, count in count_reasons(dropped).items()]
    log.info(
        "%d x %d px of %g m, %s\n%s",
        *grid.shape,
        cfg.pixelSize,
        grid.crs,
        "\n".join(console.lines_of(rows)),
    )
    log.info("Nothing was read. Next: python dataAPI.py --name=%s", cfg.name)
    return 0


def run(cfg: Config) -> int:
    """Make rawData/ of the glacier, or with dryRun only say what that means."""
    if cfg.name != Config.name and cfg.boundingBox == Config.boundingBox:
        known = sorted(path.parent.name for path in cfg.folder.parent.glob("*/glacier.yaml"))
        raise GlacierError(
            f"glacier {cfg.name!r} has no boundingBox of its own{config.nearest(cfg.name, known)}; "
            f"draw it in the notebook, or give its --boundingBox"
        )
    if cfg.dryRun:
        return say_plan(cfg)
    code = runner.run_stage(cfg, STAGE, USES, make_years, source_hash(cfg))
    pages.report(cfg)
    return code


if __name__ == "__main__":
    sys.exit(console.main(run))
