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
from typing import TYPE_CHECKING

sys.path.append(str(Path(__file__).resolve().parents[1]))  # where config.py is
import config
from config import Config, GlacierError, setting  # first: it tells who forgot to activate .venv

# isort: split
from DeepLearning.training import choice, run_folders
from DeepLearning.training.mirror import MODES, Mirror
from glacier import console
from glacier.lazily import load
from glacier.patches.windows import STAGE, read_patches
from glacier.report import pages
from glacier.storage import runner
from glacier.velocity import fields

if TYPE_CHECKING:
    import torch

    from DeepLearning.data.glacier import Glacier

# loaded with the work, as PyTorch takes seconds: --help and "up to date" go without
data = load("DeepLearning.data.glacier")
trained = load("DeepLearning.training.networks")
baselines = load("DeepLearning.verification.baselines")
diagnosis = load("DeepLearning.verification.diagnosis")
motion = load("DeepLearning.verification.motion")
pictures = load("DeepLearning.verification.pictures")
regions = load("DeepLearning.verification.regions")
scoring = load("DeepLearning.verification.scoring")
sections = load("DeepLearning.verification.sections")
tables = load("DeepLearning.verification.tables")

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


def choose_runs(cfg: Settings, patches: str) -> list[Path]:
    """Return the runs to score: those named, the newest of each network, or the best by validation.

    patches : hash of the glacier's patches.
    """
    finished = choice.finished_runs(cfg.name, patches)
    if not finished or (cfg.run and cfg.run != ("all",)):
        return run_folders.runs_for(cfg, () if cfg.run == ("all",) else cfg.run, patches)
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
        network = trained.load_network(run, device)
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
    device = trained.choose_device(cfg.device)
    networks = load_networks(runs, device)
    untrained: dict[str, Callable] = baselines.unfitted(glacier)
    references = untrained | baselines.fitted(glacier)
    if moves:
        references |= motion.baselines(cfg, glacier)
    firsts = [glacier.patches.windows[number].start for number in glacier.windows("test")]
    diagnosed = {scoring.REFERENCE: diagnosis.Diagnosis()}
    for name in networks:
        diagnosed[name] = diagnosis.Diagnosis()
    scored = scoring.score(glacier, networks | references, device, firsts, diagnosed)
    rows = scoring.rows_of(scored, glacier)
    if not rows:
        raise GlacierError(
            f"no pixel of {cfg.name}'s test targets was really observed; take more years, or a larger testFraction"
        )
    rows += scoring.rolling_rows(glacier, untrained, device)
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


def movement_inputs(cfg: Config) -> dict[str, str]:
    """Return the manifest hash of the movement stage by its name; nothing if it is not finished or not of now."""
    try:
        return {str(fields.STAGE): runner.need(cfg, fields.STAGE)}
    except runner.DamagedError:
        raise
    except GlacierError as error:
        log.info("Without the advected climatology: %s", error)
        return {}


def run(cfg: Settings) -> int:
    """Score the runs unless that is done; return the exit code."""
    patches = runner.need(cfg, STAGE)
    runs = choose_runs(cfg, patches)
    if not any(window.part == "test" for window in read_patches(cfg).windows):
        raise GlacierError(
            f"{cfg.name} has no test window; take more years, or a larger testFraction"
        )
    folder = folder_of(cfg, runs)
    inputs = {run.name: runner.manifest_hash(runner.read_manifest(run)) for run in runs}
    movement = movement_inputs(cfg)
    inputs |= movement | {"patches": patches}

    def work(target: Path) -> runner.Result:
        return evaluate(cfg, target, data.Glacier(cfg), runs, bool(movement))

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
