"""Who is train, validation and test, and the proof that nothing is shared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from config import GlacierError

PARTS = ("train", "validation", "test", "gap")
BLOCK_SIDE = 0.4  # of the kept-out block, as a part of each side of the scene


@dataclass(frozen=True)
class Split:
    """parts : of each window, by its first step. block : (top, bottom, left, right) of the kept-out pixels, or None."""

    parts: tuple[str, ...]
    block: tuple[int, int, int, int] | None


def split_windows(
    steps: int, length: int, horizon: int, test: float, validation: float
) -> tuple[str, ...]:
    """Return the part of each window of a series, by first step; GlacierError if the series is too short.

    steps : of the series. length, horizon : input and target steps. test, validation : parts of the steps.
    """
    for_test, for_validation = (max(horizon, round(steps * part)) for part in (test, validation))
    test_start, validation_start = steps - for_test, steps - for_test - for_validation
    if validation_start < length + horizon:
        raise GlacierError(
            f"the series has {steps} composites, too few: {length} inputs and {horizon} targets to train on, "
            f"{for_validation} to validate and {for_test} to test need {length + horizon + for_validation + for_test}; "
            "take more years, a larger stepsPerYear, or a smaller sequenceLength, horizon or testFraction"
        )
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
    corners = [
        (top, top + tall, left, left + wide)
        for top in (0, height - tall)
        for left in (0, width - wide)
    ]
    corners = [
        block
        for block in corners
        if {"train", "block"} <= set(patch_parts((height, width), size, stride, block).flat)
    ]
    return min(
        corners,
        default=None,
        key=lambda block: abs(
            image[block[0] : block[1], block[2] : block[3]].mean() - image.mean()
        ),
    )


def patch_parts(
    shape: tuple[int, int], size: int, stride: int, block: tuple[int, int, int, int] | None
) -> np.ndarray:
    """Return the part of each patch (rows, columns): "block" in the kept-out block, "gap" across its edge, "train"."""
    tops, lefts = (np.arange(0, side - size + 1, stride) for side in shape)
    if block is None:
        return np.full((len(tops), len(lefts)), "train")
    top, bottom, left, right = block
    inside = np.logical_and.outer(
        (tops >= top) & (tops + size <= bottom), (lefts >= left) & (lefts + size <= right)
    )
    apart = np.logical_or.outer(
        (tops >= bottom) | (tops + size <= top), (lefts >= right) | (lefts + size <= left)
    )
    return np.where(inside, "block", np.where(apart, "train", "gap"))


def prove(
    split: Split, shape: tuple[int, int], size: int, stride: int, length: int, horizon: int
) -> dict[str, int]:
    """Return how many pixel-times are trained on and tested, and that none is both; GlacierError if one is.

    Counted pixel by pixel and step by step from what each part really reads: every input and target of the training
    and validation windows, against every target of the test windows and every pixel of the kept-out block.
    """
    reach = {part: np.zeros(shape, bool) for part in ("train", "block", "gap")}
    parts = patch_parts(shape, size, stride, split.block)
    for row, column in np.ndindex(parts.shape):
        reach[parts[row, column]][
            row * stride : row * stride + size, column * stride : column * stride + size
        ] = True
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
        raise GlacierError(
            f"the split lets test or validation pixels into training ({proof}); "
            "run python createPatches.py --force"
        )
    return proof
