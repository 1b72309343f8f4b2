"""Stage 2: put the scenes exactly on top of each other, then make seasonal composites without gaps.

    python alignment.py --name=parvati

Reads rawData/. Writes aligned/: scenes.npy (every scene, co-registered), composites.npy (one a step of the year, gaps
filled from the past), observed.npy (which composite pixels were really seen), seen.npy and spread.npy (by how many
scenes, and how far these differ), their .json records, and pictures.
"""
from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

import dataAPI
import figures
import store
from composites import KINDS, Arrays, composite, fill_gaps, shapes, step_date, year_step  # noqa: F401  (for others)
from config import Config, GlacierError
from matching import middle_shift, resample
from registration import Transforms, estimate_transforms, one_thread

log = logging.getLogger(__name__)

STAGE = "aligned"
USES = ("extractNDSI", "alignmentMethod", "alignmentFrame", "motionModel", "stoppingCriterion", "maxIterations",
        "stepsPerYear")
COMPOSITES = ("composites.npy", "observed.npy", "seen.npy", "spread.npy")  # as composites.Arrays has them
SNOW = 0.4  # NDSI above it is snow or ice; Dozier (1989), 10.1016/0034-4257(89)90101-6
BRIGHTNESS = ("nir08", "red", "green")  # the first of these that is there shows the texture of rock and of snow
MAX_CORRECTION = 60.0  # m, five times what Landsat's Tier 1 allows (12 m RMSE); at least 2 px, for coarser sensors


# ── Quantities ───────────────────────────────────────────────────────────────────────────────────────────────────

def ndsi(green: np.ndarray, swir16: np.ndarray) -> np.ndarray:
    """Return the normalised difference snow index, in [-1, 1].

    green, swir16 : (..., H, W) surface reflectance [1], NaN where masked.
        Reflectance, not digital numbers: Landsat's offset of -0.2 turns a snow NDSI of 0.83 into 0.58.
    Pixels that are masked or reflect nothing are NaN. Dozier (1989), 10.1016/0034-4257(89)90101-6.
    """
    total = green + swir16
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, np.clip((green - swir16) / total, -1, 1), np.nan).astype(np.float32)



# ── Stable ground ────────────────────────────────────────────────────────────────────────────────────────────────

def persistent_snow(index: Sequence[np.ndarray], dates: Sequence[date], margin: int = 3) -> np.ndarray:
    """Return where snow and ice outlast the melt season, bool (H, W): it moves, the rest is ground.

    index : NDSI (T, H, W), NaN where missing; one scene is read at a time. The melt season is the month with the least
    snow and its two neighbours; in it nine of ten scenes show snow where it persists. margin : widening [px].
    """
    cover = np.array([(scene > SNOW).sum() / max(np.isfinite(scene).sum(), 1) for scene in index])
    months = np.array([day.month for day in dates])
    typical = {month: np.median(cover[months == month]) for month in np.unique(months)}
    least = min(typical, key=typical.get)
    seen, snowy = np.zeros((2, *index[0].shape), np.int32)
    for scene in np.flatnonzero(np.isin((months - least) % 12, (11, 0, 1))):
        seen += np.isfinite(index[scene])
        snowy += index[scene] > SNOW
    persistent = ((snowy >= 0.9 * seen) & (seen > 0)).astype(np.uint8)
    opened = cv2.morphologyEx(persistent, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return cv2.dilate(opened, np.ones((2 * margin + 1,) * 2, np.uint8)) > 0


def outline_mask(path: str, grid: dataAPI.Grid) -> np.ndarray:
    """Return which pixels the polygons of a GeoJSON touch, bool (H, W); its CRS is its `crs` member, else lon/lat."""
    from rasterio import Affine
    from rasterio.errors import RasterioError
    from rasterio.features import rasterize
    from rasterio.warp import transform_geom

    try:
        content = json.loads(Path(path).read_text())
        features = content["features"] if content["type"] == "FeatureCollection" else [content]
        crs = content.get("crs", {}).get("properties", {}).get("name", "EPSG:4326")
        polygons = [transform_geom(crs, grid.crs, feature.get("geometry", feature)) for feature in features]
        inside = rasterize(polygons, grid.shape, transform=Affine(*grid.transform), all_touched=True, dtype=np.uint8)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RasterioError) as error:
        raise GlacierError(f"iceOutline {path} cannot be read as GeoJSON polygons ({error})") from error
    if not inside.any():
        raise GlacierError(f"iceOutline {path} does not touch the scenes; check its coordinates or set it to None")
    return inside > 0


