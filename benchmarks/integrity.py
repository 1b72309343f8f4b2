"""What the look for damage costs each stage:  python benchmarks/integrity.py --name=demo

Every file that a stage reads of the stages before it is compared with its manifest: read whole, once a run. Here all
their files are compared again (of aligned/ those that the stage reads), and the seconds set against those of the
stage when it was made. Needs a glacier that went through all stages (make demo); changes nothing.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import config
from config import Config, GlacierError
from DeepLearning.training import run_folders
from glacier import console, stages
from glacier.storage import integrity

log = logging.getLogger(__name__)
ALLOWED = 0.05  # of a stage's time
# of aligned/: the scenes, many times larger than the rest, are read by movement.py alone
COMPOSITES = ("composites.npy", "composites.json", "observed.npy")


def manifest_of(folder: Path) -> dict:
    """Return the manifest of a finished folder; GlacierError if there is none."""
    manifest = integrity.read_manifest(folder)
    if manifest is None:
        raise GlacierError(f"{folder} is not finished; make demo runs every stage")
    return manifest


def inputs_of(cfg: Config) -> dict[Path, list[Path]]:
    """Return the folders that each stage, training, evaluation and forecast reads, by its own."""
    folders = {}
    for stage in stages.STAGES:
        if stage.reads:
            folders[cfg.folder / stage] = [cfg.folder / earlier for earlier in stage.reads]
    for run in run_folders.list_runs(name=cfg.name)[-1:]:
        read = [cfg.folder / stages.PATCHES, cfg.folder / stages.ALIGNED]
        folders[run] = read
        folders[run / "evaluation"] = [*read, run]
        folders[run / "forecast"] = [*read, run]
    return folders


def compare_all(folders: Iterable[Path], reads_scenes: bool) -> tuple[float, float]:
    """Compare the files of finished folders with their manifests; return MB and seconds."""
    size = 0
    start = time.perf_counter()
    for folder in folders:
        manifest = manifest_of(folder)
        is_partly_read = folder.name == stages.ALIGNED.folder and not reads_scenes
        for name, output in manifest["outputs"].items():
            if is_partly_read and name not in COMPOSITES:
                continue
            integrity.difference(folder / name, output)
            size += output["bytes"]
    return size / 1e6, time.perf_counter() - start


def run(cfg: Config) -> int:
    """Print a row for each stage; return 1 if the look for damage takes more than ALLOWED of one."""
    rows: list[tuple] = [("made", "MB compared", "s comparing", "s in all", "%")]
    worst = 0.0
    for folder, read in inputs_of(cfg).items():
        whole = manifest_of(folder)["seconds"]
        size, seconds = compare_all(read, folder.name == stages.MOVEMENT.folder)
        share = seconds / max(whole, 1e-3)
        worst = max(worst, share)
        name = folder.relative_to(config.home()).as_posix()
        rows.append(
            (name, round(size, 1), round(seconds, 2), round(whole, 1), f"{100 * share:.1f}")
        )
    log.info("%s", "\n".join(console.lines_of(rows)))
    return int(worst > ALLOWED)


if __name__ == "__main__":
    sys.exit(console.main(run))
