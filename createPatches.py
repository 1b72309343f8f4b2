"""Stage 3: cut the composites into sequences of patches, and keep the test out of the training.

    python createPatches.py --name=parvati

Reads aligned/. Writes patches/: images/ (inputs), targets/ (ground truth) and observed/ (which target pixels were
really seen), one file a time window; splits.yaml (who is train, validation, test or gap, with the proof); pictures.

A window is sequenceLength input steps and the horizon target steps after them. Test are the windows whose targets lie
in the last testFraction of the steps, validation those just before; a window that straddles a border is a gap, used
nowhere. A block of the scene is kept out of training as well. Patches are strided views: a file holds its window once,
however much the patches overlap.
"""
from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml

import alignment
import figures
import store
from config import Config, GlacierError

log = logging.getLogger(__name__)

STAGE = "patches"
USES = ("patchSize", "stride", "sequenceLength", "horizon", "snowThreshold", "testFraction", "validationFraction")
PARTS = ("train", "validation", "test", "gap")
BLOCK_SIDE = 0.4  # of the kept-out block, as a part of each side of the scene


# ── Patches and their inverse ────────────────────────────────────────────────────────────────────────────────────

def cut(array: torch.Tensor, size: int, stride: int) -> torch.Tensor:
    """Return the patches of (..., H, W) as a strided view (rows, columns, ..., size, size): no pixel is copied."""
    view = array.unfold(-2, size, stride).unfold(-2, size, stride)
    return view.movedim((-4, -3), (0, 1))


def pad(array: torch.Tensor, size: int, stride: int) -> torch.Tensor:
    """Return (..., H, W) with its last row and column repeated until patches reach every pixel."""
    height, width = array.shape[-2:]
    down, right = (size + stride * max(0, math.ceil((side - size) / stride)) - side for side in (height, width))
    rows = torch.arange(height + down).clamp(max=height - 1)
    columns = torch.arange(width + right).clamp(max=width - 1)
    return array[..., rows[:, None], columns]


def stitch(patches: torch.Tensor, shape: tuple[int, int], stride: int) -> torch.Tensor:
    """Return the scene (..., H, W) of its patches (rows, columns, ..., size, size), the inverse of `cut`, as `blend`.

    shape : (H, W) of the scene. Pixels that no patch reaches are NaN.
    """
    rows, columns = patches.shape[:2]
    places = [(row * stride, column * stride) for row in range(rows) for column in range(columns)]
    return blend(zip(places, patches.flatten(0, 1), strict=True), shape)


def blend(patches: Iterable[tuple[tuple[int, int], torch.Tensor]], shape: tuple[int, int]) -> torch.Tensor:
    """Return the scene (..., H, W) of patches (..., size, size), each with its place (top, left) in the scene.

    Where patches overlap they are averaged under a squared-sine window, so that no seam is seen; each patch counts
    most in its middle. Pixels that no patch reaches are NaN.
    """
    total = weight = None
    for (top, left), patch in patches:
        if total is None:
            ramp = torch.sin(torch.pi * (torch.arange(patch.shape[-1]) + 0.5) / patch.shape[-1]) ** 2
            window = torch.outer(ramp, ramp).to(patch.dtype)
            total, weight = patch.new_zeros((*patch.shape[:-2], *shape)), patch.new_zeros(shape)
        place = (..., slice(top, top + len(window)), slice(left, left + len(window)))
        total[place] += patch * window
        weight[place] += window
    return torch.where(weight > 0, total / weight, torch.nan)


# ── The series ───────────────────────────────────────────────────────────────────────────────────────────────────

@dataclass(frozen=True)
class Series:
    """The composites as the networks see them. values : float32 (T, C, H, W), no gaps. observed : bool (T, H, W).

    dates : ISO text, first day of each step. The steps are unbroken, so t and t - steps_per_year are the same season.
    """
    values: np.ndarray
    observed: np.ndarray
    dates: tuple[str, ...]
    steps_per_year: int
    channels: tuple[str, ...]
    crs: str
    transform: tuple[float, ...]


def read_series(cfg: Config) -> Series:
    """Return the composites of the glacier, NDSI below snowThreshold set to 0."""
    found = alignment.read_composites(cfg)
    values = np.array(found.values, np.float32)
    if found.channels == ("ndsi",) and cfg.snowThreshold is not None:
        values[values < cfg.snowThreshold] = 0
    return Series(values, np.array(found.observed), tuple(found.dates), found.steps_per_year, found.channels,
                  found.crs, tuple(found.transform))


