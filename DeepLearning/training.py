"""Stage 4, for every network: the loop, its checkpoints, and how a run goes on after it was stopped.

Reads datasets/NAME/patches. Writes DeepLearning/runs/RUN/: config.yaml (settings), metrics.csv (one row an epoch),
best.pt (lowest validation error), last.pt (to go on from), manifest.yaml (finished).
"""

from __future__ import annotations

import dataclasses
import logging
import math
import pickle
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import figures
import store
from config import Config, GlacierError, setting
from DeepLearning import metrics, sections, tracking
from DeepLearning.baselines import climatology, persistence
from DeepLearning.data import Glacier, epoch_samples
from DeepLearning.models import MODELS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingConfig(Config):
    # ── 4 Training ───────────────────────────────────────────────────────────────────────────────────────────────
    epochs: int = setting(30, "passes at most", low=1)
    samplesPerEpoch: int = setting(
        1000, "patches drawn for one pass, anew each time (they overlap); all if there are fewer", low=1
    )
    batchSize: int = setting(32, "patches a step", low=1)
    learningRate: float = setting(1e-3, "of AdamW", low=0)
    weightDecay: float = setting(1e-2, "of AdamW", low=0)
    clipNorm: float = setting(1.0, "largest norm of the gradient", low=0)
    patience: int = setting(8, "passes without a better validation error before stopping early", low=1)
    seed: int = setting(0, "of weights and sampling", low=0)
    device: str = setting(
        "auto", "where to compute; auto: a GPU if there is one", choices=("auto", "cpu", "cuda", "mps")
    )
    precision: str = setting("float32", "of the network's arithmetic", choices=("float32", "bfloat16"))
    wandb: str = setting(
        "auto", "Weights & Biases; auto: online if you are logged in, else offline", choices=tracking.WANDB_MODES
    )
    resume: bool = setting(False, "go on with the newest unfinished run, with its own settings")


FREE = ("wandb", "resume")  # settings that do not change what a run computes

Build = Callable[[TrainingConfig, int], nn.Module]


def run_training(build: Build, cls: type[TrainingConfig]) -> int:
    """Run a train script; return its exit code. build(settings, channels) returns the network."""
    return store.main(lambda cfg: train(cfg, build), cls)


def train(cfg: TrainingConfig, build: Build) -> int:
    """Train unless a finished run has these settings and patches; return the exit code."""
    glacier = Glacier(cfg)
    with torch.device("meta"):
        network = type(build(cfg, glacier.channels)).__name__
    folder, cfg = choose_run(cfg, network, glacier.hash)
    if store.read_manifest(folder) is not None:
        log.info("%s is up to date.", folder)
        say_next(cfg)
        return 0
    start = time.monotonic()
    device = choose_device(cfg.device)
    torch.manual_seed(cfg.seed)
    model = build(cfg, glacier.channels).to(device)
    model.limits.copy_(glacier.limits())
    settings = used(cfg)
    mirror = tracking.Mirror(cfg.wandb, folder, {"name": cfg.name, "network": network, **settings})
    state = Fit(model, glacier, cfg, device, folder, mirror).run()
    mirror.finish()
    files = [folder / name for name in ("config.yaml", "metrics.csv", "best.pt")] + sections.training(folder)
    counts = {"epochs": state["epoch"], "parameters": sum(part.numel() for part in model.parameters())}
    store.write_manifest(folder, settings, {"patches": glacier.hash}, files, counts, time.monotonic() - start)
    report(glacier, state, device, cfg, counts, time.monotonic() - start)
    figures.report(cfg)
    log.info("Wrote %s", folder)
    say_next(cfg)
    return 0


def used(cfg: TrainingConfig) -> dict:
    """Return the settings of a run that change what it computes, beyond those of its patches."""
    names = [field.name for field in dataclasses.fields(cfg) if field.name not in Config.__dataclass_fields__]
    return store.used_settings(cfg, [name for name in names if name not in FREE])


