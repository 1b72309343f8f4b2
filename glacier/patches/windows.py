"""The windows of patches/: the series they are cut from, their files, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml

from config import Config, GlacierError
from glacier.aligned import read_composites
from glacier.patches.cutting import cut
from glacier.patches.split import Split, patch_parts, prove
from glacier.storage import disk, runner

STAGE = "patches"


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
    found = read_composites(cfg)
    values = np.array(found.values, np.float32)
    if found.channels == ("ndsi",) and cfg.snowThreshold is not None:
        values[values < cfg.snowThreshold] = 0
    return Series(
        values,
        np.array(found.observed),
        tuple(found.dates),
        found.steps_per_year,
        found.channels,
        found.crs,
        tuple(found.transform),
    )


def write_window(cfg: Config, folder: Path, series: Series, start: int) -> list[Path]:
    """Write one window's inputs, targets and observed pixels as strided views; return the files."""
    middle, end = start + cfg.sequenceLength, start + cfg.sequenceLength + cfg.horizon
    contents = {
        "images": series.values[start:middle],
        "targets": series.values[middle:end],
        "observed": series.observed[middle:end],
    }
    files = []
    for kind, array in contents.items():
        files.append(folder / kind / f"{series.dates[start]}.pt")
        with disk.writing(files[-1]) as file:
            torch.save(cut(torch.tensor(array), cfg.patchSize, cfg.stride), file)
    return files


def write_split(folder: Path, series: Series, split: Split, proof: dict[str, int]) -> list[Path]:
    """Write splits.yaml; return the file."""
    blocks = (
        [{"part": "test", "rows": list(split.block[:2]), "columns": list(split.block[2:])}]
        if split.block
        else []
    )
    disk.write_yaml(
        folder / "splits.yaml",
        {
            "windows": dict(zip(series.dates, split.parts, strict=False)),
            "blocks": blocks,
            "proof": proof,
        },
    )
    return [folder / "splits.yaml"]


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
    runner.need(cfg, STAGE)
    content = yaml.safe_load((folder / "splits.yaml").read_text())
    composites = read_composites(cfg)
    shape, dates = composites.values.shape[-2:], composites.dates
    block = next(((*entry["rows"], *entry["columns"]) for entry in content["blocks"]), None)
    split = Split(tuple(content["windows"].values()), block)
    prove(split, shape, cfg.patchSize, cfg.stride, cfg.sequenceLength, cfg.horizon)
    windows = []
    for start, (date, part) in enumerate(content["windows"].items()):
        middle, end = start + cfg.sequenceLength, start + cfg.sequenceLength + cfg.horizon
        tensors = (
            load_tensor(folder / kind / f"{date}.pt") for kind in ("images", "targets", "observed")
        )
        windows.append(
            Window(
                date, part, start, *tensors, tuple(dates[start:middle]), tuple(dates[middle:end])
            )
        )
    return Patches(tuple(windows), patch_parts(shape, cfg.patchSize, cfg.stride, block))


def load_tensor(path: Path) -> torch.Tensor:
    """Return a tensor, memory-mapped; GlacierError if the file is damaged."""
    try:
        return torch.load(path, mmap=True, weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise GlacierError(
            f"{path} is damaged ({error}); run python createPatches.py --force"
        ) from error
