"""Stage 4: how fast the ice moves, in metres a year, from pairs of scenes.

    python movement.py --name=parvati
    python movement.py --name=parvati --maxVelocity=400 --itsLive=its_live_vx.tif
    python movement.py --name=yahtse --maxVelocity=5000 --pairDays=8,100 --points=-141.4,60.2

Pairs are of one season and whole years apart; where the ice is fast enough, days apart as well. Reads rawData/ and
aligned/. Writes movement/: velocity.tif (all pairs), velocity_series.nc and points.csv (over time), pairs.npy and
movement.json (the velocity of every pair), and pictures.
"""

from __future__ import annotations

import logging
import sys
from datetime import date
from pathlib import Path

from config import Config, GlacierError  # first: it tells who forgot to activate .venv

# isort: split
import numpy as np

from glacier import console, export, outlines, stages
from glacier.aligned import AlignedScenes, read_aligned_scenes
from glacier.grid import Grid
from glacier.ground import OUTLINE_ERROR, outline_mask, persistent_snow
from glacier.report import pages
from glacier.report.movement import describe, draw
from glacier.satellites import sensors
from glacier.scenes import read_finer_bands, read_grid, read_scenes
from glacier.storage import disk, runner
from glacier.velocity import fields, itslive, pairs, preparation, series, summary
from glacier.velocity.pairs import Pair
from glacier.velocity.tracking import track_pairs
from glacier.velocity.velocities import SPACING, Nodes

log = logging.getLogger(__name__)
USES = ("maxVelocity", "trackingBand", "pairDays", "points")


def ice_mask(cfg: Config, aligned: AlignedScenes, grid: Grid) -> np.ndarray:
    """Return what may move on a grid, bool (H, W): inside the outline, or snow that outlasts the melt season.

    Scenes that lie wrong, which the composites leave out too, say nothing of where the snow is.
    """
    if cfg.iceOutline:
        return outline_mask(cfg.iceOutline, grid, OUTLINE_ERROR)
    if aligned.channels == ("ndsi",):
        numbers = np.flatnonzero(aligned.in_composites).tolist()
        indices = [aligned.values[number, 0] for number in numbers]  # memory-mapped
        dates = [date.fromisoformat(aligned.dates[number]) for number in numbers]
        snow = persistent_snow(indices, dates)
        times = grid.shape[0] // len(snow)
        return snow.repeat(times, axis=0).repeat(times, axis=1)
    raise GlacierError(
        "what is ice cannot be told from red, green and blue; give an iceOutline, or run: "
        + console.command(stages.ALIGNED.script, cfg.name, "--extractNDSI=True")
    )


def tracking_grid(cfg: Config) -> tuple[Grid, int]:
    """Return the grid on which the band is tracked, and by how much finer than that of the scenes it is."""
    times = sensors.times_finer(cfg.sensor, cfg.trackingBand, cfg.pixelSize)
    return read_grid(cfg).finer(times), times


def stable_ground(cfg: Config, aligned: AlignedScenes, nodes: Nodes) -> np.ndarray:
    """Return which nodes lie on ground that does not move, bool (h, w); GlacierError if hardly any does."""
    return preparation.stable_nodes(ice_mask(cfg, aligned, nodes.grid), nodes)


def find_pairs(cfg: Config, aligned: AlignedScenes, seen: np.ndarray | None = None) -> list[Pair]:
    """Return the pairs of scenes to track; seen : (T, N) bool, what each shows. GlacierError if there is none."""
    more = f"take more years or a higher maxCloudPercent, then run: {stages.RAW_DATA.command(cfg)}"
    times = sensors.times_finer(cfg.sensor, cfg.trackingBand, cfg.pixelSize)
    pixel_size = abs(aligned.transform[0]) / times
    return preparation.find_pairs(
        [date.fromisoformat(day) for day in aligned.dates],
        aligned.accepted,
        aligned.quality,
        seen,
        pairs.spans(cfg.maxVelocity, pixel_size, cfg.pairDays),
        cfg.pairDays[0] if cfg.pairDays else 0.0,
        more,
    )


