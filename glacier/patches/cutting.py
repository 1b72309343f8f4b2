"""Patches of a scene and their inverse."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # loading it takes seconds: a stage that has nothing to do goes without
    import torch


def cut(array: torch.Tensor, size: int, stride: int) -> torch.Tensor:
    """Return the patches of (..., H, W) as a strided view (rows, columns, ..., size, size): no pixel is copied."""
    view = array.unfold(-2, size, stride).unfold(-2, size, stride)
    return view.movedim((-4, -3), (0, 1))


def pad(array: torch.Tensor, size: int, stride: int) -> torch.Tensor:
    """Return (..., H, W) with its last row and column repeated until patches reach every pixel."""
    import torch

    height, width = array.shape[-2:]
    tall = reached(height, size, stride)
    wide = reached(width, size, stride)
    rows = torch.arange(tall).clamp(max=height - 1)
    columns = torch.arange(wide).clamp(max=width - 1)
    return array[..., rows[:, None], columns]


def reached(length: int, size: int, stride: int) -> int:
    """Return the shortest length, at least `length`, that patches reach to its end."""
    steps = math.ceil((length - size) / stride)
    return size + stride * max(0, steps)


def stitch(patches: torch.Tensor, shape: tuple[int, int], stride: int) -> torch.Tensor:
    """Return the scene (..., H, W) of its patches (rows, columns, ..., size, size), the inverse of `cut`, as `blend`.

    shape : (H, W) of the scene. Pixels that no patch reaches are NaN.
    """
    rows, columns = patches.shape[:2]
    places = [(row * stride, column * stride) for row in range(rows) for column in range(columns)]
    return blend(zip(places, patches.flatten(0, 1), strict=True), shape)


def blend(
    patches: Iterable[tuple[tuple[int, int], torch.Tensor]], shape: tuple[int, int]
) -> torch.Tensor:
    """Return the scene (..., H, W) of patches (..., size, size), each with its place (top, left) in the scene.

    Where patches overlap they are averaged under a squared-sine window, so that no seam is seen; each patch counts
    most in its middle. Pixels that no patch reaches are NaN.
    """
    total: Any = None
    weight: Any = None
    window: Any = None
    for (top, left), patch in patches:
        if total is None:
            window = middle_first(patch)
            total = patch.new_zeros((*patch.shape[:-2], *shape))
            weight = patch.new_zeros(shape)
        place = (..., slice(top, top + len(window)), slice(left, left + len(window)))
        total[place] += patch * window
        weight[place] += window
    return total.div_(weight)  # in place, for it may be large; 0 / 0 is NaN


def middle_first(patch: torch.Tensor) -> torch.Tensor:
    """Return the weights (size, size) of a patch's pixels: a squared sine in each direction, above 0."""
    import torch

    places = (torch.arange(patch.shape[-1]) + 0.5) / patch.shape[-1]
    ramp = torch.sin(torch.pi * places) ** 2
    return torch.outer(ramp, ramp).to(patch.dtype)
