"""Stage 4, for every network: settings, the run's folder, and how a run goes on after it was stopped.

Reads datasets/NAME/patches. Writes DeepLearning/runs/RUN/: config.yaml (settings), metrics.csv (one row an epoch),
best.pt (lowest validation error), last.pt (to go on from), manifest.yaml (finished). On several GPUs or processes:
torchrun --nproc_per_node=2 DeepLearning/trainConvLSTM.py --name=parvati
"""
from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import config
from config import Config, GlacierError, setting
from DeepLearning import processes, sections, tracking
from DeepLearning.baselines import climatology, persistence
from DeepLearning.data import Glacier, Glaciers
from DeepLearning.fitting import Fit, fitted_carry, load_weights, pooled_mse, read_weights
from DeepLearning.metrics import skill
from DeepLearning.models import MODELS
from glacier import console
from glacier.report import pages
from glacier.storage import disk, runner

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingConfig(Config):
    # ── 4 Training ───────────────────────────────────────────────────────────────────────────────────────────────
    epochs: int = setting(30, "passes at most", low=1)
    samplesPerEpoch: int = setting(1000, "patches drawn for one pass, anew each time; all if there are fewer", low=1)
    batchSize: int = setting(32, "patches a process takes at once", low=1)
    accumulate: int = setting(1, "batches whose gradients are summed before a step", low=1)
    learningRate: float = setting(1e-3, "of AdamW, at its highest", low=0)
    warmupEpochs: float = setting(1.0, "passes over which the learning rate rises; then it falls as a cosine", low=0)
    weightDecay: float = setting(1e-2, "of AdamW", low=0)
    clipNorm: float = setting(1.0, "largest norm of the gradient", low=0)
    averaging: float = setting(0.98, "part that the averaged weights keep at a step; they forecast", low=0, high=1)
    teacherForcing: float = setting(0.0, "part of the lead times that read the truth at first, for networks that feed "
                                         "back; falls to 0 by half time", low=0, high=1)
    augment: bool = setting(False, "flip and turn patches; off: melt starts on slopes that face the sun")
    patience: int = setting(8, "passes without a better validation error before stopping early", low=1)
    seed: int = setting(0, "of weights and sampling", low=0)
    deterministic: bool = setting(False, "refuse GPU operations that may differ from run to run; CPUs never differ")
    device: str = setting("auto", "where to compute; auto: a GPU if there is one", choices=tracking.DEVICES)
    precision: str = setting("float32", "of the network's arithmetic", choices=("float32", "bfloat16"))
    compile: bool = setting(False, "torch.compile; pays for large convolutional networks")
    names: tuple[str, ...] = setting((), "glaciers to train on, drawn equally; empty: name alone")
    holdout: str | None = setting(None, "a glacier never trained on, scored at the end")
    start: str | None = setting(None, "run whose weights to start from (fine-tuning)")
    pictureEvery: int = setting(10, "epochs between pictures of a forecast", low=1)
    wandb: str = setting("auto", "Weights & Biases; auto: online if logged in, else offline", choices=tracking.MODES)
    resume: bool = setting(False, "go on with the newest unfinished run, with its own settings")


FREE = ("wandb", "resume", "pictureEvery")  # settings that do not change what a run computes

Build = Callable[[TrainingConfig, int], nn.Module]


def run_training(build: Build, cls: type[TrainingConfig]) -> int:
    """Run a train script; return its exit code. build(settings, channels) returns the network."""
    return console.main(lambda cfg: train(cfg, build), cls)


def knobs(cfg: TrainingConfig, preset: dict) -> dict:
    """Return a network's arguments: those given as settings, else the preset's."""
    return {name: value if (given := getattr(cfg, name)) is None else given for name, value in preset.items()}


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
        read_weights(model, tracking.find_run(cfg.start), "best.pt")  # a wrong one is refused before a run is made
    processes.start(device)
    try:
        folder, cfg, finished = processes.from_writer(lambda: choose_run(cfg, type(model).__name__, glaciers.hashes))
        if finished:
            log.info("%s is up to date.", folder)
        else:
            fit(cfg, build, glaciers, device, folder)
    finally:
        processes.stop()
    log.info("Next: python DeepLearning/evaluate.py --name=%s", cfg.names[0] if cfg.names else cfg.name)
    return 0


