"""Score runs and baselines over the test windows:  python DeepLearning/evaluate.py --name=parvati --run=all

Writes scores.csv, scores.png (error by lead time) and patches.png (best, median and worst), for one run into
DeepLearning/runs/RUN/evaluation/, for several into a folder of their own. Whole scenes are forecast, so each pixel
counts once; only really observed pixels count. The region "seen" is the scene the networks were trained on, at times
they were not; "block" is the part of the scene kept out of training as well.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

from config import Config, GlacierError, setting
from DeepLearning.data.glacier import Glacier
from DeepLearning.training import run_folders
from DeepLearning.training.mirror import MODES, Mirror
from DeepLearning.training.networks import choose_device, load_network
from DeepLearning.verification import motion, sections
from DeepLearning.verification.baselines import BASELINES
from DeepLearning.verification.scoring import score
from DeepLearning.verification.tables import draw_patches, draw_scores, table
from glacier import console
from glacier.report import pages
from glacier.storage import runner

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings(Config):
    run: tuple[str, ...] = setting(
        (), "runs to score; empty: the newest; all: the newest of each network"
    )
    device: str = setting("auto", "where to compute", choices=run_folders.DEVICES)
    wandb: str = setting(
        "auto", "Weights & Biases; auto: online if logged in, else offline", choices=MODES
    )


def choose_runs(cfg: Settings, glacier: Glacier) -> list[Path]:
    """Return the runs to score; with --run=all the newest finished one of each network."""
    if cfg.run != ("all",):
        return run_folders.runs_for(cfg, cfg.run, glacier.hash)
    newest = {}
    for run in run_folders.list_runs(name=cfg.name):
        saved = run_folders.read_run(run)
        if runner.read_manifest(run) and saved["patches"].get(cfg.name) == glacier.hash:
            newest[saved["network"]] = run
    return list(newest.values()) or run_folders.runs_for(cfg, (), glacier.hash)


def labels_of(runs: list[Path]) -> dict[str, Path]:
    """Return the runs by the names of their networks, with their numbers where two share a network."""
    names = [run_folders.read_run(run)["network"] for run in runs]
    return {
        name if names.count(name) == 1 else f"{name} {run_folders.run_number(run):03d}": run
        for name, run in zip(names, runs, strict=True)
    }


def run(cfg: Settings) -> int:
    """Score the runs unless that is done; return the exit code."""
    glacier = Glacier(cfg)
    runs = choose_runs(cfg, glacier)
    if not glacier.windows("test"):
        raise GlacierError(
            f"{cfg.name} has no test window; take more years, or a larger testFraction"
        )
    numbers = "-".join(f"{run_folders.run_number(run):03d}" for run in runs)
    own = (
        "evaluation"
        if run_folders.read_run(runs[0])["names"][0] == cfg.name
        else f"evaluation-{cfg.name}"
    )
    folder = (
        runs[0] / own
        if len(runs) == 1
        else run_folders.runs_folder() / f"{cfg.name}-comparison-{numbers}"
    )

    def work(folder: Path) -> runner.Result:
        device = choose_device(cfg.device)
        networks = {label: load_network(run, device) for label, run in labels_of(runs).items()}
        rows = score(glacier, networks, device, BASELINES | motion.baselines(cfg, glacier))
        run_folders.write_csv(folder / "scores.csv", rows)
        files = [
            folder / "scores.csv",
            draw_scores(folder / "scores.png", rows),
            draw_patches(folder / "patches.png", glacier, next(iter(networks.values())), device),
        ]
        mirror = Mirror(cfg.wandb, runs[0], {"runs": [run.name for run in runs]}, "evaluation")
        mirror.table("scores", rows)
        mirror.finish()
        files += sections.evaluation(folder)
        return runner.Result(files, {"test_windows": len(glacier.windows("test"))}, table(rows))

    inputs = {
        run.name: runner.manifest_hash(runner.read_manifest(run)) for run in runs
    } | motion.inputs(cfg)
    inputs["patches"] = glacier.hash
    command = f"python DeepLearning/evaluate.py --name={cfg.name}"
    runner.make(cfg, folder, {"glacier": cfg.name}, inputs, work, command)
    pages.report(cfg)
    log.info("Skill is 1 - MSE / MSE of the baseline: 0 is no better, negative is worse.")
    log.info("Next: python DeepLearning/forecast.py --name=%s", cfg.name)
    return 0


if __name__ == "__main__":
    sys.exit(console.main(run, Settings))
