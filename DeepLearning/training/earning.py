"""What a network has earned: how far its two numbers may be trusted at each lead time, on origins it did not train on.

Whole years of validation are dealt out, so that no year does two things. With YEARS_TO_STOP or more, the first half
stops the training early and the others earn the factor. Fewer all earn; then the last year of the training steps is
held back from the loss and stops the training, if a year at least is left to train on. A series without a whole year
of validation earns nothing, and takes its epochs in full.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from DeepLearning.data.adjustment import crps_sums
from DeepLearning.data.batches import Batch, Glaciers
from DeepLearning.data.glacier import Glacier
from DeepLearning.training import processes
from DeepLearning.verification.intervals import date_blocks
from glacier.patches.split import YEARS_TO_VALIDATE, target_steps

YEARS_TO_STOP = 4  # whole years of validation from which half of them stop the training
FEWEST_BLOCKS = 4  # of origins, below which nothing is earned


@dataclass(frozen=True)
class Years:
    """Which target steps of a glacier do what. years : whole years of validation, 0 if it decides nothing.

    stopping : target steps whose score stops the training. earning : those that earn the factor. reported : those whose
    score is shown after each epoch. held_back : training steps that the loss leaves out, for they stop it.
    """

    years: int
    stopping: frozenset[int]
    earning: frozenset[int]
    reported: frozenset[int]
    held_back: frozenset[int] = frozenset()


def deal_years(glacier: Glacier) -> Years:
    """Return what each step of a glacier decides."""
    parts = [window.part for window in glacier.patches.windows]
    targets = target_steps(parts, glacier.sequence_length, glacier.horizon)
    steps = targets["validation"]
    every = glacier.series.steps_per_year
    years = 0
    if len(glacier.series.dates) >= YEARS_TO_VALIDATE * every:
        years = len(steps) // every
    if years == 0:
        return Years(0, frozenset(), frozenset(), frozenset(steps))
    if years < YEARS_TO_STOP:
        last_year = targets["train"][-every:]
        stopping = frozenset(last_year if len(targets["train"]) >= 2 * every else ())
        return Years(years, stopping, frozenset(steps), stopping or frozenset(steps), stopping)
    border = steps[0] + years // 2 * every
    stopping = frozenset(step for step in steps if step < border)
    earning = frozenset(step for step in steps if step >= border)
    return Years(years, stopping, earning, stopping)


@dataclass(frozen=True)
class Scores:
    """Sums over the observed pixels of origins: a row an origin, a column a lead time.

    blocks : (N,), number of the 3 months in which the origin's first target lies. network, start, climatology : sums of
    the CRPS, (N, horizon), start that of the network before its training. pixels : (N, horizon); 0 where a lead time's
    target does not count.
    """

    blocks: np.ndarray
    network: np.ndarray
    start: np.ndarray
    climatology: np.ndarray
    pixels: np.ndarray

    def mean(self, which: str = "network") -> float:
        """Return the CRPS over all origins and lead times; NaN where nothing was observed."""
        pixels = self.pixels.sum()
        return float(getattr(self, which).sum() / pixels) if pixels else math.nan


@torch.no_grad()
def score(
    model: nn.Module,
    glaciers: Glaciers,
    steps: list[frozenset[int]],
    size: int,
    device: torch.device,
    factor: bool,
) -> Scores:
    """Return the scores of a network and of climatology at all origins with a target among `steps` (of each glacier).

    A lead time counts only if its own target is among them. size : patches at once. factor : whether the network's
    numbers are scaled by its factor.
    """
    model.eval()
    origins = scored_windows(glaciers, steps)
    horizon = glaciers.glaciers[0].horizon
    sums = np.zeros((4, len(origins), horizon))
    samples, rows = [], []
    for row, (number, window, _) in enumerate(origins):
        patches = glaciers.samples_of(number, [window], covering=True)
        samples.append(patches)
        rows.append(np.full(len(patches), row))
    samples = processes.share(np.concatenate(samples)) if origins else np.empty((0, 4), int)
    rows = processes.share(np.concatenate(rows)) if origins else np.empty(0, int)
    for start in range(0, len(samples), size):
        batch = glaciers.batch(samples[start : start + size]).to(device)
        of_batch = score_batch(model, batch, factor)  # (4, B, horizon)
        for part, values in zip(sums, of_batch, strict=True):
            np.add.at(part, rows[start : start + size], values)
    sums = np.array(processes.total(*sums.ravel().tolist())).reshape(sums.shape)
    counted = np.array([leads for _, _, leads in origins]).reshape(-1, horizon)
    return Scores(origin_blocks(glaciers, origins), *(sums * counted))


def scored_windows(
    glaciers: Glaciers, steps: list[frozenset[int]]
) -> list[tuple[int, int, list[bool]]]:
    """Return the windows with a target among `steps`: glacier, window, and which lead times have theirs there."""
    windows = []
    for number, glacier in enumerate(glaciers.glaciers):
        for window in range(len(glacier.patches.windows)):
            target = glacier.patches.windows[window].start + glacier.sequence_length
            leads = [step in steps[number] for step in range(target, target + glacier.horizon)]
            if any(leads):
                windows.append((number, window, leads))
    return windows


def origin_blocks(glaciers: Glaciers, origins: list[tuple[int, int, list[bool]]]) -> np.ndarray:
    """Return the number of the 3-month block in which each origin's first target lies, (N,)."""
    dates = []
    for number, window, _ in origins:
        glacier = glaciers.glaciers[number]
        target = glacier.patches.windows[window].start + glacier.sequence_length
        dates.append(glacier.date(target))
    return date_blocks(dates)