def fit(cfg: TrainingConfig, build: Build, glaciers: Glaciers, device: torch.device, folder: Path) -> None:
    """Train in a run's folder, finish it with its manifest, and print the closing table."""
    start, writer = time.monotonic(), processes.is_writer()
    torch.use_deterministic_algorithms(cfg.deterministic)
    torch.manual_seed(cfg.seed)
    model = build(cfg, glaciers.channels)
    if cfg.start:
        load_weights(model, tracking.find_run(cfg.start), "best.pt")
    else:
        model.set_carry(fitted_carry(glaciers, cfg.seed))
    model.limits.copy_(glaciers.limits())
    model.seasonal.fill_(glaciers.training_years() >= 2)
    model.to(device)
    record = {"run": folder.name, "network": type(model).__name__, **used(cfg)}
    mirror = tracking.Mirror(cfg.wandb if writer else "disabled", folder, record)
    try:
        fitted = Fit(model, glaciers, cfg, device, folder, mirror, used(cfg))
        state = fitted.run()
    finally:
        mirror.finish()
    processes.wait()
    errors = closing_errors(fitted, cfg, device)
    if not writer:
        return
    counts = {"epochs": state["epoch"], "parameters": sum(part.numel() for part in model.parameters())}
    files = [folder / name for name in ("config.yaml", "metrics.csv", "best.pt")] + sections.training(folder)
    seconds = time.monotonic() - start
    runner.write_manifest(folder, used(cfg), glaciers.hashes, files, counts | {"mse": errors}, seconds)
    rows = [(part, f"{own:.5f}", *(f"{skill(own, other):+.3f} against {name}" for name, other in others.items()))
            for part, (own, others) in errors.items()]
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
        own, *others = (pooled_mse(predict, glaciers, samples, cfg.batchSize, device)
                        for predict in (best, climatology, persistence))
        errors[part] = [own, dict(zip(("climatology", "persistence"), others, strict=True))]
    return errors


# ── What to train on, with what, where ───────────────────────────────────────────────────────────────────────────

def read_glaciers(cfg: TrainingConfig) -> Glaciers:
    """Return the glaciers of a training; GlacierError if the one held out is among them."""
    names = cfg.names or (cfg.name,)
    if cfg.holdout in names:
        raise GlacierError(f"holdout {cfg.holdout} is a glacier to train on as well; take it out of names")
    if cfg.holdout:
        runner.need(for_glacier(cfg, cfg.holdout), "patches")
    return Glaciers([Glacier(cfg if name == cfg.name else for_glacier(cfg, name)) for name in names])


def for_glacier(cfg: Config, name: str) -> Config:
    """Return the settings of another glacier, its patches cut as here."""
    alike = {key: getattr(cfg, key) for key in ("patchSize", "sequenceLength", "horizon")}
    return config.load(Config, name=name, **alike)


def used(cfg: TrainingConfig) -> dict:
    """Return the settings of a run that change what it computes, beyond those of its patches."""
    names = [field.name for field in dataclasses.fields(cfg) if field.name not in Config.__dataclass_fields__]
    batch = {"processes": processes.COUNT} if processes.COUNT > 1 else {}
    return runner.used_settings(cfg, [name for name in names if name not in FREE]) | batch


def choose_run(cfg: TrainingConfig, network: str, patches: dict) -> tuple[Path, TrainingConfig, bool]:
    """Return the folder to train in, the settings (with --resume those of the run), and whether it is finished."""
    name = "+".join(cfg.names) or cfg.name
    runs = [run for run in reversed(tracking.list_runs(network)) if tracking.read_run(run)["patches"] == patches]
    unfinished = [run for run in runs if runner.read_manifest(run) is None]
    if cfg.resume:
        if not unfinished:
            raise GlacierError(f"no unfinished {network} run of {name} on these patches; train without --resume")
        log.info("Going on with %s and its settings.", unfinished[0].name)
        return unfinished[0], with_settings(cfg, tracking.read_run(unfinished[0])["settings"]), False
    settings = used(cfg)
    for run in [] if cfg.force else runs:
        if tracking.read_run(run)["settings"] == settings:
            if run in unfinished:
                log.info("Going on with %s, which was stopped.", run.name)
                return run, cfg, False
            if runner.why_stale(run, settings, patches) is None:
                return run, cfg, True
    finished = [run for run in runs if run not in unfinished]
    reason = runner.why_stale(finished[0], settings, patches) if finished else "first run on these patches"
    folder = tracking.new_run(name, network)
    log.info("Training %s (%s).", folder.name, "--force" if cfg.force else reason)
    record = {"network": network, "names": list(cfg.names or (cfg.name,)), "holdout": cfg.holdout, "patches": patches}
    disk.write_yaml(folder / "config.yaml", record | {"settings": settings})
    return folder, cfg, False


def with_settings(cfg: TrainingConfig, saved: dict) -> TrainingConfig:
    """Return the settings with those that a run has saved."""
    if saved.get("processes", 1) != processes.COUNT:
        raise GlacierError(f"the run was made by {saved.get('processes', 1)} processes, these are {processes.COUNT}")
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()}
    plain.pop("processes", None)
    return dataclasses.replace(cfg, **plain)


def choose_device(wanted: str) -> torch.device:
    """Return the device to compute on; GlacierError if it is not there."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        wanted = "cuda" if there["cuda"] else "cpu"
    if not there[wanted]:
        raise GlacierError(f"device {wanted} is not on this machine; use --device=cpu")
    return torch.device(wanted)


def load_network(folder: Path, device: torch.device) -> nn.Module:
    """Return a run's best network, ready to forecast."""
    saved = tracking.read_checkpoint(folder / "best.pt")
    model = MODELS[saved["network"]](**saved["arguments"])
    model.load_state_dict(saved["weights"])
    return model.to(device).eval()
