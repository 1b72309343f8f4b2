"""Stage 4: how fast the ice moves, in metres a year, from pairs of scenes of the same season one and more years apart.

    python movement.py --name=parvati
    python movement.py --name=parvati --maxVelocity=400 --itsLive=its_live_vx.tif

Reads rawData/ and aligned/. Writes movement/: velocity.tif (all years), velocity_<year>.tif, pairs.npy and
movement.json (the velocity of every pair), and pictures.
"""

from __future__ import annotations

import logging
import sys
from datetime import date
from pathlib import Path

import numpy as np

import config
from config import Config, GlacierError
from glacier import console, export, outlines
from glacier.aligned import AlignedScenes, read_aligned_scenes
from glacier.coregistration.resampling import resample
from glacier.ground import OUTLINE_ERROR, outline_mask, persistent_snow
from glacier.report import pages
from glacier.report.movement import describe, draw
from glacier.scenes import Scene, read_grid, read_scenes
from glacier.storage import disk, runner
from glacier.velocity import itslive, velocities
from glacier.velocity.fields import STAGE, combine, period, write_geotiff, yearly
from glacier.velocity.tracking import track_pairs
from glacier.velocity.velocities import SPACING, Field, Nodes, Pair

log = logging.getLogger(__name__)
USES = ("maxVelocity", "trackingBand")


def check_band(cfg: Config) -> None:
    """Raise GlacierError if trackingBand is not to be had."""
    bands = next(read_scenes(cfg)).bands
    possible = (*bands, *(("ndsi",) if {"green", "swir16"} <= set(bands) else ()))
    if cfg.trackingBand not in possible:
        raise GlacierError(
            f"trackingBand must be one of {', '.join(possible)} in this archive; got "
            f"{cfg.trackingBand!r}{config.nearest(cfg.trackingBand, possible)}"
        )


def tracked_image(scene: Scene, band: str) -> np.ndarray:
    """Return what is tracked of a scene, float32 (H, W), NaN where masked: the snow index, or a band's reflectance."""
    if band == "ndsi":
        return scene.snow_index()
    return scene.reflectance(band)


def collect(cfg: Config, aligned: AlignedScenes, path: Path) -> np.ndarray:
    """Return the tracked band of every scene on the common frame, float32 (T, H, W), in a scratch file."""
    with open(path, "wb") as file:
        for scene, matrix in zip(read_scenes(cfg), aligned.matrices, strict=True):
            image = tracked_image(scene, cfg.trackingBand)
            file.write(resample(image, matrix).astype(np.float32).tobytes())
    return np.memmap(path, np.float32, "r", shape=(len(aligned.dates), *aligned.values.shape[-2:]))


def stable_ground(cfg: Config, aligned: AlignedScenes, nodes: Nodes) -> np.ndarray:
    """Return which nodes lie on ground that does not move, bool (h, w); GlacierError if hardly any does."""
    if cfg.iceOutline:
        ice = outline_mask(cfg.iceOutline, nodes.grid, OUTLINE_ERROR)
    elif aligned.channels == ("ndsi",):
        ice = persistent_snow(
            aligned.values[:, 0], [date.fromisoformat(day) for day in aligned.dates]
        )
    else:
        raise GlacierError(
            "what is ice cannot be told from red, green and blue; give an iceOutline, or run "
            f"python alignment.py --name={cfg.name} --extractNDSI=True"
        )
    stable = ~nodes.of(ice)
    if stable.sum() < velocities.MIN_STABLE:
        raise GlacierError(
            f"only {stable.sum()} of {stable.size} grid nodes are stable ground, but velocities need "
            f"{velocities.MIN_STABLE} to refer to; take a larger boundingBox, or check iceOutline"
        )
    return stable


def find_pairs(cfg: Config, aligned: AlignedScenes) -> list[Pair]:
    """Return the pairs of co-registered scenes to track; GlacierError if there is none."""
    usable = np.flatnonzero(aligned.accepted)
    more = f"take more years or a higher maxCloudPercent, then run: python dataAPI.py --name={cfg.name}"
    if len(usable) < 2:
        raise GlacierError(
            f"{len(usable)} co-registered scene{'s' * (len(usable) != 1)}, but movement needs two of "
            f"the same season; {more}"
        )
    days = [date.fromisoformat(aligned.dates[scene]) for scene in usable]
    span = velocities.longest_span(cfg.maxVelocity, abs(aligned.transform[0]))
    pairs = velocities.choose_pairs(days, span)
    if not pairs:
        raise GlacierError(
            f"no two of {len(usable)} scenes, {days[0]} to {days[-1]}, are of the same season (within "
            f"{velocities.SEASON} days) 1 to {span} years apart; {more}"
        )
    return [Pair(int(usable[pair.first]), int(usable[pair.second]), pair.years) for pair in pairs]


