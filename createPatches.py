"""Stage 3: cut the composites into sequences of patches, and keep the test out of the training.

    python createPatches.py --name=parvati

Reads aligned/. Writes patches/: images/ (inputs), targets/ (ground truth) and observed/ (which target pixels were
really seen), one file a time window; splits.yaml (who is train, validation, test or gap, with the proof); pictures.

A window is sequenceLength input steps and the horizon target steps after them. Test are the windows whose targets lie
in the last testFraction of the steps, validation those just before, in whole years from four years on; a window that
straddles a border is a gap, used nowhere. A block of the scene is kept out of training as well. Patches are strided
views: a file holds its window once, however much the patches overlap.
"""

from __future__ import annotations

import logging
import sys
from datetime import date
from pathlib import Path

from config import Config, GlacierError
from glacier import console
from glacier.patches import census
from glacier.patches.cutting import cut, stitch
from glacier.patches.split import (
    PARTS,
    Split,
    choose_block,
    mean_image,
    patch_parts,
    prove,
    split_windows,
    validation_years,
)
from glacier.patches.windows import (
    STAGE,
    Series,
    is_index,
    read_patches,
    read_series,
    write_split,
    write_window,
)
from glacier.report import pages
from glacier.report.patches import draw
from glacier.storage import runner

# What other people's scripts import from here.
__all__ = ["cut", "stitch", "read_patches", "read_series", "run"]

log = logging.getLogger(__name__)
USES = (
    "patchSize",
    "stride",
    "sequenceLength",
    "horizon",
    "snowThreshold",
    "testFraction",
    "validationFraction",
)


def split_series(cfg: Config, series: Series) -> Split:
    """Return the split of a series in time, and the block kept out; GlacierError if patches do not fit."""
    height, width = series.values.shape[-2:]
    if cfg.patchSize > min(height, width):
        raise GlacierError(
            f"patchSize {cfg.patchSize} px is larger than the scene of {height} x {width} px; "
            f"give at most {min(height, width)}, or a larger boundingBox"
        )
    parts = split_windows(
        len(series.dates),
        cfg.sequenceLength,
        cfg.horizon,
        cfg.testFraction,
        cfg.validationFraction,
        series.steps_per_year,
    )
    training_steps = parts.count("train") + cfg.sequenceLength + cfg.horizon - 1
    image = mean_image(series.values, training_steps)
    block = choose_block(image[None, None], cfg.patchSize, cfg.stride)
    return Split(parts, block)


def count_split(
    cfg: Config, series: Series, split: Split
) -> tuple[dict[str, census.Holding], list[str]]:
    """Return what each part of the split holds, and what a user should know before trusting scores."""
    holdings = census.count_parts(
        series.values,
        series.observed,
        split,
        cfg.sequenceLength,
        cfg.horizon,
        is_index(series.channels),
    )
    years = validation_years(len(series.dates), series.steps_per_year, cfg.validationFraction)
    lines = census.warnings(holdings, split, years)
    dates = [date.fromisoformat(day) for day in series.dates]
    months = census.unseen_months(dates, series.observed, series.steps_per_year)
    if months:
        lines.append(
            f"never observed: {', '.join(months)}; forecasts of these months rest on no observation"
        )
    return holdings, lines


def closing_table(
    split: Split, patches, proof: dict[str, int], holdings: dict[str, census.Holding]
) -> list[tuple]:
    """Return the lines of the closing table. patches : (rows, columns), the part of each patch."""
    windows = [f"{split.parts.count(part)} {part}" for part in PARTS]
    places = [f"{(patches == part).sum()} {part}" for part in ("train", "block", "gap")]
    table = [("windows", *windows), ("patches a window", *places)]
    for name, number in proof.items():
        table.append((name.replace("_", " "), number))
    for part, held in holdings.items():
        dates = f"{held.dates} of {held.of} target dates"
        table.append((f"{part} observed", dates, f"{held.pixels} pixels"))
    return table


def make_patches(cfg: Config, folder: Path) -> runner.Result:
    """Write the windows, the split and its proof."""
    series = read_series(cfg)
    shape = series.values.shape[-2:]
    split = split_series(cfg, series)
    proof = prove(split, shape, cfg.patchSize, cfg.stride, cfg.sequenceLength, cfg.horizon)
    holdings, warnings = count_split(cfg, series, split)
    for line in warnings:
        log.warning("Beware: %s.", line)
    files = []
    for start in console.progress(range(len(split.parts)), "windows"):
        files += write_window(cfg, folder, series, start)
    files += write_split(folder, series, split, proof)
    files += draw(cfg, folder, series, split, proof, holdings, warnings)
    patches = patch_parts(shape, cfg.patchSize, cfg.stride, split.block)
    observed = {
        part: {"dates": held.dates, "pixels": held.pixels} for part, held in holdings.items()
    }
    counts = {
        "steps": len(series.dates),
        "windows": len(split.parts),
        "patches_a_window": patches.size,
        "observed_targets": observed,
        **proof,
    }
    return runner.Result(files, counts, closing_table(split, patches, proof, holdings))


def run(cfg: Config) -> int:
    """Make patches/ of the glacier."""
    code = runner.run_stage(cfg, STAGE, USES, make_patches)
    pages.report(cfg)
    return code


if __name__ == "__main__":
    sys.exit(console.main(run))