def score_batch(model: nn.Module, batch: Batch, factor: bool) -> np.ndarray:
    """Return sums of a batch (4, B, horizon): CRPS of the network, its start and climatology, and observed pixels."""
    context = batch.context
    numbers = model.numbers(batch.inputs, context)
    if factor:
        numbers = model.trusted(*numbers, context)
    nothing = torch.zeros_like(numbers[0])
    carried = model.carried_shift(context).expand_as(nothing)
    sums = []
    for two_numbers in (numbers, (carried, nothing), (nothing, nothing)):
        score = crps_sums(
            two_numbers,
            context.climatology,
            batch.targets,
            batch.observed,
            context.thresholds,
            context.floor,
        )
        sums.append(score)
    sums.append(batch.observed.sum(dim=(2, 3, 4)) * batch.targets.shape[2])
    return torch.stack(sums).double().cpu().numpy()


# ── The factor ───────────────────────────────────────────────────────────────────────────────────────────────────


def earned_factor(scores: Scores) -> np.ndarray:
    """Return the factor (horizon,) of each lead time, in [0, 1]: (1 - (2 SE / gain)^2)+.

    gain : how much lower the network's CRPS is than that of its start. SE : its standard error over blocks of 3
    months of origins. The shrinkage that is best for a gain known with this error (James & Stein 1961), with twice
    the error for safety. 0 with fewer than FEWEST_BLOCKS blocks.
    """
    gains = scores.start - scores.network  # (N, horizon)
    factor = np.zeros(gains.shape[1])
    numbers = np.unique(scores.blocks)
    for lead in range(len(factor)):
        gain, pixels = [], []
        for number in numbers:
            inside = scores.blocks == number
            observed = scores.pixels[inside, lead].sum()
            if observed:
                gain.append(gains[inside, lead].sum())
                pixels.append(observed)
        factor[lead] = block_factor(np.array(gain), np.array(pixels))
    return factor


def block_factor(gain: np.ndarray, pixels: np.ndarray) -> float:
    """Return the factor of one lead time from sums of gains and of pixels over blocks, each (blocks,)."""
    blocks = len(gain)
    if blocks < FEWEST_BLOCKS:
        return 0.0
    mean = gain.sum() / pixels.sum()
    if mean <= 0:
        return 0.0
    left = (
        gain - mean * pixels
    )  # of a ratio's linear form, Cochran (1977), Sampling Techniques, section 6.4
    error = math.sqrt(blocks / (blocks - 1) * (left**2).sum()) / pixels.sum()
    return max(0.0, 1 - (2 * error / mean) ** 2)