def make_movement(cfg: Config, folder: Path) -> runner.Result:
    """Do the work of the stage in its folder; return what it made."""
    aligned = read_aligned_scenes(cfg)
    nodes = Nodes.over(read_grid(cfg), SPACING)
    pairs, stable = find_pairs(cfg, aligned), stable_ground(cfg, aligned, nodes)
    reference = itslive.read(cfg.itsLive, nodes) if cfg.itsLive else None
    days = [date.fromisoformat(day) for day in aligned.dates]
    log.info(
        "  %d pairs of %d scenes, up to %.0f years apart; ice up to %g m/yr is looked for",
        len(pairs),
        len(days),
        max(pair.years for pair in pairs),
        cfg.maxVelocity,
    )
    folder.mkdir(parents=True, exist_ok=True)
    with disk.scratch(folder) as scratch:
        images = collect(cfg, aligned, scratch / "images")
        with disk.writing_array(folder / "pairs.npy", (len(pairs), 3, *nodes.shape)) as tracked:
            records = track_pairs(
                images, pairs, nodes, stable, cfg.maxVelocity, cfg.workers, tracked
            )
        tracked = disk.read_array(folder / "pairs.npy")
        field, ground = combine(tracked, pairs, np.ones(len(pairs), bool), stable)
        tags = {"GLACIER": cfg.name, "BAND": cfg.trackingBand}
        files = [
            write_geotiff(
                folder / "velocity.tif", field, nodes, tags | {"PERIOD": period(pairs, days)}
            )
        ]
        for year, members in yearly(pairs, days):
            chosen = [pair for pair, member in zip(pairs, members, strict=True) if member]
            files.append(
                write_geotiff(
                    folder / f"velocity_{year}.tif",
                    combine(tracked, pairs, members, stable)[0],
                    nodes,
                    tags | {"PERIOD": period(chosen, days)},
                )
            )
        files += draw(folder / "quicklooks", images, days, field, nodes, cfg.trackingBand)
    with disk.writing(folder / "stable.npy") as file:
        np.save(file, stable)
    record = {
        "schema": disk.SCHEMA,
        "crs": nodes.grid.crs,
        "transform": nodes.grid.transform,
        "shape": nodes.grid.shape,
        "dates": aligned.dates,
        "pairs": records,
    }
    files += [
        folder / "pairs.npy",
        folder / "stable.npy",
        disk.write_json(folder / "movement.json", record),
    ]
    result = summary(folder, field, ground, records, stable, reference, files)
    result.files.append(describe(folder, result))
    return result


def summary(
    folder: Path,
    field: Field,
    ground: float,
    records: list[dict],
    stable: np.ndarray,
    reference: np.ndarray | None,
    files: list[Path],
) -> runner.Result:
    """Return the files, the counts and the closing table, with the comparison with ITS_LIVE if there is one."""
    speed, known = np.hypot(*field.velocity), np.isfinite(field.velocity[0])
    used = sum(record["stable_nmad"] is not None for record in records)
    counts = {
        "pairs": len(records),
        "pairs_used": used,
        "known": round(float(known.mean()), 4),
        "stable_nmad": round(ground, 3),
    }
    table = [
        ("pairs of scenes", len(records)),
        ("of them at rest over stable ground", used),
        ("nodes with a velocity [%]", round(100 * float(known.mean()), 1)),
        ("NMAD over stable ground [m/yr]", round(ground, 2)),
    ]
    if (known & ~stable).any():
        ice = known & ~stable
        table += [
            ("ice: median speed [m/yr]", round(float(np.median(speed[ice])), 1)),
            ("ice: fastest (99 %) [m/yr]", round(float(np.percentile(speed[ice], 99)), 1)),
            (
                "ice: median standard error [m/yr]",
                round(float(np.median(np.hypot(*field.error)[ice])), 2),
            ),
        ]
    if reference is not None:
        scores, comparison = itslive.compare(folder, field, reference)
        files = [*files, *comparison]
        table += [
            (f"ITS_LIVE: {name.replace('_', ' ')}", round(score, 3))
            for name, score in scores.items()
        ]
    return runner.Result(files, counts, table)


def check_inputs(cfg: Config) -> None:
    """Raise GlacierError for what cannot give a velocity."""
    check_band(cfg)
    aligned = read_aligned_scenes(cfg)
    find_pairs(cfg, aligned)
    nodes = Nodes.over(read_grid(cfg), SPACING)
    stable_ground(cfg, aligned, nodes)
    if cfg.itsLive:
        itslive.read(cfg.itsLive, nodes)


def run(cfg: Config) -> int:
    """Make movement/ of the glacier unless it is up to date; return the exit code."""
    code = runner.run_stage(
        cfg,
        STAGE,
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
