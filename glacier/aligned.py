"""The co-registered series of aligned/: scenes and composites, and how their records are written and read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from affine import Affine

import config
from config import Config, GlacierError
from glacier import stages
from glacier.coregistration.transforms import middle_shift
from glacier.coregistration.verdict import Transforms
from glacier.figures import looks, qgis
from glacier.grid import Grid
from glacier.seasons import step_date, year_step
from glacier.storage import disk, geotiff
from glacier.storage.forms import Form, is_count, is_day, is_finite, is_matrix, is_transform

STAGE = stages.ALIGNED
# as composites.Arrays has them
COMPOSITES = ("composites.npy", "observed.npy", "seen.npy", "spread.npy")
BEFORE_AFTER = "quicklooks/coregistration.gif"
# of a scene in scenes.json, as AlignedScenes holds them
SCENE_COLUMNS: dict[str, Form] = {
    "id": str,
    "date": is_day,
    "matrix": is_matrix,
    "quality": is_finite,
    "accepted": bool,
    "reason": str,
    "in_composites": bool,
}
PLACE: dict[str, Form] = {"channels": [str], "crs": str, "transform": is_transform}
SCENES_FORM = PLACE | {"scenes": [SCENE_COLUMNS]}
COMPOSITES_FORM = PLACE | {"dates": [is_day], "counts": [is_count], "steps_per_year": is_count}
# what is made with scenes.json, which stands for it
BESIDE_SCENES = ("scenes.npy", "quality.json", BEFORE_AFTER)
MAP = ("composites.tif", "composites.qml")
# all of the stage but other pictures
FILES = ("scenes.json", *BESIDE_SCENES, *COMPOSITES, "composites.json", *MAP)


def write_scene_records(
    folder: Path,
    grid: Grid,
    names: Sequence[str],
    records: list[dict],
    transforms: Transforms,
    admitted: np.ndarray,
    made_with: str,
) -> None:
    """Write quality.json and scenes.json, which says that all scenes are there.

    names : of the channels. records : of stack.Series. admitted : (T,) bool, which scenes belong in the composites.
    made_with : fingerprint of all that the scenes depend on.
    """
    scenes = []
    for i, record in enumerate(records):
        result = {
            "matrix": transforms.matrices[i].tolist(),
            "quality": round(float(transforms.quality[i]), 4),
            "accepted": bool(transforms.accepted[i]),
            "reason": transforms.reasons[i],
            "in_composites": bool(admitted[i]),
        }
        scenes.append(record | result)
    disk.write_json(folder / "quality.json", quality_records(records, transforms, grid))
    content = {
        "schema": disk.SCHEMA,
        "channels": list(names),
        "crs": grid.crs,
        "transform": list(grid.transform),
        "scenes": scenes,
        "files": {name: disk.file_hash(folder / name) for name in BESIDE_SCENES},
    }
    # of the content too, so that a damaged record stands for nothing
    made_with = config.fingerprint([made_with, content])
    disk.write_json(folder / "scenes.json", content | {"made_with": made_with})


def holds_scenes(folder: Path, made_with: str) -> bool:
    """Return whether the folder holds all co-registered scenes, undamaged, made with just these settings and inputs."""
    try:
        content = disk.read_json(folder / "scenes.json")
        written = content.pop("made_with", "")
        if written != config.fingerprint([made_with, content]):
            return False
        files = {name: disk.file_hash(folder / name) for name in BESIDE_SCENES}
    except (GlacierError, OSError):
        return False
    return files == content["files"]


def write_composite_records(
    folder: Path, scenes: AlignedScenes, steps: Sequence[date], steps_per_year: int
) -> Path:
    """Write composites.json; return its path. steps : first day of each composite."""
    days = [date.fromisoformat(scenes.dates[i]) for i in np.flatnonzero(scenes.in_composites)]
    scenes_of_step = Counter(year_step(day, steps_per_year) for day in days)
    counts = [scenes_of_step[year_step(day, steps_per_year)] for day in steps]
    content = {
        "schema": disk.SCHEMA,
        "channels": scenes.channels,
        "crs": scenes.crs,
        "transform": scenes.transform,
        "steps_per_year": steps_per_year,
        "dates": [day.isoformat() for day in steps],
        "counts": counts,
    }
    return disk.write_json(folder / "composites.json", content)


def quality_records(records: list[dict], transforms: Transforms, grid: Grid) -> dict:
    """Return what is known of each scene: see Transforms.measures; shifts in metres, east and north."""
    shifts = np.array([middle_shift(matrix, grid.shape) for matrix in transforms.matrices])
    east, south = shifts.T * grid.pixel_size
    columns = {
        "shift_east_m": east,
        "shift_north_m": -south,
        "quality": transforms.quality,
        **transforms.measures,
    }
    scenes = []
    for i, record in enumerate(records):
        scene = {"id": record["id"], "date": record["date"]}
        scene["accepted"] = bool(transforms.accepted[i])
        scene["reason"] = transforms.reasons[i]
        for name, values in columns.items():
            value = round(float(values[i]), 4)
            scene[name] = None if math.isnan(value) else value
        scenes.append(scene)
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

    def periods(self) -> list[tuple[date, date]]:
        """Return the first and the last day of each step."""
        spans = []
        for text in self.dates:
            first = date.fromisoformat(text)
            after = step_date(year_step(first, self.steps_per_year) + 1, self.steps_per_year)
            spans.append((first, after - timedelta(days=1)))
        return spans


@dataclass(frozen=True)
class AlignedScenes:
    """The co-registered scenes, memory-mapped, in time order.

    values : (T, C, H, W) float32, NaN where masked. dates : ISO. matrices : (T, 3, 3) common frame px -> scene px as
    delivered. quality : (T,). accepted : (T,) bool; the others are as delivered. reasons : why not, empty if accepted.
    in_composites : (T,) bool, which belong in the composites. transform : as in Composites.
    """

    values: np.ndarray
    ids: tuple[str, ...]
    dates: tuple[str, ...]
    matrices: np.ndarray
    quality: np.ndarray
    accepted: np.ndarray
    reasons: tuple[str, ...]
    in_composites: np.ndarray
    channels: tuple[str, ...]
    crs: str
    transform: tuple[float, ...]


def write_map(folder: Path, series: Composites) -> Path:
    """Write composites.tif, a band for each step and channel, for map programs; return its path.

    composites.qml, beside it, says how QGIS shows the last step.
    """
    names = []
    tags = []
    for (first, last), seen in zip(series.periods(), series.observed, strict=True):
        for channel in series.channels:
            names.append(f"{channel} {first}/{last}")
            observed = f"{100 * seen.mean():.0f} %"
            tags.append({"DATES": f"{first}/{last}", "CHANNEL": channel, "OBSERVED": observed})
    bands = series.values.reshape(-1, *series.values.shape[2:])
    units = ["1"] * len(bands)
    title = {"CONTENT": "composites, gaps filled; OBSERVED: part of the pixels that were seen"}
    transform = Affine(*series.transform)
    path = geotiff.write_cog(
        folder / "composites.tif", bands, series.crs, transform, names, title, units, tags
    )
    band = len(bands) - len(series.channels) + 1  # of the last step
    if len(series.channels) == 3:
        qgis.write_true_colour(path, (band, band + 1, band + 2), 0.5)
    else:
        qgis.write_ramp(path, band, looks.INDEX.limits, (-1.0, 1.0), looks.INDEX.colours, "")
    return path


def read_composites(cfg: Config) -> Composites:
    """Return the composites of a glacier; GlacierError if they are missing or damaged."""
    folder = cfg.folder / STAGE
    record = disk.read_json(folder / "composites.json", COMPOSITES_FORM)
    return Composites(
        disk.read_array(folder / "composites.npy"),
        disk.read_array(folder / "observed.npy"),
        tuple(record["dates"]),
        tuple(record["counts"]),
        tuple(record["channels"]),
        record["steps_per_year"],
        record["crs"],
        tuple(record["transform"]),
    )


def read_seen(cfg: Config) -> np.ndarray:
    """Return by how many scenes each pixel was seen in each step, uint16 (T, H, W), memory-mapped."""
    return disk.read_array(cfg.folder / STAGE / "seen.npy")


def read_aligned_scenes(cfg: Config) -> AlignedScenes:
    """Return the co-registered scenes of a glacier; GlacierError if they are missing or damaged."""
    folder = cfg.folder / STAGE
    record = disk.read_json(folder / "scenes.json", SCENES_FORM)
    columns: dict[str, list] = {}
    for name in SCENE_COLUMNS:
        columns[name] = [scene[name] for scene in record["scenes"]]
    return AlignedScenes(
        values=disk.read_array(folder / "scenes.npy"),
        ids=tuple(columns["id"]),
        dates=tuple(columns["date"]),
        matrices=np.array(columns["matrix"]),
        quality=np.array(columns["quality"]),
        accepted=np.array(columns["accepted"]),
        reasons=tuple(columns["reason"]),
        in_composites=np.array(columns["in_composites"]),
        channels=tuple(record["channels"]),
        crs=record["crs"],
        transform=tuple(record["transform"]),
    )
