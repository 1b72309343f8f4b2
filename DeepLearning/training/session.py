"""Stage 5, for every network: settings, the run's folder, and how a run goes on after it was stopped.

Reads datasets/NAME/patches. Writes DeepLearning/runs/RUN/: config.yaml (settings), metrics.csv (one row an epoch),
best.pt (lowest validation error), last.pt (to go on from), manifest.yaml (finished). On several GPUs or processes:
torchrun --nproc_per_node=2 DeepLearning/trainConvLSTM.py --name=parvati
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from config import GlacierError
from DeepLearning.data.batches import Glaciers
from DeepLearning.data.glacier import Glacier
from DeepLearning.training import processes, run_folders
from DeepLearning.training.loop import Fit, fitted_carry, load_weights, pooled_mse, read_weights
from DeepLearning.training.mirror import Mirror
from DeepLearning.training.networks import choose_device, load_network
from DeepLearning.training.settings import TrainingConfig, for_glacier, used, with_settings
from DeepLearning.verification import sections
from DeepLearning.verification.baselines import climatology, persistence
from DeepLearning.verification.metrics import skill
from glacier import console
from glacier.patches.windows import STAGE
from glacier.report import pages
from glacier.storage import disk, runner

log = logging.getLogger(__name__)

Build = Callable[[TrainingConfig, int], nn.Module]


def run_training(build: Build, cls: type[TrainingConfig]) -> int:
    """Run a train script; return its exit code. build(settings, channels) returns the network."""
    return console.main(lambda cfg: train(cfg, build), cls)


# ── A training ───────────────────────────────────────────────────────────────────────────────────────────────────


def train(cfg: TrainingConfig, build: Build) -> int:
    """Train unless a finished run has these settings and patches; return the exit code."""
    if not processes.is_writer():
        logging.getLogger().setLevel(logging.WARNING)
    device = processes.local_device(choose_device(cfg.device))
    glaciers = read_glaciers(cfg)
    with torch.device("meta"):
        model = build(cfg, glaciers.channels)
    if cfg.start:
        read_weights(
            model, run_folders.find_run(cfg.start), "best.pt"
        )  # a wrong one is refused before a run is made
    processes.start(device)
    try:
        folder, cfg, finished = processes.from_writer(
            lambda: choose_run(cfg, type(model).__name__, glaciers.hashes)
        )
        if finished:
            log.info("%s is up to date.", folder)
        else:
            fit(cfg, build, glaciers, device, folder)
    finally:
        processes.stop()
    log.info(
        "Next: python DeepLearning/evaluate.py --name=%s", cfg.names[0] if cfg.names else cfg.name
    )
    return 0


def fit(
    cfg: TrainingConfig, build: Build, glaciers: Glaciers, device: torch.device, folder: Path
) -> None:
    """Train in a run's folder, finish it with its manifest, and print the closing table."""
    start, writer = time.monotonic(), processes.is_writer()
    torch.use_deterministic_algorithms(cfg.deterministic)
    torch.manual_seed(cfg.seed)
    model = build(cfg, glaciers.channels)
    if cfg.start:
        load_weights(model, run_folders.find_run(cfg.start), "best.pt")
    else:
        model.set_carry(fitted_carry(glaciers, cfg.seed))
    model.limits.copy_(glaciers.limits())
    model.seasonal.fill_(glaciers.training_years() >= 2)
    model.to(device)
    record = {"run": folder.name, "network": type(model).__name__, **used(cfg)}
    mirror = Mirror(cfg.wandb if writer else "disabled", folder, record)
    try:
        fitted = Fit(model, glaciers, cfg, device, folder, mirror, used(cfg))
        state = fitted.run()
    finally:
        mirror.finish()
    processes.wait()
    errors = closing_errors(fitted, cfg, device)
    if not writer:
        return
    counts = {
        "epochs": state["epoch"],
        "parameters": sum(part.numel() for part in model.parameters()),
    }
    files = [
        folder / name for name in ("config.yaml", "metrics.csv", "best.pt")
    ] + sections.training(folder)
    seconds = time.monotonic() - start
    runner.write_manifest(
        folder, used(cfg), glaciers.hashes, files, counts | {"mse": errors}, seconds
    )
    rows = [
        (
            part,
            f"{own:.5f}",
            *(f"{skill(own, other):+.3f} against {name}" for name, other in others.items()),
        )
        for part, (own, others) in errors.items()
    ]
    rows += [*counts.items(), ("seconds", f"{seconds:.1f}")]
    log.info("%s", "\n".join(console.lines_of([("MSE", "", "skill"), *rows])))
    pages.report(cfg)
    log.info("Wrote %s", folder)


