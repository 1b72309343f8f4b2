"""The co-registered series of aligned/: scenes and composites, and how their records are written and read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from config import Config
from glacier import stages
from glacier.coregistration.transforms import middle_shift
from glacier.coregistration.verdict import Transforms
from glacier.grid import Grid
from glacier.seasons import year_step
from glacier.storage import disk, runner

STAGE = stages.ALIGNED
# as composites.Arrays has them
COMPOSITES = ("composites.npy", "observed.npy", "seen.npy", "spread.npy")


def write_records(
    cfg: Config,
    folder: Path,
    grid: Grid,
    names: Sequence[str],
    records: list[dict],
    transforms: Transforms,
    steps: Sequence[date],
    seen: float,
) -> runner.Result:
    """Write scenes.json and composites.json; return them with the closing table. seen : observed part of all pixels."""
    numbers = [
        year_step(date.fromisoformat(record["date"]), cfg.stepsPerYear) for record in records
    ]
    common = {
        "schema": disk.SCHEMA,
        "channels": names,
        "crs": grid.crs,
        "transform": grid.transform,
    }
    scenes = [
        record
        | {
            "matrix": matrix.tolist(),
            "quality": round(float(quality), 4),
            "accepted": bool(accepted),
            "reason": reason,
        }
        for record, matrix, quality, accepted, reason in zip(records, *transforms[:4], strict=True)
    ]
    series = {
        "steps_per_year": cfg.stepsPerYear,
        "dates": [day.isoformat() for day in steps],
        "counts": [numbers.count(year_step(day, cfg.stepsPerYear)) for day in steps],
    }
    files = [
        disk.write_json(folder / "scenes.json", common | {"scenes": scenes}),
        disk.write_json(folder / "composites.json", common | series),
        disk.write_json(folder / "quality.json", quality_records(records, transforms, grid)),
    ]
    aligned = int(transforms.accepted.sum())
    unaligned = {
        reason: transforms.reasons.count(reason)
        for reason in dict.fromkeys(transforms.reasons)
        if reason
    }
    counts = {
        "scenes": len(scenes),
        "aligned": aligned,
        "unaligned": unaligned,
        "composites": len(steps),
        "observed_fraction": round(seen, 4),
    }
    table = [
        ("scenes", len(scenes)),
        ("co-registered", aligned),
        *((f"kept unaligned: {reason}", number) for reason, number in unaligned.items()),
        ("composites", len(steps)),
        ("really observed [%]", round(100 * seen, 1)),
    ]
    return runner.Result(files, counts, table)


def quality_records(records: list[dict], transforms: Transforms, grid: Grid) -> dict:
    """Return what is known of each scene: see Transforms.measures; shifts in metres, east and north."""
    east, south = (
        np.array([middle_shift(matrix, grid.shape) for matrix in transforms.matrices]).T
        * grid.transform[0]
    )
    columns = {
        "shift_east_m": east,
        "shift_north_m": -south,
        "quality": transforms.quality,
        **transforms.measures,
    }
    scenes = [
        {"id": record["id"], "date": record["date"], "accepted": bool(accepted), "reason": reason}
        | {
            name: None if np.isnan(values[i]) else round(float(values[i]), 4)
            for name, values in columns.items()
        }
        for i, (record, accepted, reason) in enumerate(
            zip(records, transforms.accepted, transforms.reasons, strict=True)
        )
    ]
    return {"schema": disk.SCHEMA, "scenes": scenes}


@dataclass(frozen=True)
class Composites:
    """The composites, memory-mapped.

    values : (T, C, H, W) float32 without gaps. observed : (T, H, W) bool, True where really seen. dates : ISO, first
    day of each step. counts : scenes in each step. transform : rasterio's a, b, c, d, e, f.
    """

    values: np.ndarray
    observed: np.ndarray
    dates: tuple[str, ...]
    counts: tuple[int, ...]
    channels: tuple[str, ...]
    steps_per_year: int
    crs: str
    transform: tuple[float, ...]


@dataclass(frozen=True)
class AlignedScenes:
    """The co-registered scenes, memory-mapped, in time order.

    values : (T, C, H, W) float32, NaN where masked. dates : ISO. matrices : (T, 3, 3) common frame px -> scene px as
    delivered. quality : (T,). accepted : (T,) bool; the others are as delivered. transform : as in Composites.
    """

    values: np.ndarray
    ids: tuple[str, ...]
    dates: tuple[str, ...]
    matrices: np.ndarray
    quality: np.ndarray
    accepted: np.ndarray
    channels: tuple[str, ...]
    crs: str
    transform: tuple[float, ...]


def read_composites(cfg: Config) -> Composites:
    """Return the composites of a glacier; GlacierError if they are missing or damaged."""
    folder = cfg.folder / STAGE
    record = disk.read_json(folder / "composites.json")
    return Composites(
        *(disk.read_array(folder / name) for name in COMPOSITES[:2]),
        tuple(record["dates"]),
        tuple(record["counts"]),
        tuple(record["channels"]),
        record["steps_per_year"],
        record["crs"],
        tuple(record["transform"]),
    )


def read_aligned_scenes(cfg: Config) -> AlignedScenes:
    """Return the co-registered scenes of a glacier; GlacierError if they are missing or damaged."""
    folder = cfg.folder / STAGE
    record = disk.read_json(folder / "scenes.json")
    ids, dates, matrices, quality, accepted = (
        [scene[key] for scene in record["scenes"]]
        for key in ("id", "date", "matrix", "quality", "accepted")
    )
    return AlignedScenes(
        disk.read_array(folder / "scenes.npy"),
        tuple(ids),
        tuple(dates),
        np.array(matrices),
        np.array(quality),
        np.array(accepted),
        tuple(record["channels"]),
        record["crs"],
        tuple(record["transform"]),
    )
