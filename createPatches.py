"""Stage 3: cut the composites into sequences of patches, and keep the test out of the training.

    python createPatches.py --name=parvati

Reads aligned/. Writes patches/: images/ (inputs), targets/ (ground truth) and observed/ (which target pixels were
really seen), one file a time window; splits.yaml (who is train, validation, test or gap, with the proof); pictures.

A window is sequenceLength input steps and the horizon target steps after them. Test are the windows whose targets lie
in the last testFraction of the steps, validation those just before; a window that straddles a border is a gap, used
nowhere. A block of the scene is kept out of training as well. Patches are strided views: a file holds its window once,
however much the patches overlap.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from config import Config, GlacierError
from glacier import console
from glacier.patches.cutting import cut, stitch
from glacier.patches.split import PARTS, Split, choose_block, patch_parts, prove, split_windows
from glacier.patches.windows import STAGE, read_patches, read_series, write_split, write_window
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


def make_patches(cfg: Config, folder: Path) -> runner.Result:
    """Write the windows, the split and its proof."""
    series = read_series(cfg)
    shape = series.values.shape[-2:]
    if cfg.patchSize > min(shape):
        raise GlacierError(
            f"patchSize {cfg.patchSize} px is larger than the scene of {shape[0]} x {shape[1]} px; "
            f"give at most {min(shape)}, or a larger boundingBox"
        )
    parts = split_windows(
        len(series.dates), cfg.sequenceLength, cfg.horizon, cfg.testFraction, cfg.validationFraction
    )
    training_steps = parts.count("train") + cfg.sequenceLength + cfg.horizon - 1
    split = Split(parts, choose_block(series.values[:training_steps], cfg.patchSize, cfg.stride))
    proof = prove(split, shape, cfg.patchSize, cfg.stride, cfg.sequenceLength, cfg.horizon)
    files = []
    for start in console.progress(range(len(parts)), "windows"):
        files += write_window(cfg, folder, series, start)
    files += write_split(folder, series, split, proof)
    patches = patch_parts(shape, cfg.patchSize, cfg.stride, split.block)
    counts = {
        "steps": len(series.dates),
        "windows": len(parts),
        "patches_a_window": patches.size,
    } | proof
    table = [
        ("windows", *(f"{parts.count(part)} {part}" for part in PARTS)),
        (
            "patches a window",
            *(f"{(patches == part).sum()} {part}" for part in ("train", "block", "gap")),
        ),
        *((name.replace("_", " "), number) for name, number in proof.items()),
    ]
    files += draw(cfg, folder, series, split, proof)
    return runner.Result(files, counts, table)


def run(cfg: Config) -> int:
    """Make patches/ of the glacier."""
    code = runner.run_stage(cfg, STAGE, USES, ["aligned"], make_patches)
    pages.report(cfg)
    return code


if __name__ == "__main__":
    sys.exit(console.main(run))