def closing_errors(fitted: Fit, cfg: TrainingConfig, device: torch.device) -> dict:
    """Return the best network's and the baselines' errors in validation, and on the glacier that was held out."""
    parts = {"validation": (fitted.glaciers, fitted.validation)}
    if cfg.holdout:
        held_out = Glaciers([Glacier(for_glacier(cfg, cfg.holdout))])
        parts[f"holdout {cfg.holdout}"] = held_out, held_out.samples(None, covering=True)
    best = load_network(fitted.folder, device)
    errors = {}
    for part, (glaciers, samples) in parts.items():
        own, *others = (
            pooled_mse(predict, glaciers, samples, cfg.batchSize, device)
            for predict in (best, climatology, persistence)
        )
        errors[part] = [own, dict(zip(("climatology", "persistence"), others, strict=True))]
    return errors


# ── What to train on, with what, where ───────────────────────────────────────────────────────────────────────────


def read_glaciers(cfg: TrainingConfig) -> Glaciers:
    """Return the glaciers of a training; GlacierError if the one held out is among them."""
    names = cfg.names or (cfg.name,)
    if cfg.holdout in names:
        raise GlacierError(
            f"holdout {cfg.holdout} is a glacier to train on as well; take it out of names"
        )
    if cfg.holdout:
        runner.need(for_glacier(cfg, cfg.holdout), STAGE)
    return Glaciers(
        [Glacier(cfg if name == cfg.name else for_glacier(cfg, name)) for name in names]
    )


def choose_run(
    cfg: TrainingConfig, network: str, patches: dict
) -> tuple[Path, TrainingConfig, bool]:
    """Return the folder to train in, the settings (with --resume those of the run), and whether it is finished."""
    name = "+".join(cfg.names) or cfg.name
    runs = [
        run
        for run in reversed(run_folders.list_runs(network))
        if run_folders.read_run(run)["patches"] == patches
    ]
    unfinished = [run for run in runs if runner.read_manifest(run) is None]
    if cfg.resume:
        if not unfinished:
            raise GlacierError(
                f"no unfinished {network} run of {name} on these patches; train without --resume"
            )
        log.info("Going on with %s and its settings.", unfinished[0].name)
        return (
            unfinished[0],
            with_settings(cfg, run_folders.read_run(unfinished[0])["settings"]),
            False,
        )
    settings = used(cfg)
    for run in [] if cfg.force else runs:
        if run_folders.read_run(run)["settings"] == settings:
            if run in unfinished:
                log.info("Going on with %s, which was stopped.", run.name)
                return run, cfg, False
            if runner.why_stale(run, settings, patches) is None:
                return run, cfg, True
    finished = [run for run in runs if run not in unfinished]
    reason = (
        runner.why_stale(finished[0], settings, patches)
        if finished
        else "first run on these patches"
    )
    folder = run_folders.new_run(name, network)
    log.info("Training %s (%s).", folder.name, "--force" if cfg.force else reason)
    record = {
        "network": network,
        "names": list(cfg.names or (cfg.name,)),
        "holdout": cfg.holdout,
        "patches": patches,
    }
    disk.write_yaml(folder / "config.yaml", record | {"settings": settings})
    return folder, cfg, False
