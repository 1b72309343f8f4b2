"""The training loop: steps, learning rate, averaged weights, validation, checkpoints.

All randomness comes from (seed, epoch, step), and a step's gradient is that of all its samples together, however many
batches or processes share them: so a run goes on to the same numbers, and two processes do what one does.
"""

from __future__ import annotations

import copy
import logging
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from config import GlacierError
from DeepLearning.data.batches import Batch, Glaciers
from DeepLearning.training import processes, run_folders
from DeepLearning.training.mirror import Mirror
from glacier.figures import maps
from glacier.storage import disk

CARRY_SAMPLES = 500  # patches from which the carried part of the last departure is fitted

log = logging.getLogger(__name__)


def squared_error(forecast: Tensor, targets: Tensor, observed: Tensor) -> Tensor:
    """Return the sum of squared errors over observed pixels; observed broadcasts over channels."""
    return torch.where(observed, forecast.float() - targets, 0).pow(2).sum()


def learning_rate(step: int, steps: int, warmup: float, highest: float) -> float:
    """Return the rate of a step: a linear rise over `warmup` steps, then half a cosine down to 0.

    Loshchilov & Hutter (2017), arXiv:1608.03983, without restarts.
    """
    if step < warmup:
        return highest * (step + 1) / (warmup + 1)
    return highest * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