# ── The stage ────────────────────────────────────────────────────────────────────────────────────────────────────

def channel_names(cfg: Config, bands: Sequence[str]) -> tuple[str, ...]:
    """Return the channels of the aligned series; GlacierError if the archive lacks a band that they need."""
    needed = ("green", "swir16") if cfg.extractNDSI else ("red", "green", "blue")
    missing = [band for band in needed if band not in bands]
    if missing:
        raise GlacierError(
            f"extractNDSI={cfg.extractNDSI} needs the bands {', '.join(needed)}, but the archive lacks "
            f"{', '.join(missing)} (it has {', '.join(bands)}); set extractNDSI to {not cfg.extractNDSI} "
            "or choose another collection")
    return ("ndsi",) if cfg.extractNDSI else needed


class Layers(Sequence):
    """Layers of the scenes in scratch files, read one scene at a time: float32 (n, H, W), or (H, W) for one number.

    A few kB to hand to another process; nothing of it stays in memory.
    """

    def __init__(self, paths: list[Path], part: slice | int):
        self.paths, self.part = paths, part

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, scene: int) -> np.ndarray:
        return np.array(np.load(self.paths[scene], mmap_mode="r")[self.part])


class Series(NamedTuple):
    """The scenes as delivered, NaN where masked.

    channels : (C, H, W) each, what is aligned. images : (B, H, W) each, what is compared to find the transforms: the
    logarithm of the brightness, in which the sun's height is only a constant, and the snow index, which hardly
    depends on the light; each errs in its own way. index : (H, W) each, the snow index; None without swir16.
    records : id, date, platform of each scene.
    """
    channels: Layers
    images: Layers
    index: Layers | None
    records: list[dict]


def collect(scenes: Iterable[dataAPI.Scene], names: Sequence[str], folder: Path) -> Series:
    """Return the series, written to scratch files in `folder`, one a scene."""
    records, paths, images = [], [], 1
    for scene in scenes:
        brightness = next(band for band in BRIGHTNESS if band in scene.bands)
        layers = [np.log(np.maximum(scene.reflectance(brightness), 0.02))]
        if "swir16" in scene.bands:
            layers.append(ndsi(scene.reflectance("green"), scene.reflectance("swir16")))
        images = len(layers)
        layers += [scene.reflectance(name) for name in names if name != "ndsi"]
        paths.append(folder / f"{len(paths)}.npy")
        np.save(paths[-1], np.array(layers, np.float32))
        records.append({"id": scene.id, "date": scene.date.date().isoformat(), "platform": scene.platform})
    index = Layers(paths, 1) if images > 1 else None
    return Series(Layers(paths, slice(-len(names), None)), Layers(paths, slice(images)), index, records)


def stable_ground(cfg: Config, grid: dataAPI.Grid, series: Series) -> np.ndarray:
    """Return the weights of co-registration, float32 (H, W): 1 on ground, 0 on ice that may move."""
    if cfg.iceOutline:
        ice, origin = outline_mask(cfg.iceOutline, grid), cfg.iceOutline
    elif series.index is not None:
        dates = [date.fromisoformat(record["date"]) for record in series.records]
        ice, origin = persistent_snow(series.index, dates), "snow and ice that outlast the melt season"
    else:
        ice, origin = np.zeros(grid.shape, bool), "no iceOutline and no swir16 band to find it: motion may be lost"
    log.info("  moving ice: %.0f %% of the scene (%s)", 100 * ice.mean(), origin)
    return (~ice).astype(np.float32)


