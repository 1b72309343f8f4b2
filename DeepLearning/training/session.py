"""Stage 5, for every network: settings, the run's folder, and how a run goes on after it was stopped.

Reads datasets/NAME/patches. Writes DeepLearning/runs/RUN/: config.yaml (settings), metrics.csv (one row an epoch),
best.pt (the network that forecasts, with the factor it earned), last.pt (to go on from), manifest.yaml (finished). On
several GPUs or processes: torchrun --nproc_per_node=2 DeepLearning/trainConvLSTM.py --name=parvati
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from config import GlacierError
from DeepLearning.training import processes, run_folders
from DeepLearning.training.settings import (
    TrainingConfig,
    for_glacier,
    held_out,
    used,
    with_held_out,
    with_settings,
)
from glacier import console
from glacier.patches.windows import STAGE
from glacier.report import pages
from glacier.storage import disk, locks, runner

if TYPE_CHECKING:  # loading PyTorch takes seconds: a run that is up to date goes without
    from torch import nn

log = logging.getLogger(__name__)


def run_training(build: Callable[[TrainingConfig, int], nn.Module], cls: type) -> int:
    """Run a train script; return its exit code. build(settings, channels) returns the network."""
    return console.main(lambda cfg: train(cfg, build), cls)


def train(cfg: TrainingConfig, build: Callable[[TrainingConfig, int], nn.Module]) -> int:
    """Train unless a finished run has these settings and patches; return the exit code."""
    if not processes.is_writer():
        logging.getLogger().setLevel(logging.WARNING)
    cfg = with_held_out(cfg)
    hashes = patch_hashes(cfg)
    choice = choose_run(cfg, hashes)
    if choice.finished:
        log.info("%s is up to date.", choice.folder)
    else:
        train_anew(cfg, build, choice, hashes)
        if processes.is_writer():
            pages.report(cfg)
            log.info("Wrote %s", choice.folder)
    name = cfg.name
    if cfg.names:
        name = cfg.names[0]
    log.info("Next: %s", console.command("DeepLearning/evaluate.py", name))
    return 0


def train_anew(
    cfg: TrainingConfig, build: Callable, choice: Choice, hashes: dict[str, str]
) -> None:
    """Train in the folder that was chosen, or in a new one."""
    from DeepLearning.training import run

    cfg = choice.cfg
    device = run.start_processes(cfg)
    try:
        glaciers = run.read_glaciers(cfg)
        run.check_start(cfg, build, glaciers.channels)
        with contextlib.ExitStack() as keys:
            choice.folder = processes.from_writer(lambda: take_folder(cfg, hashes, choice, keys))
            run.fit(cfg, build, glaciers, device, choice.folder)
    finally:
        processes.stop()


# ── Which run ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Choice:
    """The run to train in. folder : None for a new one. cfg : with --resume, the run's own settings.

    finished : nothing is left to do. reason : why a new run is made.
    """

    folder: Path | None
    cfg: TrainingConfig
    finished: bool = False
    reason: str = ""


def patch_hashes(cfg: TrainingConfig) -> dict[str, str]:
    """Return the hash of the patches of each glacier to train on; GlacierError if the held-out one is among them."""
    names = cfg.names or (cfg.name,)
    for name in held_out(cfg):
        if name in names:
            raise GlacierError(
                f"holdout {name} is a glacier to train on as well; take it out of names"
            )
        runner.need(for_glacier(cfg, name), STAGE)
    hashes = {}
    for name in names:
        if name == cfg.name:
            of_name = cfg
        else:
            of_name = for_glacier(cfg, name)
        hashes[name] = runner.need(of_name, STAGE)
    return hashes


def choose_run(cfg: TrainingConfig, patches: dict[str, str]) -> Choice:
    """Return the run to train in: a stopped one with these settings and patches, a finished one, or none.

    Several processes choose alike, for they see the same folders. Runs of an earlier version are passed over.
    """
    name = "+".join(cfg.names) or cfg.name
    runs = []
    for folder in reversed(run_folders.list_runs(cfg.network)):
        record = run_folders.read_record(folder)
        if record["patches"] == patches and record.get("format") == run_folders.FORMAT:
            runs.append(folder)
    unfinished = [folder for folder in runs if runner.read_manifest(folder) is None]
    for folder in list(unfinished):
        if locks.is_held(folder):  # another training works there: this one gets a folder of its own
            runs.remove(folder)
            unfinished.remove(folder)
    if cfg.resume:
        if not unfinished:
            raise GlacierError(
                f"no unfinished {cfg.network} run of {name} on these patches; train without --resume"
            )
        log.info("Going on with %s and its settings.", unfinished[0].name)
        saved = run_folders.read_record(unfinished[0])["settings"]
        return Choice(unfinished[0], with_settings(cfg, saved))
    settings = used(cfg)
    for folder in [] if cfg.force else runs:
        if run_folders.read_record(folder)["settings"] != settings:
            continue
        if folder in unfinished:
            log.info("Going on with %s, which was stopped.", folder.name)
            return Choice(folder, cfg)
        if runner.why_stale(folder, settings, patches) is None:
            return Choice(folder, cfg, finished=True)
    finished = [folder for folder in runs if folder not in unfinished]
    reason = "first run on these patches"
    if cfg.force:
        reason = "--force"
    elif finished:
        reason = runner.why_stale(finished[0], settings, patches) or "run again"
    return Choice(None, cfg, reason=reason)


def take_folder(
    cfg: TrainingConfig, patches: dict[str, str], choice: Choice, keys: contextlib.ExitStack
) -> Path:
    """Return the folder to train in, that of a stopped run or a new one, ours alone until `keys` are given back."""
    if choice.folder is not None:
        keys.enter_context(locks.held(choice.folder))
        return choice.folder
    folder = run_folders.new_run("+".join(cfg.names) or cfg.name, cfg.network)
    keys.enter_context(locks.held(folder))
    log.info("Training %s (%s).", folder.name, choice.reason)
    record = {
        "format": run_folders.FORMAT,
        "network": cfg.network,
        "names": list(cfg.names or (cfg.name,)),
        "holdout": cfg.holdout,
        "patches": patches,
        "settings": used(cfg),
    }
    disk.write_yaml(folder / "config.yaml", record)
    return folder