class Fit:
    """One training: network, averaged network, optimizer, and the state with which a run goes on.

    The averaged network (Polyak & Juditsky 1992, 10.1137/0330046, as a running mean) is validated and kept.
    """

    def __init__(
        self, model, glaciers: Glaciers, cfg, device, folder: Path, mirror: Mirror, settings: dict
    ):
        self.model, self.glaciers, self.cfg, self.device = model, glaciers, cfg, device
        self.folder, self.mirror, self.settings = folder, mirror, settings
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.forward = torch.compile(model) if cfg.compile else model
        rates = {"lr": cfg.learningRate, "weight_decay": cfg.weightDecay}
        self.optimizer = torch.optim.AdamW(model.parameters(), **rates, fused=True)
        self.training = glaciers.samples("train")
        self.validation = glaciers.samples("validation", covering=True)
        self.a_step = cfg.batchSize * cfg.accumulate * processes.COUNT
        self.an_epoch = len(glaciers.draw(self.training, cfg.samplesPerEpoch, 0, 0))
        self.state = {"epoch": 0, "step": 0, "best": math.inf, "stale": 0, "history": []}

    def run(self) -> dict:
        """Train to the end from wherever the folder's last checkpoint stands; return the final state."""
        log.info(
            "  %d training samples, %d a pass in steps of %d; %d validation samples",
            len(self.training),
            self.an_epoch,
            self.a_step,
            len(self.validation),
        )
        if (self.folder / "last.pt").is_file():
            self.restore()
        else:
            self.finish_epoch(
                {"training_mse": math.nan, "learning_rate": 0.0, "gradient_norm": math.nan}, 0.0
            )
        start, first = time.monotonic(), self.state["epoch"]
        while self.state["epoch"] < self.cfg.epochs and self.state["stale"] < self.cfg.patience:
            try:
                self.next_epoch()
            except KeyboardInterrupt:
                log.info(
                    "Stopped; epoch %d is saved. The same command, or --resume, goes on from there.",
                    len(self.state["history"]) - 1,
                )
                raise
            row, spent = self.state["history"][-1], time.monotonic() - start
            left = spent / (row["epoch"] - first) * (self.cfg.epochs - row["epoch"])
            log.info(
                "  epoch %d/%d  training %.5f  validation %.5f  best %.5f  %.0f s, at most %.0f s left",
                row["epoch"],
                self.cfg.epochs,
                row["training_mse"],
                row["validation_mse"],
                self.state["best"],
                spent,
                left,
            )
        return self.state

    def next_epoch(self) -> None:
        """Make one pass over freshly drawn samples, then validate and save."""
        start = time.monotonic()
        self.state["epoch"] += 1
        epoch = self.state["epoch"]
        drawn = self.glaciers.draw(self.training, self.cfg.samplesPerEpoch, self.cfg.seed, epoch)
        steps = [
            self.step(drawn[first : first + self.a_step])
            for first in range(0, len(drawn), self.a_step)
        ]
        loss, norm = np.mean(steps, axis=0)
        rate = self.optimizer.param_groups[0]["lr"]
        speed = len(drawn) / (time.monotonic() - start)
        self.finish_epoch(
            {"training_mse": float(loss), "learning_rate": rate, "gradient_norm": float(norm)},
            speed,
        )

    def step(self, samples: np.ndarray) -> tuple[float, float]:
        """Take one optimizer step over samples of all processes; return its loss and gradient norm."""
        cfg, step = self.cfg, self.state["step"]
        random = np.random.default_rng([cfg.seed, self.state["epoch"], step])
        turns = random.integers(0, 8, len(samples)) if cfg.augment else np.zeros(len(samples), int)
        chance = random.random((len(samples), self.glaciers.glaciers[0].horizon))
        mine, turns, chance = (processes.share(part) for part in (samples, turns, chance))
        batches = [
            (
                self.glaciers.batch(
                    mine[first : first + cfg.batchSize],
                    turns[first : first + cfg.batchSize] if cfg.augment else None,
                ),
                chance[first : first + cfg.batchSize],
            )
            for first in range(0, len(mine), cfg.batchSize)
        ]
        pixels = sum(batch.observed.sum().item() * batch.targets.shape[2] for batch, _ in batches)
        (pixels,) = processes.total(pixels)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss = sum(
            self.add_gradient(batch.to(self.device), drawn, max(pixels, 1))
            for batch, drawn in batches
        )
        (loss,) = processes.total(loss)
        processes.add_gradients(self.model.parameters())
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), cfg.clipNorm).item()
        self.check_finite(loss, norm)
        steps = math.ceil(self.an_epoch / self.a_step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(
                step, steps * cfg.epochs, steps * cfg.warmupEpochs, cfg.learningRate
            )
        self.optimizer.step()
        self.state["step"] += 1
        self.update_average()
        return loss, norm

    def add_gradient(self, batch: Batch, chance: np.ndarray, pixels: float) -> float:
        """Add a batch's part of the gradient of the mean over `pixels` target pixels; return its part of the loss."""
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.cfg.precision == "bfloat16"
        ):
            forecast = self.forward(batch.inputs, batch.context, self.hints(batch, chance))
        loss = squared_error(forecast, batch.targets, batch.observed) / pixels
        loss.backward()
        return loss.item()

    def hints(self, batch: Batch, chance: np.ndarray) -> Tensor | None:
        """Return the target frames that a network which feeds back may read now, the others NaN.

        Scheduled sampling, Bengio et al. (2015), arXiv:1506.03099: fewer and fewer, none from half time on.
        """
        part = self.cfg.teacherForcing * max(
            0.0, 1 - 2 * (self.state["epoch"] - 1) / self.cfg.epochs
        )
        if not self.model.feeds_back or part == 0:
            return None
        chosen = torch.from_numpy(chance < part).to(self.device)[:, :, None, None, None]
        return torch.where(chosen & batch.observed, batch.targets, torch.nan)

    def check_finite(self, loss: float, norm: float) -> None:
        """Raise GlacierError, before the weights are touched, if a step's loss or gradient is not finite."""
        if math.isfinite(loss) and math.isfinite(norm):
            return
        raise GlacierError(
            f"the loss is {loss} and the gradient's norm {norm} in epoch {self.state['epoch']}, step "
            f"{self.state['step']}; {self.folder / 'best.pt'} holds the best epoch before; train with a smaller "
            f"learningRate than {self.cfg.learningRate}"
            + (" or in float32" if self.cfg.precision != "float32" else "")
        )

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the averaged weights towards the present ones; faster at the start, when there is little to keep."""
        step = self.state["step"]
        keep = min(self.cfg.averaging, step / (step + 9))
        torch._foreach_lerp_(
            list(self.average.parameters()), list(self.model.parameters()), 1 - keep
        )

    def finish_epoch(self, means: dict, speed: float) -> None:
        """Score the averaged network on the whole validation set; save checkpoints and metrics.csv."""
        error = pooled_mse(
            self.average, self.glaciers, self.validation, self.cfg.batchSize, self.device
        )
        if math.isnan(error):
            raise GlacierError(
                "no pixel of the validation targets was observed, or the network answers NaN; "
                "choose other years, a larger validationFraction or a smaller learningRate"
            )
        row = {
            "epoch": self.state["epoch"],
            "step": self.state["step"],
            **means,
            "validation_mse": error,
        }
        self.state["history"].append(row)
        self.state["stale"] += 1
        better = error < self.state["best"]
        if better:
            self.state |= {"best": error, "stale": 0}
        if not processes.is_writer():
            return
        if better:
            self.save("best.pt", self.average, {"epoch": self.state["epoch"]})
        more = {
            "state": self.state,
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }
        self.save("last.pt", self.model, more | {"average": self.average.state_dict()})
        run_folders.write_csv(self.folder / "metrics.csv", self.state["history"])
        self.mirror.log(row | {"samples_per_second": speed}, row["epoch"])
        epoch = row["epoch"]
        if epoch % self.cfg.pictureEvery == 0:
            middle = self.validation[len(self.validation) // 2]
            self.mirror.picture(
                lambda path: draw_sample(path, self.average, self.glaciers, middle, self.device),
                epoch,
            )

    def save(self, name: str, model: nn.Module, more: dict) -> None:
        """Write a checkpoint that says by itself which network it holds, for which patches."""
        content = {
            "network": type(model).__name__,
            "arguments": model.arguments,
            "patches": self.glaciers.hashes,
            "settings": self.settings,
            "weights": model.state_dict(),
            **more,
        }
        try:
            with disk.writing(self.folder / name) as file:
                torch.save(canonical(content), file)
        except (OSError, RuntimeError) as error:  # torch wraps a full disk in a RuntimeError
            reason = " ".join(str(error).split())[:120]
            raise GlacierError(
                f"{self.folder / name} could not be written ({reason}); the one of the epoch before is "
                "kept; make room and run the same command again"
            ) from error

    def restore(self) -> None:
        """Take up weights, averages, optimizer, random state and history of last.pt."""
        saved = load_weights(self.model, self.folder, "last.pt")
        self.average.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.state = saved["state"]
        torch.set_rng_state(saved["random"])
        if processes.is_writer():
            run_folders.write_csv(self.folder / "metrics.csv", self.state["history"])
        log.info("  from epoch %d of %d", self.state["epoch"], self.cfg.epochs)


@torch.no_grad()
def pooled_mse(
    predict, glaciers: Glaciers, samples: np.ndarray, size: int, device: torch.device
) -> float:
    """Return the mean squared error over all observed target pixels of samples; NaN if there is none."""
    if isinstance(predict, nn.Module):
        predict.eval()
    error = pixels = 0.0
    for batch in glaciers.batches(processes.share(samples), size):
        batch = batch.to(device)
        forecast = predict(batch.inputs, batch.context)
        error += squared_error(forecast.double(), batch.targets, batch.observed).item()
        pixels += batch.observed.sum().item() * batch.targets.shape[2]
    error, pixels = processes.total(error, pixels)
    return error / pixels if pixels else math.nan


def fitted_carry(glaciers: Glaciers, seed: int) -> Tensor:
    """Return the part of the last departure that each lead time keeps, (horizon,), by least squares over samples."""
    batch = glaciers.batch(glaciers.draw(glaciers.samples("train"), CARRY_SAMPLES, seed, 0))
    last = (batch.inputs[:, -1:] - batch.context.input_mean[:, -1:]).nan_to_num()
    products = torch.where(batch.observed, last * (batch.targets - batch.context.mean), 0).sum(
        (0, 2, 3, 4)
    )
    squares = torch.where(batch.observed, last * last, 0).sum((0, 2, 3, 4))
    return products / squares.clamp_min(1e-9)


def canonical(content):
    """Return plain containers rebuilt with one object per text, so that equal content is saved as equal bytes."""
    if isinstance(content, dict):
        return {canonical(key): canonical(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(canonical(value) for value in content)
    return sys.intern(content) if isinstance(content, str) else content


def load_weights(model: nn.Module, folder: Path, name: str) -> dict:
    """Load a run's checkpoint into a network, return the checkpoint; GlacierError if it holds another shape."""
    saved = read_weights(model, folder, name)
    model.load_state_dict(saved["weights"])
    return saved