@contextlib.contextmanager
def workplace(cfg: Config) -> Iterator[Executor | None]:
    """Give what compares the scenes: `workers` processes here (None for one), or the workers of a Dask scheduler."""
    if cfg.executor != Config.executor:
        with dataAPI.workplace(cfg) as (cluster, _):
            yield cluster
        return
    processes = min(cfg.workers, os.cpu_count() or 1)
    if processes == 1:
        yield None
        return
    with ProcessPoolExecutor(processes, initializer=one_thread) as pool:
        yield pool


def find_transforms(cfg: Config, grid: dataAPI.Grid, series: Series) -> Transforms:
    """Return where the scenes lie, found by several processes at once."""
    stable = stable_ground(cfg, grid, series)
    limit = max(2.0, MAX_CORRECTION / abs(grid.transform[0]))
    with workplace(cfg) as executor:
        return estimate_transforms(
            series.images, cfg.motionModel, cfg.alignmentMethod, stable, gauge=cfg.alignmentFrame, limit=limit,
            criterion=cfg.stoppingCriterion, iterations=cfg.maxIterations, executor=executor)


def make_aligned(cfg: Config, folder: Path) -> store.Result:
    """Do the work of the stage in its folder; return what it made."""
    grid = dataAPI.read_grid(cfg)
    names = channel_names(cfg, next(dataAPI.read_scenes(cfg)).bands)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch, contextlib.ExitStack() as files:
        series = collect(dataAPI.read_scenes(cfg), names, Path(scratch))
        transforms = find_transforms(cfg, grid, series)
        aligned = files.enter_context(store.writing_array(
            folder / "scenes.npy", (len(series.records), len(names), *grid.shape)))
        for i, scene in enumerate(store.progress(series.channels, "resampling")):
            aligned[i] = [resample(channel, transforms.matrices[i]) for channel in scene]

        def out(steps: int) -> Arrays:
            sizes = shapes(steps, aligned.shape[1:])
            return Arrays(*(files.enter_context(store.writing_array(folder / name, size, kind))
                            for name, size, kind in zip(COMPOSITES, sizes, KINDS, strict=True)))

        days = [date.fromisoformat(record["date"]) for record in series.records]
        values, observed, steps = composite(aligned, days, cfg.stepsPerYear, out)
        pictures = draw(folder / "quicklooks", series, aligned, transforms, values, steps, grid.transform[0])
        seen = float(observed.mean())
    arrays = [folder / name for name in ("scenes.npy", *COMPOSITES)]
    result = write_records(cfg, folder, grid, names, series.records, transforms, steps, seen)
    pictures += describe(cfg, folder, result.table)
    return store.Result([*result.files, *arrays, *pictures], result.counts, result.table)


def write_records(cfg: Config, folder: Path, grid: dataAPI.Grid, names: Sequence[str], records: list[dict],
                  transforms: Transforms, steps: Sequence[date], seen: float) -> store.Result:
    """Write scenes.json and composites.json; return them with the closing table. seen : observed part of all pixels."""
    numbers = [year_step(date.fromisoformat(record["date"]), cfg.stepsPerYear) for record in records]
    common = {"schema": store.SCHEMA, "channels": names, "crs": grid.crs, "transform": grid.transform}
    scenes = [record | {"matrix": matrix.tolist(), "quality": round(float(quality), 4), "accepted": bool(accepted),
                        "reason": reason}
              for record, matrix, quality, accepted, reason in zip(records, *transforms[:4], strict=True)]
    series = {"steps_per_year": cfg.stepsPerYear, "dates": [day.isoformat() for day in steps],
              "counts": [numbers.count(year_step(day, cfg.stepsPerYear)) for day in steps]}
    files = [write_json(folder / "scenes.json", common | {"scenes": scenes}),
             write_json(folder / "composites.json", common | series),
             write_json(folder / "quality.json", quality_records(records, transforms, grid))]
    aligned = int(transforms.accepted.sum())
    unaligned = {reason: transforms.reasons.count(reason) for reason in dict.fromkeys(transforms.reasons) if reason}
    counts = {"scenes": len(scenes), "aligned": aligned, "unaligned": unaligned, "composites": len(steps),
              "observed_fraction": round(seen, 4)}
    table = [("scenes", len(scenes)), ("co-registered", aligned),
             *((f"kept unaligned: {reason}", number) for reason, number in unaligned.items()),
             ("composites", len(steps)), ("really observed [%]", round(100 * seen, 1))]
    return store.Result(files, counts, table)