class Moments:
    """Sums over the observed pixels of some steps of a series, from which their mean and spread follow.

    count (1, H, W), total, squares, filled (C, H, W) : of the steps added, `filled` over observed and filled pixels.
    """

    def __init__(self, series: Series, steps: Iterable[int] = ()):
        self.series, self.steps = series, 0
        self.count = np.zeros((1, *series.observed.shape[1:]), np.float32)
        self.total, self.squares, self.filled = np.zeros((3, *series.values.shape[1:]), np.float64)
        for step in steps:
            self.add(step)

    def add(self, step: int) -> None:
        """Add a step."""
        seen, values = self.series.observed[step][None], self.series.values[step]
        self.steps += 1
        self.count += seen
        self.total += np.where(seen, values, 0)
        self.squares += np.where(seen, values.astype(np.float64) ** 2, 0)
        self.filled += values

    def mean_and_spread(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation, (C, H, W); where nothing was observed, of filled values, and 0."""
        mean = np.where(self.count > 0, self.total / np.maximum(self.count, 1), self.filled / max(self.steps, 1))
        variance = self.squares / np.maximum(self.count, 1) - np.where(self.count > 0, mean, 0) ** 2
        return mean, np.sqrt(np.maximum(variance, 0))


def climatology(series: Series, first_target: int, horizon: int,
                before: Moments | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and spread (standard deviation), each (horizon, C, H, W), of the steps first_target, +1, ...

    Causal: of the same season in the steps before first_target, over observed pixels. A pixel that was not observed in
    that season takes the mean of all its earlier steps; a spread of fewer than two years is that of all earlier steps.
    before : the moments of all earlier steps, if they are known.
    """
    mean, spread = np.empty((2, horizon, *series.values.shape[1:]), np.float32)
    all_mean, all_spread = (before or Moments(series, range(first_target))).mean_and_spread()
    for lead in range(horizon):
        every = series.steps_per_year
        season = Moments(series, range((first_target + lead) % every, first_target, every))
        season_mean, season_spread = season.mean_and_spread()
        mean[lead] = np.where(season.count > 0, season_mean, all_mean)
        spread[lead] = np.where(season.count > 1, season_spread, all_spread)
    return mean, spread


# ── The split ────────────────────────────────────────────────────────────────────────────────────────────────────

@dataclass(frozen=True)
class Split:
    """parts : of each window, by its first step. block : (top, bottom, left, right) of the kept-out pixels, or None."""
    parts: tuple[str, ...]
    block: tuple[int, int, int, int] | None


def split_windows(steps: int, length: int, horizon: int, test: float, validation: float) -> tuple[str, ...]:
    """Return the part of each window of a series, by first step; GlacierError if the series is too short.

    steps : of the series. length, horizon : input and target steps. test, validation : parts of the steps.
    """
    for_test, for_validation = (max(horizon, round(steps * part)) for part in (test, validation))
    test_start, validation_start = steps - for_test, steps - for_test - for_validation
    if validation_start < length + horizon:
        raise GlacierError(
            f"the series has {steps} composites, too few: {length} inputs and {horizon} targets to train on, "
            f"{for_validation} to validate and {for_test} to test need {length + horizon + for_validation + for_test}; "
            "take more years, a larger stepsPerYear, or a smaller sequenceLength, horizon or testFraction")
    parts = []
    for start in range(steps - length - horizon + 1):
        target, end = start + length, start + length + horizon
        if end <= validation_start:
            parts.append("train")
        elif validation_start <= target and end <= test_start:
            parts.append("validation")
        else:
            parts.append("test" if target >= test_start else "gap")
    return tuple(parts)


def choose_block(past: np.ndarray, size: int, stride: int) -> tuple[int, int, int, int] | None:
    """Return the corner block (top, bottom, left, right) to keep out: the one whose mean is most like the scene's.

    past : (T, C, H, W) training steps only. None if the scene is too small to keep a block and train beside it.
    """
    height, width = past.shape[-2:]
    tall, wide = (max(size, round(BLOCK_SIDE * side)) for side in (height, width))
    image = past.mean(axis=(0, 1))
    corners = [(top, top + tall, left, left + wide) for top in (0, height - tall) for left in (0, width - wide)]
    corners = [block for block in corners
               if {"train", "block"} <= set(patch_parts((height, width), size, stride, block).flat)]
    return min(corners, default=None,
               key=lambda block: abs(image[block[0]:block[1], block[2]:block[3]].mean() - image.mean()))


def patch_parts(shape: tuple[int, int], size: int, stride: int,
                block: tuple[int, int, int, int] | None) -> np.ndarray:
    """Return the part of each patch (rows, columns): "block" in the kept-out block, "gap" across its edge, "train"."""
    tops, lefts = (np.arange(0, side - size + 1, stride) for side in shape)
    if block is None:
        return np.full((len(tops), len(lefts)), "train")
    top, bottom, left, right = block
    inside = np.logical_and.outer((tops >= top) & (tops + size <= bottom), (lefts >= left) & (lefts + size <= right))
    apart = np.logical_or.outer((tops >= bottom) | (tops + size <= top), (lefts >= right) | (lefts + size <= left))
    return np.where(inside, "block", np.where(apart, "train", "gap"))


def prove(split: Split, shape: tuple[int, int], size: int, stride: int, length: int, horizon: int) -> dict[str, int]:
    """Return how many pixel-times are trained on and tested, and that none is both; GlacierError if one is.

    Counted pixel by pixel and step by step from what each part really reads: every input and target of the training
    and validation windows, against every target of the test windows and every pixel of the kept-out block.
    """
    reach = {part: np.zeros(shape, bool) for part in ("train", "block", "gap")}
    parts = patch_parts(shape, size, stride, split.block)
    for row, column in np.ndindex(parts.shape):
        reach[parts[row, column]][row * stride:row * stride + size, column * stride:column * stride + size] = True
    read = {part: set() for part in ("train", "validation", "test", "gap")}
    targets = {part: set() for part in read}
    for start, part in enumerate(split.parts):
        read[part].update(range(start, start + length + horizon))
        targets[part].update(range(start + length, start + length + horizon))
    learnt = read["train"] | read["validation"]
    area = int(reach["train"].sum())
    tested = int((reach["train"] | reach["block"]).sum())
    proof = {
        "train_pixel_times": len(read["train"]) * area,
        "validation_target_pixel_times": len(targets["validation"]) * area,
        "test_target_pixel_times": len(targets["test"]) * tested,
        "shared_train_validation": len(read["train"] & targets["validation"]) * area,
        "shared_pixel_times": len(learnt & targets["test"]) * area
        + len(learnt) * int((reach["train"] & reach["block"]).sum()),
    }
    if proof["shared_pixel_times"] or proof["shared_train_validation"]:
        raise GlacierError(f"the split lets test or validation pixels into training ({proof}); "
                           "run python createPatches.py --force")
    return proof


# ── The stage ────────────────────────────────────────────────────────────────────────────────────────────────────

def make_patches(cfg: Config, folder: Path) -> store.Result:
    """Write the windows, the split and its proof."""
    series = read_series(cfg)
    shape = series.values.shape[-2:]
    if cfg.patchSize > min(shape):
        raise GlacierError(f"patchSize {cfg.patchSize} px is larger than the scene of {shape[0]} x {shape[1]} px; "
                           f"give at most {min(shape)}, or a larger boundingBox")
    parts = split_windows(len(series.dates), cfg.sequenceLength, cfg.horizon, cfg.testFraction, cfg.validationFraction)
    training_steps = parts.count("train") + cfg.sequenceLength + cfg.horizon - 1
    split = Split(parts, choose_block(series.values[:training_steps], cfg.patchSize, cfg.stride))
    proof = prove(split, shape, cfg.patchSize, cfg.stride, cfg.sequenceLength, cfg.horizon)
    files = []
    for start in store.progress(range(len(parts)), "windows"):
        files += write_window(cfg, folder, series, start)
    files += write_split(folder, series, split, proof)
    patches = patch_parts(shape, cfg.patchSize, cfg.stride, split.block)
    counts = {"steps": len(series.dates), "windows": len(parts), "patches_a_window": patches.size} | proof
    table = [("windows", *(f"{parts.count(part)} {part}" for part in PARTS)),
             ("patches a window", *(f"{(patches == part).sum()} {part}" for part in ("train", "block", "gap"))),
             *((name.replace("_", " "), number) for name, number in proof.items())]
    files += draw(cfg, folder, series, split, proof)
    return store.Result(files, counts, table)


def write_window(cfg: Config, folder: Path, series: Series, start: int) -> list[Path]:
    """Write one window's inputs, targets and observed pixels as strided views; return the files."""
    middle, end = start + cfg.sequenceLength, start + cfg.sequenceLength + cfg.horizon
    contents = {"images": series.values[start:middle], "targets": series.values[middle:end],
                "observed": series.observed[middle:end]}
    files = []
    for kind, array in contents.items():
        files.append(folder / kind / f"{series.dates[start]}.pt")
        with store.writing(files[-1]) as file:
            torch.save(cut(torch.tensor(array), cfg.patchSize, cfg.stride), file)
    return files


def write_split(folder: Path, series: Series, split: Split, proof: dict[str, int]) -> list[Path]:
    """Write splits.yaml; return the file."""
    blocks = [{"part": "test", "rows": list(split.block[:2]), "columns": list(split.block[2:])}] if split.block else []
    store.write_yaml(folder / "splits.yaml", {
        "windows": dict(zip(series.dates, split.parts, strict=False)), "blocks": blocks, "proof": proof})
    return [folder / "splits.yaml"]


def draw(cfg: Config, folder: Path, series: Series, split: Split, proof: dict[str, int]) -> list[Path]:
    """Draw the last training window, the kept-out block and who reads which step, for the report; return the files."""
    start, length = split.parts.count("train") - 1, cfg.sequenceLength + cfg.horizon
    images = [step[0] if len(step) == 1 else step for step in series.values[start:start + length]]
    roles = ["input"] * cfg.sequenceLength + ["target"] * cfg.horizon
    titles = [f"{date} {role}" for date, role in zip(series.dates[start:], roles, strict=False)]
    bars = [(start, cfg.sequenceLength, cfg.horizon, part) for start, part in enumerate(split.parts)]
    label = "NDSI [1]" if len(series.channels) == 1 else "reflectance [1]"
    window = figures.map_row(folder / "quicklooks" / "window.png", images, titles, label,
                             pixel_size=series.transform[0])
    steps = figures.windows(folder / "quicklooks" / "split.png", bars, series.dates)
    section = figures.section(
        folder, "Patches and split", [("part", "windows"), *((part, split.parts.count(part)) for part in PARTS)],
        [("pixels x steps", "number"), *((name.replace("_", " "), number) for name, number in proof.items())],
        figures.Picture(steps, "Which steps each window reads: no training window reads a step that is a target of "
                               "validation or test"),
        figures.Picture(window, "The last training window: what a network is given, and what it must forecast"))
    return [window, steps, section]


# ── The reader ───────────────────────────────────────────────────────────────────────────────────────────────────

@dataclass(frozen=True)
class Window:
    """One time window. inputs, targets : float32 (rows, columns, steps, C, size, size), views of a file on disk.

    observed : bool (rows, columns, horizon, size, size). start : its first step in the series.
    """
    date: str
    part: str
    start: int
    inputs: torch.Tensor
    targets: torch.Tensor
    observed: torch.Tensor
    input_dates: tuple[str, ...]
    target_dates: tuple[str, ...]


@dataclass(frozen=True)
class Patches:
    """All windows in time order, and the part of each patch (rows, columns): "train", "block" (kept out) or "gap"."""
    windows: tuple[Window, ...]
    patch_parts: np.ndarray


def read_patches(cfg: Config) -> Patches:
    """Return the windows, memory-mapped, their split proved again; GlacierError if they are not there or not right."""
    folder = cfg.folder / STAGE
    store.need(cfg, STAGE)
    content = yaml.safe_load((folder / "splits.yaml").read_text())
    composites = alignment.read_composites(cfg)
    shape, dates = composites.values.shape[-2:], composites.dates
    block = next(((*entry["rows"], *entry["columns"]) for entry in content["blocks"]), None)
    split = Split(tuple(content["windows"].values()), block)
    prove(split, shape, cfg.patchSize, cfg.stride, cfg.sequenceLength, cfg.horizon)
    windows = []
    for start, (date, part) in enumerate(content["windows"].items()):
        middle, end = start + cfg.sequenceLength, start + cfg.sequenceLength + cfg.horizon
        tensors = (load_tensor(folder / kind / f"{date}.pt") for kind in ("images", "targets", "observed"))
        windows.append(Window(date, part, start, *tensors, tuple(dates[start:middle]), tuple(dates[middle:end])))
    return Patches(tuple(windows), patch_parts(shape, cfg.patchSize, cfg.stride, block))


def load_tensor(path: Path) -> torch.Tensor:
    """Return a tensor, memory-mapped; GlacierError if the file is damaged."""
    try:
        return torch.load(path, mmap=True, weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise GlacierError(f"{path} is damaged ({error}); run python createPatches.py --force") from error


def run(cfg: Config) -> int:
    """Make patches/ of the glacier."""
    code = store.run_stage(cfg, STAGE, USES, ["aligned"], make_patches)
    figures.report(cfg)
    return code


if __name__ == "__main__":
    sys.exit(store.main(run))
