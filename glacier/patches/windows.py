"""The windows of patches/: the series they are cut from, their files, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from config import Config, GlacierError
from glacier import stages
from glacier.aligned import read_composites
from glacier.patches.cutting import cut
from glacier.patches.split import PARTS, Split, patch_parts, prove
from glacier.storage import disk, integrity, runner, tensors

if TYPE_CHECKING:  # loading it takes seconds: a stage that has nothing to do goes without
    import torch

STAGE = stages.PATCHES
KINDS = ("images", "targets", "observed")


class Clipped:
    """An array on disk as it reads with what lies below `floor` set to 0: what is asked for is copied, nothing else.

    floor : None leaves all as it is.
    """

    def __init__(self, array: np.ndarray, floor: float | None):
        self.array = array
        self.floor = floor
        self.shape = array.shape
        self.ndim = array.ndim
        self.dtype = array.dtype

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, place: Any) -> np.ndarray:
        part = np.array(self.array[place])
        if self.floor is not None:
            part[part < self.floor] = 0
        return part

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        """Return all of it, in memory."""
        if dtype is None:
            return self[:]
        return self[:].astype(dtype)

    def copy(self) -> np.ndarray:
        """Return all of it, in memory."""
        return self[:]


@dataclass(frozen=True)
class Series:
    """The composites as the networks see them. values : float32 (T, C, H, W), no gaps. observed : bool (T, H, W).

    dates : ISO text, first day of each step. The steps are unbroken, so t and t - steps_per_year are the same season.
    unclipped : float32 (T, C, H, W), the composites as they are on disk. All arrays stay there until they are used.
    """

    values: Clipped | np.ndarray
    observed: np.ndarray
    dates: tuple[str, ...]
    steps_per_year: int
    channels: tuple[str, ...]
    crs: str
    transform: tuple[float, ...]
    unclipped: np.ndarray


def read_series(cfg: Config) -> Series:
    """Return the composites of the glacier, NDSI below snowThreshold set to 0."""
    composites = read_composites(cfg)
    floor = cfg.snowThreshold if is_index(composites.channels) else None
    values = np.asarray(composites.values)  # as plain arrays: parts of a np.memmap are slow to make
    return Series(
        Clipped(values, floor),
        np.asarray(composites.observed),
        tuple(composites.dates),
        composites.steps_per_year,
        composites.channels,
        composites.crs,
        tuple(composites.transform),
        values,
    )


def is_index(channels: tuple[str, ...]) -> bool:
    """Return whether a series is a snow index, not reflectance."""
    return channels == ("ndsi",)


# ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────────────


def write_window(cfg: Config, folder: Path, series: Series, start: int) -> list[Path]:
    """Write one window's inputs, targets and observed pixels as strided views; return the files."""
    import torch

    middle = start + cfg.sequenceLength
    end = middle + cfg.horizon
    contents = {
        "images": series.values[start:middle],
        "targets": series.values[middle:end],
        "observed": series.observed[middle:end],
    }
    files = []
    for kind, array in contents.items():
        path = folder / kind / f"{series.dates[start]}.pt"
        patches = cut(torch.tensor(array), cfg.patchSize, cfg.stride)
        with disk.writing(path) as file:
            torch.save(patches, file)
        files.append(path)
    return files


def write_split(folder: Path, series: Series, split: Split, proof: dict[str, int]) -> list[Path]:
    """Write splits.yaml; return the file."""
    blocks = []
    if split.block:
        top, bottom, left, right = split.block
        blocks.append({"part": "test", "rows": [top, bottom], "columns": [left, right]})
    path = folder / "splits.yaml"
    windows = dict(zip(series.dates, split.parts, strict=False))
    disk.write_yaml(path, {"windows": windows, "blocks": blocks, "proof": proof})
    return [path]


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Window:
    """One time window; its tensors are views of files on disk, opened when they are first asked for.

    start : its first step in the series. folder : patches/.
    """

    date: str
    part: str
    start: int
    input_dates: tuple[str, ...]
    target_dates: tuple[str, ...]
    folder: Path

    @cached_property
    def inputs(self) -> torch.Tensor:
        """float32 (rows, columns, sequenceLength, C, size, size)."""
        return self._load("images", "float32", len(self.input_dates), 6)

    @cached_property
    def targets(self) -> torch.Tensor:
        """float32 (rows, columns, horizon, C, size, size)."""
        return self._load("targets", "float32", len(self.target_dates), 6)

    @cached_property
    def observed(self) -> torch.Tensor:
        """bool (rows, columns, horizon, size, size), the target pixels that were really seen."""
        return self._load("observed", "bool", len(self.target_dates), 5)

    def _load(self, kind: str, dtype: str, steps: int, axes: int) -> torch.Tensor:
        """Return one of the window's tensors; GlacierError if it is not what the window needs."""
        path = self.folder / kind / f"{self.date}.pt"
        tensor = load_tensor(path)
        right = tensor.dim() == axes and str(tensor.dtype) == f"torch.{dtype}"
        if not right or tensor.shape[2] != steps:
            raise GlacierError(
                f"{path} holds {tensor.dtype} {tuple(tensor.shape)}, not {dtype} patches of "
                f"{steps} steps; {advice(path)}"
            )
        return tensor


@dataclass(frozen=True)
class Patches:
    """All windows in time order, and the part of each patch (rows, columns): "train", "block" (kept out) or "gap"."""

    windows: tuple[Window, ...]
    patch_parts: np.ndarray
    split: Split


def read_patches(cfg: Config) -> Patches:
    """Return the windows and their split, proved again; GlacierError if they are not there or not right."""
    folder = cfg.folder / STAGE
    runner.need(cfg, STAGE)
    composites = read_composites(cfg)
    shape = composites.values.shape[-2:]
    dates = composites.dates
    split, firsts = read_split(folder / "splits.yaml")
    sizes = cfg.patchSize, cfg.stride, cfg.sequenceLength, cfg.horizon
    prove(split, shape, *sizes, advice(folder / "splits.yaml"))
    windows = []
    for start, (first, part) in enumerate(zip(firsts, split.parts, strict=True)):
        middle = start + cfg.sequenceLength
        end = middle + cfg.horizon
        inputs = tuple(dates[start:middle])
        targets = tuple(dates[middle:end])
        windows.append(Window(first, part, start, inputs, targets, folder))
    return Patches(
        tuple(windows), patch_parts(shape, cfg.patchSize, cfg.stride, split.block), split
    )


def read_split(path: Path) -> tuple[Split, tuple[str, ...]]:
    """Return the split of splits.yaml and the first date of each window; GlacierError if it is damaged."""
    integrity.check(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        windows = dict(content["windows"])
        block = None
        for entry in content["blocks"]:
            (top, bottom), (left, right) = entry["rows"], entry["columns"]
            block = (int(top), int(bottom), int(left), int(right))
        if not windows or not set(windows.values()) <= set(PARTS):
            raise ValueError("a window has no part")
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:120]
        raise GlacierError(f"{path} is damaged ({reason}); {advice(path)}") from error
    return Split(tuple(windows.values()), block), tuple(map(str, windows))


def load_tensor(path: Path) -> torch.Tensor:
    """Return a tensor of patches/, memory-mapped; GlacierError if the file is damaged or holds something else."""
    return tensors.read_tensor(path, advice(path))


def advice(path: Path) -> str:
    """Return what to do about a file of patches/ that cannot be used."""
    return f"run again: {integrity.command_of(path)}"