def choose_run(cfg: TrainingConfig, network: str, patches: str) -> tuple[Path, TrainingConfig]:
    """Return the folder to train in, and the settings: those given, or with --resume those of the unfinished run."""
    runs = [
        run for run in reversed(tracking.list_runs(cfg.name, network)) if tracking.read_run(run)["patches"] == patches
    ]
    if cfg.resume:
        unfinished = [run for run in runs if store.read_manifest(run) is None]
        if not unfinished:
            raise GlacierError(
                f"no unfinished {network} run of {cfg.name} on these patches in {tracking.runs_folder()}; "
                "train without --resume"
            )
        log.info("Going on with %s and its settings.", unfinished[0].name)
        saved = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in tracking.read_run(unfinished[0])["settings"].items()
        }
        return unfinished[0], dataclasses.replace(cfg, **saved)
    settings, inputs = used(cfg), {"patches": patches}
    for run in [] if cfg.force else runs:
        if tracking.read_run(run)["settings"] == settings:
            if store.read_manifest(run) is None:
                log.info("Going on with %s, which was stopped.", run.name)
                return run, cfg
            if store.why_stale(run, settings, inputs) is None:
                return run, cfg
    reason = (
        "--force" if cfg.force else store.why_stale(runs[0], settings, inputs) if runs else "first run on these patches"
    )
    folder = tracking.new_run(cfg.name, network)
    store.write_yaml(
        folder / "config.yaml", {"name": cfg.name, "network": network, "patches": patches, "settings": settings}
    )
    log.info("Training %s (%s).", folder.name, reason)
    return folder, cfg