def read_weights(model: nn.Module, folder: Path, name: str) -> dict:
    """Return a run's checkpoint; GlacierError if it holds another shape than the network's."""
    saved = run_folders.read_checkpoint(folder / name)
    if saved["network"] != type(model).__name__ or saved["arguments"] != model.arguments:
        raise GlacierError(
            f"{folder / name} holds {saved['network']} {saved['arguments']}, "
            f"not {type(model).__name__} {model.arguments}; train with those settings"
        )
    return saved


@torch.no_grad()
def draw_sample(
    path: Path, model: nn.Module, glaciers: Glaciers, sample: np.ndarray, device: torch.device
) -> None:
    """Draw inputs, forecast and truth of a sample."""
    pass

    batch = glaciers.batch(sample[None])
    forecast = model.eval()(batch.inputs.to(device), batch.context.to(device)).cpu()
    parts = {"input": batch.inputs, "forecast": forecast, "truth": batch.targets}
    images = [
        image[0] if len(image) == 1 else image[:3]
        for part in parts.values()
        for image in part[0].numpy()
    ]
    titles = [f"{name} {step + 1}" for name, part in parts.items() for step in range(part.shape[1])]
    maps.map_row(
        path, images, titles, "NDSI [1]", columns=max(batch.inputs.shape[1], forecast.shape[1])
    )