def quality_records(records: list[dict], transforms: Transforms, grid: dataAPI.Grid) -> dict:
    """Return what is known of each scene: see Transforms.measures; shifts in metres, east and north."""
    east, south = np.array([middle_shift(matrix, grid.shape) for matrix in transforms.matrices]).T * grid.transform[0]
    columns = {"shift_east_m": east, "shift_north_m": -south, "quality": transforms.quality, **transforms.measures}
    scenes = [{"id": record["id"], "date": record["date"], "accepted": bool(accepted), "reason": reason}
              | {name: None if np.isnan(values[i]) else round(float(values[i]), 4) for name, values in columns.items()}
              for i, (record, accepted, reason) in enumerate(
                  zip(records, transforms.accepted, transforms.reasons, strict=True))]
    return {"schema": store.SCHEMA, "scenes": scenes}


def write_json(path: Path, content: dict) -> Path:
    """Write plain containers as JSON; return the path."""
    with store.writing(path) as file:
        file.write(json.dumps(content, indent=1).encode())
    return path


# ── Pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────

def thinning(shape: tuple[int, int], side: int = 900) -> int:
    """Return which rows and columns to draw, every first, second, ..., so that at most `side` px are left."""
    return -(-max(shape) // side)


def to_map(scene: np.ndarray) -> np.ndarray:
    """Return a scene (C, H, W) to draw: the index as it is, or brightened bands."""
    step = thinning(scene.shape[1:])
    return scene[0, ::step, ::step] if len(scene) == 1 else np.clip(2 * scene[:, ::step, ::step], 0, 1)


def draw(folder: Path, series: Series, aligned: np.ndarray, transforms: Transforms, values: np.ndarray,
         steps: Sequence[date], pixel_size: float) -> list[Path]:
    """Draw every composite, and the six clearest scenes before and after co-registration; return the files."""
    pixel_size *= thinning(values.shape[-2:])
    label = "NDSI [1]" if values.shape[1] == 1 else "reflectance x 2 [1]"
    files = [figures.map_row(folder / f"composite_{day}.png", [to_map(scene)], [str(day)], label, pixel_size=pixel_size)
             for scene, day in zip(values, steps, strict=True)]
    seen = np.array([np.isfinite(scene[0]).mean() for scene in series.channels])
    best = sorted(np.argsort(-(seen + transforms.accepted), kind="stable")[:6].tolist())
    frames, titles = [], []
    for i in best:
        before, after = to_map(series.channels[i]), to_map(aligned[i])
        frames.append(np.concatenate([before, np.full_like(before[..., :4], np.nan), after], axis=-1))
        titles.append(f"{series.records[i]['date']}: as delivered | co-registered")
    return [*files, figures.animation(folder / "coregistration.gif", frames, titles, label, seconds=0.4,
                                       pixel_size=pixel_size)]


def describe(cfg: Config, folder: Path, table: list[tuple]) -> list[Path]:
    """Draw the shifts that were undone and the last composites for the report; return the files."""
    scenes, found = read_aligned_scenes(cfg), read_composites(cfg)
    pixel_size, quicklooks = found.transform[0], folder / "quicklooks"
    middles = np.array([middle_shift(matrix, found.values.shape[-2:]) for matrix in scenes.matrices])
    shifts = np.where(scenes.accepted[:, None], middles, np.nan) * pixel_size
    dates = [date.fromisoformat(day) for day in scenes.dates]
    moved = figures.curves(quicklooks / "shifts.png", dates, {"east": shifts[:, 0], "north": -shifts[:, 1]},
                           "date", "shift as delivered [m]")
    records = read_json(folder / "quality.json")["scenes"]
    fit = {label: np.array([record[name] for record in records], float)
           for label, name in (("before", "nmad_before"), ("after", "nmad_after"))}
    better = figures.curves(quicklooks / "quality.png", dates, fit, "date", "difference to the neighbours, NMAD [1]")
    steps = [date.fromisoformat(day) for day in found.dates]
    seen = figures.curves(quicklooks / "observed.png", steps, {"observed": found.observed.mean(axis=(1, 2))},
                          "date", "observed part of the scene [1]")
    images = [to_map(scene) for scene in found.values[-8:]]
    thin = thinning(found.values.shape[-2:])
    last = figures.map_row(quicklooks / "composites.png", images, found.dates[-8:], "NDSI [1]",
                           pixel_size=pixel_size * thin)
    deviations = [scene[0, ::thin, ::thin] for scene in store.read_array(folder / "spread.npy")[-8:]]
    spread = figures.map_row(quicklooks / "spread.png", deviations, found.dates[-8:],
                             f"NMAD of {found.channels[0]} [1]", pixel_size=pixel_size * thin)
    section = figures.section(
        folder, "Co-registration and composites", [("what", "number"), *table],
        figures.Picture(moved, "How far each scene lay from the common frame before co-registration, which undid it"),
        figures.Picture(better, "How far each scene differs from its two best neighbours over stable ground, in "
                                "deviations of local contrast: below 'before' is better"),
        figures.Picture(seen, "How much of each composite was seen; the rest is filled from earlier steps"),
        figures.Picture(last, f"The last composites, each from its first day on: {', '.join(found.channels)}"),
        figures.Picture(spread, "How far the scenes of each of these steps differ, where at least two saw the pixel: "
                                "where snow came or went, or a cloud was missed"),
        figures.Picture(quicklooks / "coregistration.gif", "Clear scenes as delivered (left) and co-registered: on the "
                                                           "right only the ice and the snow line may still move"))
    return [moved, better, seen, last, spread, section]


# ── Readers for the stages that follow ───────────────────────────────────────────────────────────────────────────

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


def read_json(path: Path) -> dict:
    """Return a record of this stage; GlacierError if it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise GlacierError(f"{path} cannot be read ({error}); run {store.script_of(path)} --force") from error


def read_composites(cfg: Config) -> Composites:
    """Return the composites of a glacier; GlacierError if they are missing or damaged."""
    folder = cfg.folder / STAGE
    record = read_json(folder / "composites.json")
    return Composites(
        *(store.read_array(folder / name) for name in COMPOSITES[:2]), tuple(record["dates"]), tuple(record["counts"]),
        tuple(record["channels"]), record["steps_per_year"], record["crs"], tuple(record["transform"]))


def read_aligned_scenes(cfg: Config) -> AlignedScenes:
    """Return the co-registered scenes of a glacier; GlacierError if they are missing or damaged."""
    folder = cfg.folder / STAGE
    record = read_json(folder / "scenes.json")
    ids, dates, matrices, quality, accepted = (
        [scene[key] for scene in record["scenes"]] for key in ("id", "date", "matrix", "quality", "accepted"))
    return AlignedScenes(
        store.read_array(folder / "scenes.npy"), tuple(ids), tuple(dates), np.array(matrices), np.array(quality),
        np.array(accepted), tuple(record["channels"]), record["crs"], tuple(record["transform"]))


def check_inputs(cfg: Config) -> list[tuple[str, str]]:
    """Return the hashes of input files; GlacierError if bands are missing or the outline is none.

    Before the stage starts, so that a mistake costs nothing of what an earlier run made.
    """
    store.need(cfg, "rawData")
    channel_names(cfg, next(dataAPI.read_scenes(cfg)).bands)
    if not cfg.iceOutline:
        return []
    outline_mask(cfg.iceOutline, dataAPI.read_grid(cfg))
    return [("iceOutline", store.file_hash(Path(cfg.iceOutline)))]


def run(cfg: Config) -> int:
    """Make aligned/ of the glacier unless it is up to date; return the exit code."""
    code = store.run_stage(cfg, STAGE, USES, ["rawData"], make_aligned, check_inputs(cfg))
    figures.report(cfg)
    return code


if __name__ == "__main__":
    sys.exit(store.main(run))