def choose_device(wanted: str) -> torch.device:
    """Return the device to compute on; GlacierError if it is not there."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        wanted = "cuda" if there["cuda"] else "cpu"
    if not there[wanted]:
        raise GlacierError(f"device {wanted} is not on this machine; use --device=cpu")
    return torch.device(wanted)


def masked_mse(forecast: Tensor, targets: Tensor, observed: Tensor) -> Tensor:
    """Return the mean squared error over observed pixels, 0 if there is none."""
    observed = observed.expand(targets.shape)
    return torch.where(observed, forecast.float() - targets, 0).pow(2).sum() / observed.sum().clamp_min(1)


class Fit:
    """One training: model and optimizer, and the state that a checkpoint carries so that the run can go on."""

    def __init__(
        self, model, glacier: Glacier, cfg: TrainingConfig, device: torch.device, folder: Path, mirror: tracking.Mirror
    ):
        self.model, self.glacier, self.cfg, self.device, self.folder, self.mirror = (
            model,
            glacier,
            cfg,
            device,
            folder,
            mirror,
        )
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=cfg.learningRate, weight_decay=cfg.weightDecay)
        self.training = glacier.samples("train")
        self.validation = glacier.samples("validation", covering=True)
        self.state = {"epoch": 0, "step": 0, "best": math.inf, "stale": 0, "history": []}

    def run(self) -> dict:
        """Train to the end from wherever the folder's last checkpoint stands; return the final state."""
        log.info(
            "  %d training samples, %d a pass; %d validation samples",
            len(self.training),
            min(len(self.training), self.cfg.samplesPerEpoch),
            len(self.validation),
        )
        if (self.folder / "last.pt").is_file():
            self.restore()
        else:
            self.finish_epoch({"training_mse": math.nan, "gradient_norm": math.nan})
        start, first = time.monotonic(), self.state["epoch"]
        while self.state["epoch"] < self.cfg.epochs and self.state["stale"] < self.cfg.patience:
            self.state["epoch"] += 1
            row = self.finish_epoch(self.train_epoch())
            spent, done = time.monotonic() - start, self.state["epoch"] - first
            log.info(
                "  epoch %d/%d  training %.5f  validation %.5f  best %.5f  %.0f s, at most %.0f s left",
                row["epoch"],
                self.cfg.epochs,
                row["training_mse"],
                row["validation_mse"],
                self.state["best"],
                spent,
                spent / done * (self.cfg.epochs - row["epoch"]),
            )
        return self.state

    def train_epoch(self) -> dict:
        """Make one pass over freshly drawn samples; return its mean loss and gradient norm."""
        self.model.train()
        drawn = epoch_samples(self.training, self.cfg.samplesPerEpoch, self.cfg.seed, self.state["epoch"])
        losses, norms = [], []
        for batch in self.glacier.batches(drawn, self.cfg.batchSize):
            loss, norm = self.train_step(batch.to(self.device))
            losses.append(loss)
            norms.append(norm)
        return {"training_mse": torch.stack(losses).mean().item(), "gradient_norm": torch.stack(norms).mean().item()}

    def train_step(self, batch) -> tuple[Tensor, Tensor]:
        """Take one step; return its loss and gradient norm."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.cfg.precision == "bfloat16"):
            forecast = self.model(batch.inputs, batch.context)
        loss = masked_mse(forecast, batch.targets, batch.observed)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.cfg.clipNorm)
        self.optimizer.step()
        self.state["step"] += 1
        return loss.detach(), norm

    def finish_epoch(self, means: dict) -> dict:
        """Score the whole validation set, save checkpoints and metrics.csv; return the epoch's row."""
        error = pooled_mse(self.model, self.glacier, self.validation, self.cfg.batchSize, self.device)
        if math.isnan(error):
            raise GlacierError(
                "no pixel of the validation targets was observed, or the network answers NaN; "
                "choose other years, a larger validationFraction or a smaller learningRate"
            )
        row = {"epoch": self.state["epoch"], "step": self.state["step"], **means, "validation_mse": error}
        self.state["history"].append(row)
        self.state["stale"] += 1
        if error < self.state["best"]:
            self.state |= {"best": error, "stale": 0}
            self.save("best.pt", {"epoch": self.state["epoch"]})
        self.save(
            "last.pt", {"state": self.state, "optimizer": self.optimizer.state_dict(), "random": torch.get_rng_state()}
        )
        tracking.write_csv(self.folder / "metrics.csv", self.state["history"])
        self.mirror.log(row, self.state["epoch"])
        return row

    def save(self, name: str, more: dict) -> None:
        """Write a checkpoint that says by itself which network it holds, for which patches."""
        with store.writing(self.folder / name) as file:
            content = {
                "network": type(self.model).__name__,
                "arguments": self.model.arguments,
                "patches": self.glacier.hash,
                "settings": used(self.cfg),
                "weights": self.model.state_dict(),
                **more,
            }
            torch.save(canonical(content), file)

    def restore(self) -> None:
        """Take up weights, optimizer, random state and history of last.pt."""
        saved = read_checkpoint(self.folder / "last.pt")
        self.model.load_state_dict(saved["weights"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.state = saved["state"]
        torch.set_rng_state(saved["random"])
        tracking.write_csv(self.folder / "metrics.csv", self.state["history"])
        log.info("  from epoch %d of %d", self.state["epoch"], self.cfg.epochs)


def canonical(content):
    """Return plain containers rebuilt with one object per text, so that equal content is saved as equal bytes."""
    if isinstance(content, dict):
        return {canonical(key): canonical(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(canonical(value) for value in content)
    return sys.intern(content) if isinstance(content, str) else content


@torch.no_grad()
def pooled_mse(predict, glacier: Glacier, samples, size: int, device: torch.device) -> float:
    """Return the mean squared error over all observed target pixels of the samples together; NaN if there is none."""
    if isinstance(predict, nn.Module):
        predict.eval()
    total = count = 0.0
    for batch in glacier.batches(samples, size):
        batch = batch.to(device)
        observed = batch.observed.expand(batch.targets.shape)
        error = torch.where(observed, predict(batch.inputs, batch.context).float() - batch.targets, 0)
        total += error.pow(2).sum(dtype=torch.float64).item()
        count += observed.sum().item()
    return total / count if count else math.nan


def read_checkpoint(path: Path) -> dict:
    """Return a checkpoint; GlacierError if it is missing or damaged."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise GlacierError(
            f"{path} is missing or damaged ({' '.join(str(error).split())[:120]}); train again with --force"
        ) from error


def load_network(folder: Path, device: torch.device) -> nn.Module:
    """Return a run's best network, ready to forecast."""
    saved = read_checkpoint(folder / "best.pt")
    model = MODELS[saved["network"]](**saved["arguments"])
    model.load_state_dict(saved["weights"])
    return model.to(device).eval()


def report(
    glacier: Glacier, state: dict, device: torch.device, cfg: TrainingConfig, counts: dict, seconds: float
) -> None:
    """Print the closing table: the validation error beside the baselines'."""
    samples = glacier.samples("validation", covering=True)
    rows = [("validation MSE", state["best"])]
    for name, baseline in (("climatology", climatology), ("persistence", persistence)):
        error = pooled_mse(baseline, glacier, samples, cfg.batchSize, device)
        rows.append((f"  of {name}", error, f"skill {metrics.skill(state['best'], error):+.3f}"))
    rows += [("epochs", counts["epochs"]), ("parameters", counts["parameters"]), ("seconds", f"{seconds:.1f}")]
    log.info("%s", "\n".join(store.lines_of(rows)))


def say_next(cfg: TrainingConfig) -> None:
    """Say which command comes after training."""
    log.info("Next: python DeepLearning/evaluate.py --name=%s", cfg.name)