def track(
    cfg: Config,
    folder: Path,
    images: np.ndarray,
    chosen: list[Pair],
    nodes: Nodes,
    stable: np.ndarray,
) -> tuple[np.ndarray, list[dict]]:
    """Return the velocities of all pairs (P, 3, h, w), written as pairs.npy, and their records."""
    with disk.writing_array(folder / "pairs.npy", (len(chosen), 3, *nodes.shape)) as out:
        records = track_pairs(images, chosen, nodes, stable, cfg.maxVelocity, cfg.workers, out)
    return disk.read_array(folder / "pairs.npy"), records


def make_movement(cfg: Config, folder: Path) -> runner.Result:
    """Do the work of the stage in its folder; return what it made."""
    aligned = read_aligned_scenes(cfg)
    days = [date.fromisoformat(day) for day in aligned.dates]
    grid, times = tracking_grid(cfg)
    nodes = Nodes.over(grid, SPACING)
    ice = ice_mask(cfg, aligned, grid)
    stable = preparation.stable_nodes(ice, nodes)
    reference = itslive.read(cfg.itsLive, nodes) if cfg.itsLive else None
    folder.mkdir(parents=True, exist_ok=True)
    with disk.scratch(folder) as scratch:
        images = preparation.collect(
            read_scenes(cfg),
            aligned.matrices,
            cfg.trackingBand,
            grid.shape,
            scratch / "images",
            times,
        )
        seen = np.array([np.isfinite(nodes.of(image)).ravel() for image in images])  # (T, nodes)
        chosen = find_pairs(cfg, aligned, seen)
        log.info("  %s", summary.plan(chosen, days, cfg.maxVelocity))
        tracked, records = track(cfg, folder, images, chosen, nodes, stable)
        results = summary.results(tracked, chosen, records, days, stable, nodes, cfg.points)
        files = draw(folder / "quicklooks", images, days, results, nodes, cfg.trackingBand)
    margin = preparation.margin_nodes(ice, nodes)
    tags = {"GLACIER": cfg.name, "BAND": cfg.trackingBand, "PERIOD": fields.period(chosen, days)}
    files += [
        fields.write_geotiff(folder / "velocity.tif", results.field, margin, nodes, tags),
        fields.write_style(folder / "velocity.tif", results.field),
        series.write_series(folder / "velocity_series.nc", results.series, nodes, cfg.name),
        series.write_points(folder / "points.csv", results.point_rows),
        folder / "pairs.npy",
        *fields.write_record(folder, nodes, aligned.dates, records, stable, times),
    ]
    result = summary.closing(results, stable, margin, files)
    if reference is not None:
        itslive.add_comparison(folder, results.field, reference, result)
    result.files.append(describe(folder, result))
    return result


def check_inputs(cfg: Config) -> None:
    """Raise GlacierError for what cannot give a velocity."""
    preparation.check_band(cfg.trackingBand, next(read_scenes(cfg)).bands)
    grid, times = tracking_grid(cfg)
    if times > 1 and read_finer_bands(cfg) != {cfg.trackingBand}:
        raise GlacierError(
            f"rawData/ holds {cfg.trackingBand} at {cfg.pixelSize:g} m only, but it is tracked at "
            f"{grid.pixel_size:g} m; run first: "
            + console.command(
                stages.RAW_DATA.script, cfg.name, f"--trackingBand={cfg.trackingBand}"
            )
        )
    aligned = read_aligned_scenes(cfg)
    find_pairs(cfg, aligned)
    nodes = Nodes.over(grid, SPACING)
    series.place_points(cfg.points, nodes)
    stable_ground(cfg, aligned, nodes)
    if cfg.itsLive:
        itslive.read(cfg.itsLive, nodes)


def run(cfg: Config) -> int:
    """Make movement/ of the glacier unless it is up to date; return the exit code."""
    code = runner.run_stage(
        cfg,
        fields.STAGE,
        USES,
        make_movement,
        runner.file_inputs(
            cfg,
            ["iceOutline", "itsLive"],
            [*outlines.files(cfg.iceOutline), *itslive.files(cfg.itsLive)],
        ),
        check_inputs,
    )
    export.write(cfg)
    log.info("All of %s in one page: %s", cfg.name, pages.report(cfg))
    return code


if __name__ == "__main__":
    sys.exit(console.main(run))
