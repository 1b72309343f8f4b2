"""The training loop: steps, learning rate, averaged weights, validation, checkpoints.

All randomness comes from (seed, epoch, step), and a step's gradient is that of all its samples together, however many
batches or processes share them: so a run goes on to the same numbers, and two processes do what one does.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from config import GlacierError
from DeepLearning.data.adjustment import crps_sums
from DeepLearning.data.batches import Batch, Glaciers
from DeepLearning.training import checkpoints, earning, processes, run_folders
from DeepLearning.training.interrupts import Interrupts
from DeepLearning.training.mirror import Mirror
from DeepLearning.training.pictures import draw_sample

log = logging.getLogger(__name__)


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
    years : of each glacier, which validation steps stop the training, and which earn the factor.
    """

    def __init__(
        self, model, glaciers: Glaciers, cfg, device, folder: Path, mirror: Mirror, settings: dict
    ):
        self.model = model
        self.glaciers = glaciers
        self.cfg = cfg
        self.device = device
        self.folder = folder
        self.mirror = mirror
        self.settings = settings
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.numbers = model.numbers
        if cfg.compile:
            self.numbers = torch.compile(model.numbers)
        rates = {"lr": cfg.learningRate, "weight_decay": cfg.weightDecay}
        self.optimizer = torch.optim.AdamW(model.parameters(), **rates, fused=True)
        self.years = [earning.deal_years(glacier) for glacier in glaciers.glaciers]
        samples = glaciers.samples("train")
        self.training = samples[self.trains(samples).any(axis=1)]
        self.a_step = cfg.batchSize * cfg.accumulate * processes.COUNT
        self.an_epoch = len(glaciers.draw(self.training, cfg.samplesPerEpoch, 0, 0))
        self.state = {"epoch": 0, "step": 0, "best": math.inf, "stale": 0, "history": []}
        self.interrupts = Interrupts()

    @property
    def may_stop(self) -> bool:
        """Whether there are years of validation that stop the training; else it takes all its epochs."""
        return any(years.stopping for years in self.years)

    def run(self) -> dict:
        """Train to the end from wherever the folder's last checkpoint stands; return the final state."""
        log.info(
            "  %d training samples, %d a pass in steps of %d; %s",
            len(self.training),
            self.an_epoch,
            self.a_step,
            say_years(self.years),
        )
        if (self.folder / "last.pt").is_file():
            self.restore()
        else:
            self.finish_epoch(
                {"training_crps": math.nan, "learning_rate": 0.0, "gradient_norm": math.nan}, 0.0
            )
        start = time.monotonic()
        first = self.state["epoch"]
        try:
            with self.interrupts:
                while not self.finished():
                    self.next_epoch()
                    self.say_epoch(time.monotonic() - start, first)
        except KeyboardInterrupt:
            log.info("Stopped. The same command, or --resume, goes on from the last epoch.")
            raise
        return self.state

    def finished(self) -> bool:
        """Return whether all epochs are made, or the years that stop the training have seen no gain for too long."""
        return self.state["epoch"] >= self.cfg.epochs or self.state["stale"] >= self.cfg.patience

    def say_epoch(self, spent: float, first: int) -> None:
        """Say how the last epoch went. spent : seconds since epoch `first`."""
        row = self.state["history"][-1]
        left = spent / (row["epoch"] - first) * (self.cfg.epochs - row["epoch"])
        log.info(
            "  epoch %d/%d  training %.5f  validation %.5f  best %.5f  %.0f s, at most %.0f s left",
            row["epoch"],
            self.cfg.epochs,
            row["training_crps"],
            row["validation_crps"],
            self.state["best"],
            spent,
            left,
        )

    # ── An epoch and its steps ───────────────────────────────────────────────────────────────────────────────────

    def next_epoch(self) -> None:
        """Make one pass over freshly drawn samples, then validate and save."""
        start = time.monotonic()
        self.state["epoch"] += 1
        epoch = self.state["epoch"]
        drawn = self.glaciers.draw(self.training, self.cfg.samplesPerEpoch, self.cfg.seed, epoch)
        steps = []
        for first in range(0, len(drawn), self.a_step):
            self.interrupts.obey()
            steps.append(self.step(drawn[first : first + self.a_step]))
        loss, norm = np.mean(steps, axis=0)
        rate = self.optimizer.param_groups[0]["lr"]
        speed = len(drawn) / (time.monotonic() - start)
        means = {
            "training_crps": float(loss),
            "learning_rate": rate,
            "gradient_norm": float(norm),
        }
        self.finish_epoch(means, speed)

    def step(self, samples: np.ndarray) -> tuple[float, float]:
        """Take one optimizer step over samples of all processes; return its loss and gradient norm."""
        batches = self.share_batches(samples)
        pixels = 0
        for batch, _ in batches:
            pixels += batch.observed.sum().item() * batch.targets.shape[2]
        (pixels,) = processes.total(pixels)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss = 0.0
        for batch, chance in batches:
            loss += self.add_gradient(batch.to(self.device), chance, max(pixels, 1))
        (loss,) = processes.total(loss)
        processes.add_gradients(self.model.parameters())
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.cfg.clipNorm).item()
        self.check_finite(loss, norm)
        self.set_rate()
        self.optimizer.step()
        self.state["step"] += 1
        self.update_average()
        return loss, norm

    def share_batches(self, samples: np.ndarray) -> list[tuple[Batch, np.ndarray]]:
        """Return this process's batches of a step, each with a chance in [0, 1) a sample and lead time for hints."""
        cfg = self.cfg
        count = len(samples)
        random = np.random.default_rng([cfg.seed, self.state["epoch"], self.state["step"]])
        turns = None
        if cfg.augment:
            turns = random.integers(0, 8, count)
        chance = random.random((count, self.glaciers.glaciers[0].horizon))
        mine = processes.share(samples)
        chance = processes.share(chance)
        if turns is not None:
            turns = processes.share(turns)
        batches = []
        for first in range(0, len(mine), cfg.batchSize):
            part = slice(first, first + cfg.batchSize)
            if turns is None:
                of_part = None
            else:
                of_part = turns[part]
            batch = self.glaciers.batch(mine[part], of_part)
            trains = torch.from_numpy(self.trains(mine[part]))[:, :, None, None, None]
            batches.append((replace(batch, observed=batch.observed & trains), chance[part]))
        return batches

    def trains(self, samples: np.ndarray) -> np.ndarray:
        """Return which targets of samples the loss counts, bool (N, horizon): all but the steps held back."""
        counts = np.ones((len(samples), self.glaciers.glaciers[0].horizon), bool)
        for number, (glacier, years) in enumerate(
            zip(self.glaciers.glaciers, self.years, strict=True)
        ):
            of_glacier = samples[:, 0] == number
            starts = np.array([window.start for window in glacier.patches.windows])
            firsts = starts[samples[of_glacier, 1]] + glacier.sequence_length
            targets = firsts[:, None] + np.arange(glacier.horizon)
            counts[of_glacier] = ~np.isin(targets, sorted(years.held_back))
        return counts

    def set_rate(self) -> None:
        """Set the learning rate of the step that comes."""
        steps = math.ceil(self.an_epoch / self.a_step)
        warmup = steps * self.cfg.warmupEpochs
        whole = steps * self.cfg.epochs
        rate = learning_rate(self.state["step"], whole, warmup, self.cfg.learningRate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def add_gradient(self, batch: Batch, chance: np.ndarray, pixels: float) -> float:
        """Add a batch's part of the gradient of the mean over `pixels` target pixels; return its part of the loss."""
        half = self.cfg.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            numbers = self.numbers(batch.inputs, batch.context, self.hints(batch, chance))
        loss = loss_sum(numbers, batch) / pixels
        loss.backward()
        return loss.item()

    def hints(self, batch: Batch, chance: np.ndarray) -> Tensor | None:
        """Return the target frames that a network which feeds back may read now, the others NaN.

        Scheduled sampling, Bengio et al. (2015), arXiv:1506.03099: fewer and fewer, none from half time on.
        """
        past = (self.state["epoch"] - 1) / self.cfg.epochs
        part = self.cfg.teacherForcing * max(0.0, 1 - 2 * past)
        if not self.model.feeds_back or part == 0:
            return None
        drawn = torch.from_numpy(chance < part).to(self.device)[:, :, None, None, None]
        return torch.where(drawn & batch.observed, batch.targets, torch.nan)

    def check_finite(self, loss: float, norm: float) -> None:
        """Raise GlacierError, before the weights are touched, if a step's loss or gradient is not finite."""
        if math.isfinite(loss) and math.isfinite(norm):
            return
        otherwise = " or in float32" if self.cfg.precision != "float32" else ""
        raise GlacierError(
            f"the loss is {loss} and the gradient's norm {norm} in epoch {self.state['epoch']}, step "
            f"{self.state['step']}; {self.folder / 'best.pt'} holds the best epoch before; train with a smaller "
            f"learningRate than {self.cfg.learningRate}{otherwise}"
        )

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the averaged weights towards the present ones; faster at the start, when there is little to keep."""
        step = self.state["step"]
        keep = min(self.cfg.averaging, step / (step + 9))
        torch._foreach_lerp_(
            list(self.average.parameters()), list(self.model.parameters()), 1 - keep
        )

    # ── Validation and checkpoints ───────────────────────────────────────────────────────────────────────────────

    def finish_epoch(self, means: dict, speed: float) -> None:
        """Score the averaged network in validation; save checkpoints, metrics.csv and a picture.

        Without years that stop the training each epoch is the best so far: validation decides nothing.
        """
        steps = [years.reported for years in self.years]
        error = self.score(steps).mean()
        row = {
            "epoch": self.state["epoch"],
            "step": self.state["step"],
            **means,
            "validation_crps": error,
        }
        self.state["history"].append(row)
        better = error < self.state["best"] or not self.may_stop
        if better:
            self.state |= {"best": error, "stale": 0}
        else:
            self.state["stale"] += 1
        if not processes.is_writer():
            return
        if better:
            self.save_best(self.state["epoch"])
        self.save_last()
        run_folders.write_csv(self.folder / "metrics.csv", self.state["history"])
        self.mirror.log(row | {"samples_per_second": speed}, row["epoch"])
        self.draw()

    def score(self, steps: list[frozenset[int]], factor: bool = False) -> earning.Scores:
        """Return the scores of the averaged network at the origins of some target steps."""
        return earning.score(
            self.average, self.glaciers, steps, self.cfg.batchSize, self.device, factor
        )

    def earn(self) -> tuple[earning.Scores, int]:
        """Set the best network's factor by the years that earn it and write it to best.pt; return its scores there.

        The second is the epoch of the best network. Done again, it comes to the same.
        """
        saved = checkpoints.load_into(self.average, self.folder / "best.pt")
        earners = [years.earning for years in self.years]
        factor = earning.earned_factor(self.score(earners))
        self.average.factor.copy_(torch.as_tensor(factor))
        if processes.is_writer():
            self.save_best(saved["epoch"])
        shown = [years.earning or years.reported for years in self.years]
        return self.score(shown, factor=True), saved["epoch"]

    def description(self) -> dict:
        """Return what a checkpoint says of its run beside the network."""
        return {"patches": self.glaciers.hashes, "settings": self.settings}

    def save_best(self, epoch: int) -> None:
        """Write best.pt: the averaged network, as of an epoch."""
        description = self.description() | {"epoch": epoch}
        checkpoints.save(self.folder / "best.pt", self.average, description)

    def save_last(self) -> None:
        """Write last.pt: everything that is needed to go on."""
        content = {
            "state": self.state,
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "average": self.average.state_dict(),
        }
        checkpoints.save(self.folder / "last.pt", self.model, self.description() | content)

    def draw(self) -> None:
        """Draw a validation sample every so many epochs."""
        epoch = self.state["epoch"]
        validation = self.glaciers.samples("validation", covering=True)
        if epoch % self.cfg.pictureEvery or not len(validation):
            return
        middle = validation[len(validation) // 2]
        self.mirror.picture(
            lambda path: draw_sample(path, self.average, self.glaciers, middle, self.device),
            epoch,
        )

    def restore(self) -> None:
        """Take up weights, averages, optimizer, random state and history of last.pt.

        What is written after it in an epoch may be missing, and is made again: metrics.csv and the picture.
        """
        path = self.folder / "last.pt"
        saved = checkpoints.load_into(self.model, path)
        checkpoints.set_weights(self.average, saved["average"], path)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.state = saved["state"]
        torch.set_rng_state(saved["random"])
        if processes.is_writer():
            run_folders.write_csv(self.folder / "metrics.csv", self.state["history"])
            self.draw()
        log.info("  from epoch %d of %d", self.state["epoch"], self.cfg.epochs)


def loss_sum(numbers: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
    """Return the sum of the CRPS over a batch's observed target pixels. numbers : a and log b."""
    context = batch.context
    sums = crps_sums(
        numbers,
        context.climatology,
        batch.targets,
        batch.observed,
        context.thresholds,
        context.floor,
    )
    return sums.sum()


def say_years(years: list[earning.Years]) -> str:
    """Return what validation decides in this training."""
    stopping = sum(len(of_glacier.stopping) for of_glacier in years)
    held_back = sum(len(of_glacier.held_back) for of_glacier in years)
    earning_steps = sum(len(of_glacier.earning) for of_glacier in years)
    if not earning_steps:
        return "less than a whole year of validation, which decides nothing"
    adds = f"{earning_steps} validation steps say what the network adds"
    if not stopping:
        return f"{adds}, none stops it early"
    if held_back:
        return f"{adds}, {held_back} steps held back from training stop it"
    return f"{adds}, {stopping} others stop the training"
