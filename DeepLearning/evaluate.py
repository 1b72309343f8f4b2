"""Score runs and baselines over the test windows:  python DeepLearning/evaluate.py --name=parvati --run=all

Writes scores.csv, pictures of skill, reliability, ranks and bands, and patches.png (best, median and worst), for one
run into DeepLearning/runs/RUN/evaluation/, for several into a folder of their own. Whole scenes are forecast, so each
pixel counts once; only really observed pixels count, and the same ones for every method. The region "seen" is the scene
the networks were trained on, at times they were not; "block" is the part of the scene kept out of training as well;
"seen, in doubt" the pixels where climatology gives snow between 5 and 95 %; "seen, all years" holds what needs no
training, from the second year on.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # where config.py is
import config
from config import Config, GlacierError, setting  # first: it tells who forgot to activate .venv

# isort: split
import torch

from DeepLearning.data.glacier import Glacier
from DeepLearning.training import choice, run_folders
from DeepLearning.training.mirror import MODES, Mirror
from DeepLearning.training.networks import choose_device, load_network
from DeepLearning.verification import motion, pictures, regions, sections, tables
from DeepLearning.verification.baselines import fitted, unfitted
from DeepLearning.verification.diagnosis import Diagnosis
from DeepLearning.verification.scoring import REFERENCE, rolling_rows, rows_of, score
from glacier import console
from glacier.report import pages
from glacier.storage import runner

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings(Config):
    run: tuple[str, ...] = setting(
        (), "runs to score; empty: the best by validation; all: the newest of each network"
    )
    device: str = setting("auto", "where to compute", choices=run_folders.DEVICES)
    wandb: str = setting(
        "auto", "Weights & Biases; auto: online if logged in, else offline", choices=MODES
    )


def choose_runs(cfg: Settings, glacier: Glacier) -> list[Path]:
    """Return the runs to score: those named, the newest of each network, or the best by validation."""
    finished = choice.finished_runs(cfg.name, glacier.hash)
    if not finished or (cfg.run and cfg.run != ("all",)):
        return run_folders.runs_for(cfg, () if cfg.run == ("all",) else cfg.run, glacier.hash)
    if cfg.run == ("all",):
        return choice.newest_of_each_network(finished)
    best, why = choice.best_run(finished)
    log.info("Scoring %s: %s.", best.name, why)
    return [best]


def folder_of(cfg: Settings, runs: list[Path]) -> Path:
    """Return where the scores go: into the run, or a folder of their own for several."""
    if len(runs) == 1:
        return choice.folder_in(runs[0], "evaluation", cfg.name)
    numbers = "-".join(f"{run_folders.run_number(run):03d}" for run in runs)
    return run_folders.runs_folder() / f"{config.file_name(cfg.name)}-comparison-{numbers}"


def load_networks(runs: list[Path], device: torch.device) -> dict[str, torch.nn.Module]:
    """Return the networks by name; those left at their start by validation together, as one stands for all.

    They are alike where they carry the same part of the region's departures.
    """
    networks: dict[str, torch.nn.Module] = {}
    at_start: dict[tuple, dict[str, torch.nn.Module]] = {}
    for label, run in choice.labels_of(runs).items():
        network = load_network(run, device)
        if network.factor.any():
            networks[label] = network
            continue
        carried = tuple(network.region_carry.tolist())
        at_start.setdefault(carried, {})[label] = network
    for alike in at_start.values():
        name = f"{', '.join(alike)} (at start)"
        networks[name] = next(iter(alike.values()))
    return networks


def evaluate(
    cfg: Settings, folder: Path, glacier: Glacier, runs: list[Path], moves: bool
) -> runner.Result:
    """Score the runs beside the baselines; write table and pictures. moves : the movement stage is finished."""
    device = choose_device(cfg.device)
    networks = load_networks(runs, device)
    untrained: dict[str, Callable] = unfitted(glacier)
    baselines = untrained | fitted(glacier)
    if moves:
        baselines |= motion.baselines(cfg, glacier)
    firsts = [glacier.patches.windows[number].start for number in glacier.windows("test")]
    diagnosed = {REFERENCE: Diagnosis()}
    for name in networks:
        diagnosed[name] = Diagnosis()
    scored = score(glacier, networks | baselines, device, firsts, diagnosed)
    rows = rows_of(scored, glacier)
    if not rows:
        raise GlacierError(
            f"no pixel of {cfg.name}'s test targets was really observed; take more years, or a larger testFraction"
        )
    rows += rolling_rows(glacier, untrained, device)
    run_folders.write_csv(folder / "scores.csv", rows)
    main_network = next(iter(networks))
    network = networks[main_network]
    seen = regions.region_masks(glacier)["seen"]
    files = [folder / "scores.csv", pictures.draw_skill(folder / "skill.png", rows)]
    files += pictures.draw_probabilities(folder, diagnosed)
    files.append(pictures.draw_bands(folder / "bands.png", glacier, network, device, firsts, seen))
    files.append(pictures.draw_patches(folder / "patches.png", glacier, network, device, firsts))
    sentence = tables.verdict_of(rows, main_network)
    files += sections.evaluation(folder, rows, sentence, list(networks))
    mirror = Mirror(cfg.wandb, runs[0], {"runs": [run.name for run in runs]}, "evaluation")
    mirror.table("scores", rows)
    mirror.finish()
    log.info("%s", sentence)
    counts = {"test_windows": len(firsts), "verdict": sentence}
    return runner.Result(files, counts, tables.skill_by_lead(rows, list(networks)))


def run(cfg: Settings) -> int:
    """Score the runs unless that is done; return the exit code."""
    glacier = Glacier(cfg)
    runs = choose_runs(cfg, glacier)
    if not glacier.windows("test"):
        raise GlacierError(
            f"{cfg.name} has no test window; take more years, or a larger testFraction"
        )
    folder = folder_of(cfg, runs)
    inputs = {run.name: runner.manifest_hash(runner.read_manifest(run)) for run in runs}
    movement = motion.inputs(cfg)
    inputs |= movement | {"patches": glacier.hash}

    def work(target: Path) -> runner.Result:
        return evaluate(cfg, target, glacier, runs, bool(movement))

    chosen = []
    if cfg.run:
        chosen = [f"--run={','.join(cfg.run)}"]
    command = console.command("DeepLearning/evaluate.py", cfg.name, *chosen)
    runner.make(cfg, folder, {"glacier": cfg.name}, inputs, work, command)
    page = pages.report(cfg)
    log.info(
        "Skill is 1 - CRPS / CRPS of climatology. The rest: %s, %s", folder / "scores.csv", page
    )
    log.info("Next: %s", console.command("DeepLearning/forecast.py", cfg.name))
    return 0


if __name__ == "__main__":
    sys.exit(console.main(run, Settings))
