"""Who is train, validation and test, and the proof that nothing is shared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from config import GlacierError

PARTS = ("train", "validation", "test", "gap")
BLOCK_SIDE = 0.4  # of the kept-out block, as a part of each side of the scene
# A validation of less than a year tells of one season only, and of one year's weather. A series
# shorter than this has no whole year to spare: there validation decides nothing.
YEARS_TO_VALIDATE = 4


@dataclass(frozen=True)
class Split:
    """parts : of each window, by its first step. block : (top, bottom, left, right) of the kept-out pixels, or None."""

    parts: tuple[str, ...]
    block: tuple[int, int, int, int] | None


def validation_years(steps: int, steps_per_year: int, fraction: float) -> int:
    """Return how many whole years validate a series; 0 if it is too short, so that validation decides nothing."""
    if steps < YEARS_TO_VALIDATE * steps_per_year:
        return 0
    return max(1, math.ceil(round(steps * fraction / steps_per_year, 6)))


def split_windows(
    steps: int,
    length: int,
    horizon: int,
    test: float,
    validation: float,
    steps_per_year: int = 4,
) -> tuple[str, ...]:
    """Return the part of each window of a series, by first step; GlacierError if the series is too short.

    steps : of the series. length, horizon : input and target steps. test, validation : parts of the steps.
    From YEARS_TO_VALIDATE years on, validation is rounded up to whole years.
    """
    years = validation_years(steps, steps_per_year, validation)
    for_test = max(horizon, round(steps * test))
    for_validation = max(horizon, years * steps_per_year or round(steps * validation))
    test_start = steps - for_test
    validation_start = test_start - for_validation
    if validation_start < length + horizon:
        raise GlacierError(
            f"the series has {steps} composites, too few: {length} inputs and {horizon} targets to train on, "
            f"{for_validation} to validate and {for_test} to test need {length + horizon + for_validation + for_test}; "
            "take more years, a larger stepsPerYear, or a smaller sequenceLength, horizon or testFraction"
        )
    parts = []
    for start in range(steps - length - horizon + 1):
        target = start + length
        end = start + length + horizon
        if end <= validation_start:
            parts.append("train")
        elif validation_start <= target and end <= test_start:
            parts.append("validation")
        elif target >= test_start:
            parts.append("test")
        else:
            parts.append("gap")
    return tuple(parts)


def target_steps(parts: Sequence[str], length: int, horizon: int) -> dict[str, list[int]]:
    """Return the target steps of each part of the split, in order. length, horizon : of a window."""
    steps: dict[str, set[int]] = {part: set() for part in PARTS}
    for start, part in enumerate(parts):
        steps[part].update(range(start + length, start + length + horizon))
    return {part: sorted(numbers) for part, numbers in steps.items()}


def input_steps(parts: Sequence[str], length: int) -> dict[str, list[int]]:
    """Return the input steps of each part of the split, in order. length : inputs of a window."""
    return target_steps(parts, 0, length)


# ── The kept-out block ───────────────────────────────────────────────────────────────────────────────────────────


def mean_image(values: Sequence[np.ndarray], steps: int) -> np.ndarray:
    """Return the mean (H, W) over the first `steps` and all channels of values (T, C, H, W), read step by step."""
    frames = (frame for step in range(steps) for frame in values[step])
    total = next(frames).copy()
    count = 1
    for frame in frames:
        total += frame
        count += 1
    return total / count


def choose_block(past: np.ndarray, size: int, stride: int) -> tuple[int, int, int, int] | None:
    """Return the corner block (top, bottom, left, right) to keep out: the one whose mean is most like the scene's.

    past : (T, C, H, W) training steps only, or their mean (1, 1, H, W). None if the scene is too small to keep a block
    and train beside it.
    """
    height, width = past.shape[-2:]
    tall = max(size, round(BLOCK_SIDE * height))
    wide = max(size, round(BLOCK_SIDE * width))
    image = past.mean(axis=(0, 1))  # (H, W)
    best = None
    least = math.inf
    for top in (0, height - tall):
        for left in (0, width - wide):
            block = (top, top + tall, left, left + wide)
            parts = patch_parts((height, width), size, stride, block)
            if not {"train", "block"} <= set(parts.flat):
                continue
            inside = image[top : top + tall, left : left + wide]
            difference = abs(inside.mean() - image.mean())
            if difference < least:
                best = block
                least = difference
    return best


def patch_parts(
    shape: tuple[int, int], size: int, stride: int, block: tuple[int, int, int, int] | None
) -> np.ndarray:
    """Return the part of each patch (rows, columns): "block" in the kept-out block, "gap" across its edge, "train"."""
    height, width = shape
    tops = np.arange(0, height - size + 1, stride)
    lefts = np.arange(0, width - size + 1, stride)
    if block is None:
        return np.full((len(tops), len(lefts)), "train")
    top, bottom, left, right = block
    rows_inside = (tops >= top) & (tops + size <= bottom)
    columns_inside = (lefts >= left) & (lefts + size <= right)
    rows_apart = (tops >= bottom) | (tops + size <= top)
    columns_apart = (lefts >= right) | (lefts + size <= left)
    inside = np.logical_and.outer(rows_inside, columns_inside)
    apart = np.logical_or.outer(rows_apart, columns_apart)
    return np.where(inside, "block", np.where(apart, "train", "gap"))


def pixels_reached(
    shape: tuple[int, int], size: int, stride: int, block: tuple[int, int, int, int] | None
) -> dict[str, np.ndarray]:
    """Return which pixels (H, W) the patches of each part reach: "train", "block" and "gap", bool."""
    reach = {part: np.zeros(shape, bool) for part in ("train", "block", "gap")}
    parts = patch_parts(shape, size, stride, block)
    for row, column in np.ndindex(parts.shape):
        top = row * stride
        left = column * stride
        reach[str(parts[row, column])][top : top + size, left : left + size] = True
    return reach


# ── The proof ────────────────────────────────────────────────────────────────────────────────────────────────────


def prove(
    split: Split,
    shape: tuple[int, int],
    size: int,
    stride: int,
    length: int,
    horizon: int,
    advice: str = "please report it",
) -> dict[str, int]:
    """Return how many pixel-times are trained on and tested, and that none is both; GlacierError if one is.

    Counted pixel by pixel and step by step from what each part really reads: every input and target of the training
    and validation windows, against every target of the test windows and every pixel of the kept-out block.
    advice : what to do about one that is both.
    """
    reach = pixels_reached(shape, size, stride, split.block)
    targets = {
        part: set(steps) for part, steps in target_steps(split.parts, length, horizon).items()
    }
    inputs = {part: set(steps) for part, steps in input_steps(split.parts, length).items()}
    trained = inputs["train"] | targets["train"]
    learnt = trained | inputs["validation"] | targets["validation"]
    area = int(reach["train"].sum())
    tested = int((reach["train"] | reach["block"]).sum())
    in_both = int((reach["train"] & reach["block"]).sum())
    shared = len(learnt & targets["test"]) * area + len(learnt) * in_both
    proof = {
        "train_pixel_times": len(trained) * area,
        "validation_target_pixel_times": len(targets["validation"]) * area,
        "test_target_pixel_times": len(targets["test"]) * tested,
        "shared_train_validation": len(trained & targets["validation"]) * area,
        "shared_pixel_times": shared,
    }
    if proof["shared_pixel_times"] or proof["shared_train_validation"]:
        raise GlacierError(
            f"the split lets test or validation pixels into training ({proof}); {advice}"
        )
    return proof
