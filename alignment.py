"""Stage 2: put the scenes exactly on top of each other, then make seasonal composites without gaps.

    python alignment.py --name=parvati

Reads rawData/. Writes aligned/: scenes.npy (every scene, co-registered), composites.npy (one a step of the year, gaps
filled from the past), observed.npy (which composite pixels were really seen), their .json records, and pictures.
"""
from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

import dataAPI
import figures
import store
from config import Config, GlacierError
from matching import resample
from registration import Transforms, estimate_transforms

log = logging.getLogger(__name__)

STAGE = "aligned"
USES = ("extractNDSI", "alignmentMethod", "alignmentFrame", "motionModel", "stoppingCriterion", "maxIterations",
        "stepsPerYear")
SNOW = 0.4  # NDSI above it is snow or ice; Dozier (1989), 10.1016/0034-4257(89)90101-6
BRIGHTNESS = ("nir08", "red", "green")  # the first of these that is there shows the texture of rock and of snow
MAX_CORRECTION = 60.0  # m, five times what Landsat's Tier 1 allows (12 m RMSE); at least 2 px, for coarser sensors
DISTANCE = np.hypot(*np.mgrid[-2:3, -2:3])
KERNEL = np.divide(1.0, DISTANCE, out=np.zeros_like(DISTANCE), where=DISTANCE > 0)  # 1 / distance [1/px]


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

def persistent_snow(index: np.ndarray, dates: Sequence[date], margin: int = 3) -> np.ndarray:
    """Return where snow and ice outlast the melt season, bool (H, W): it moves, the rest is ground.

    index : NDSI (T, H, W), NaN where missing; one scene is read at a time. The melt season is the month with the least
    snow and its two neighbours; in it nine of ten scenes show snow where it persists. margin : widening [px].
    """
    cover = np.array([(scene > SNOW).sum() / max(np.isfinite(scene).sum(), 1) for scene in index])
    months = np.array([day.month for day in dates])
    typical = {month: np.median(cover[months == month]) for month in np.unique(months)}
    least = min(typical, key=typical.get)
    seen, snowy = np.zeros(index.shape[1:], np.int32), np.zeros(index.shape[1:], np.int32)
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
        shapes = [transform_geom(crs, grid.crs, feature.get("geometry", feature)) for feature in features]
        inside = rasterize(shapes, grid.shape, transform=Affine(*grid.transform), all_touched=True, dtype=np.uint8)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RasterioError) as error:
        raise GlacierError(f"iceOutline {path} cannot be read as GeoJSON polygons ({error})") from error
    if not inside.any():
        raise GlacierError(f"iceOutline {path} does not touch the scenes; check its coordinates or set it to None")
    return inside > 0


# ── Composites ───────────────────────────────────────────────────────────────────────────────────────────────────

def year_step(day: date, steps_per_year: int) -> int:
    """Return the number of the step that holds a day, counted from the year 0.

    Steps are whole months where these divide among them (4: calendar quarters), else equal numbers of days.
    """
    if 12 % steps_per_year == 0:
        return day.year * steps_per_year + (day.month - 1) * steps_per_year // 12
    days = date(day.year, 12, 31).timetuple().tm_yday
    return day.year * steps_per_year + (day.timetuple().tm_yday - 1) * steps_per_year // days


def step_date(step: int, steps_per_year: int) -> date:
    """Return the first day of a step of year_step."""
    year, part = divmod(step, steps_per_year)
    if 12 % steps_per_year == 0:
        return date(year, 1 + part * 12 // steps_per_year, 1)
    days = date(year, 12, 31).timetuple().tm_yday
    return date(year, 1, 1) + timedelta(days=-(-part * days // steps_per_year))


def robust_mean(scenes: np.ndarray, members: Sequence[int], rows: int = 128) -> np.ndarray:
    """Return the median of some scenes, float32 (C, H, W), NaN where none saw the pixel.

    scenes : (T, C, H, W); `rows` rows are read at a time, so it may be memory-mapped.
    """
    result = np.full(scenes.shape[1:], np.nan, np.float32)
    for top in range(0, scenes.shape[2] if len(members) else 0, rows):
        ranked = np.sort([scenes[i, :, top:top + rows] for i in members], axis=0)  # NaN comes last
        seen = np.isfinite(ranked).sum(axis=0, keepdims=True)
        low, high = (np.take_along_axis(ranked, np.maximum(place, 0), axis=0)[0]
                     for place in ((seen - 1) // 2, seen // 2))
        result[:, top:top + rows] = np.where(seen[0] > 0, (low + high) / 2, np.nan)
    return result


def fill_gaps(image: np.ndarray, kernel: np.ndarray = KERNEL, passes: int | None = None) -> np.ndarray:
    """Return the image with missing pixels set to the weighted mean of the seen pixels around them, float32 (H, W).

    image : (H, W), NaN where missing. kernel : weights around a pixel, odd sides. passes : how often, each pass
    building on the last; None: until full. Seen pixels stay as they are; an image without any stays NaN.
    Normalised convolution, Knutsson & Westin (1993), 10.1109/CVPR.1993.341081.
    """
    values = image.astype(float)
    missing = np.isnan(values)
    while missing.any() and not missing.all() and passes != 0:
        total, weight = (cv2.filter2D(part, cv2.CV_64F, kernel, borderType=cv2.BORDER_CONSTANT)
                         for part in (np.where(missing, 0, values), (~missing).astype(float)))
        near = missing & (weight > 0)
        values[near] = total[near] / weight[near]
        missing &= ~near
        passes = None if passes is None else passes - 1
    return values.astype(np.float32)


def fill_step(values: np.ndarray, observed: np.ndarray, step: int, steps_per_year: int) -> np.ndarray:
    """Return the composite of a step without gaps, float32 (C, H, W); no later step is read.

    values : (S, C, H, W), earlier steps without gaps, this one NaN in its gaps. observed : (S, H, W) bool.
    Narrow gaps (4 px to the nearest seen pixel at most) are filled from around; wide ones with the mean of what the
    same season of earlier years really showed, else with the step before, and in the first step from around.
    """
    filled = np.array([fill_gaps(channel, passes=None if step == 0 else 2) for channel in values[step]])
    if not np.isnan(filled).any():
        return filled
    total, count = np.zeros_like(filled), np.zeros(filled.shape[1:], np.float32)
    for earlier in range(step % steps_per_year, step, steps_per_year):
        total += np.where(observed[earlier], values[earlier], 0)
        count += observed[earlier]
    past = np.where(count > 0, total / np.maximum(count, 1), values[step - 1])
    return np.where(np.isnan(filled), past, filled)


def composite(scenes: np.ndarray, dates: Sequence[date], steps_per_year: int, out: Callable | None = None
              ) -> tuple[np.ndarray, np.ndarray, list[date]]:
    """Return a composite for each step of the year: values (S, C, H, W), observed (S, H, W), first day of each step.

    scenes : (T, C, H, W), NaN where missing. dates : of the scenes, in any order. Steps run unbroken from the first
    with a seen pixel to the last; values have no gaps (fill_step); observed is True where a scene of the step saw
    every channel of the pixel. out : called with (S, C, H, W), gives the two arrays to fill; None: in memory.
    """
    numbers = np.array([year_step(day, steps_per_year) for day in dates])
    order = np.argsort(numbers, kind="stable")
    first = next((numbers[i] for i in order if np.isfinite(scenes[i]).all(axis=0).any()), None)
    if first is None:
        raise GlacierError("no scene has a pixel without cloud; raise maxCloudPercent or maxMissingFraction, "
                           "then run dataAPI.py")
    shape = (int(numbers.max() - first) + 1, *scenes.shape[1:])
    values, observed = out(shape) if out else (np.empty(shape, np.float32), np.empty((shape[0], *shape[2:]), bool))
    for step in store.progress(range(shape[0]), "composites"):
        values[step] = robust_mean(scenes, np.flatnonzero(numbers == first + step))
        observed[step] = np.isfinite(values[step]).all(axis=0)
        values[step] = fill_step(values, observed, step, steps_per_year)
    return values, observed, [step_date(int(first) + step, steps_per_year) for step in range(shape[0])]


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


class Series(NamedTuple):
    """The scenes as delivered, on disk, NaN where masked. float32.

    channels : (T, C, H, W), what is aligned. images : (T, B, H, W), what is compared to find the transforms: the
    logarithm of the brightness, in which the sun's height is only a constant, and the snow index, which hardly
    depends on the light; each errs in its own way. records : id, date, platform of each scene.
    """
    channels: np.ndarray
    images: np.ndarray
    records: list[dict]


def collect(scenes: Iterable[dataAPI.Scene], names: Sequence[str], path: Path) -> Series:
    """Return the series, written to a scratch file scene by scene."""
    records, shape, images = [], (), 1
    with open(path, "wb") as file:
        for scene in scenes:
            brightness = next(band for band in BRIGHTNESS if band in scene.bands)
            layers = [np.log(np.maximum(scene.reflectance(brightness), 0.02))]
            if "swir16" in scene.bands:
                layers.append(ndsi(scene.reflectance("green"), scene.reflectance("swir16")))
            images = len(layers)
            layers += [scene.reflectance(name) for name in names if name != "ndsi"]
            shape = (len(layers), *scene.mask.shape)
            for layer in layers:
                file.write(layer.tobytes())
            records.append({"id": scene.id, "date": scene.date.date().isoformat(), "platform": scene.platform})
    layers = np.memmap(path, np.float32, "r", shape=(len(records), *shape))
    return Series(layers[:, -len(names):], layers[:, :images], records)


def stable_ground(cfg: Config, grid: dataAPI.Grid, series: Series) -> np.ndarray:
    """Return the weights of co-registration, float32 (H, W): 1 on ground, 0 on ice that may move."""
    if cfg.iceOutline:
        ice, origin = outline_mask(cfg.iceOutline, grid), cfg.iceOutline
    elif series.images.shape[1] > 1:
        dates = [date.fromisoformat(record["date"]) for record in series.records]
        ice, origin = persistent_snow(series.images[:, 1], dates), "snow and ice that outlast the melt season"
    else:
        ice, origin = np.zeros(grid.shape, bool), "no iceOutline and no swir16 band to find it: motion may be lost"
    log.info("  moving ice: %.0f %% of the scene (%s)", 100 * ice.mean(), origin)
    return (~ice).astype(np.float32)


def find_transforms(cfg: Config, grid: dataAPI.Grid, series: Series) -> Transforms:
    """Return where the scenes lie, found by several processes at once."""
    stable = stable_ground(cfg, grid, series)
    limit = max(2.0, MAX_CORRECTION / abs(grid.transform[0]))
    processes = min(cfg.workers, os.cpu_count() or 1)
    with ProcessPoolExecutor(processes, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        return estimate_transforms(
            series.images, cfg.motionModel, cfg.alignmentMethod, stable, gauge=cfg.alignmentFrame, limit=limit,
            criterion=cfg.stoppingCriterion, iterations=cfg.maxIterations, executor=pool if processes > 1 else None)


def make_aligned(cfg: Config, folder: Path) -> store.Result:
    """Do the work of the stage in its folder; return what it made."""
    grid = dataAPI.read_grid(cfg)
    names = channel_names(cfg, next(dataAPI.read_scenes(cfg)).bands)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch, contextlib.ExitStack() as files:
        series = collect(dataAPI.read_scenes(cfg), names, Path(scratch) / "layers")
        transforms = find_transforms(cfg, grid, series)
        aligned = files.enter_context(store.writing_array(folder / "scenes.npy", series.channels.shape))
        for i, scene in enumerate(store.progress(series.channels, "resampling")):
            aligned[i] = [resample(channel, transforms.matrices[i]) for channel in scene]

        def out(shape):
            return (files.enter_context(store.writing_array(folder / "composites.npy", shape)),
                    files.enter_context(store.writing_array(folder / "observed.npy", (shape[0], *shape[2:]), bool)))

        days = [date.fromisoformat(record["date"]) for record in series.records]
        values, observed, steps = composite(aligned, days, cfg.stepsPerYear, out)
        pictures = draw(folder / "quicklooks", series, aligned, transforms, values, steps, grid.transform[0])
        seen = float(observed.mean())
    arrays = [folder / name for name in ("scenes.npy", "composites.npy", "observed.npy")]
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
    centre = np.array([grid.shape[1] / 2, grid.shape[0] / 2, 1])
    moved = transforms.matrices @ centre
    east, south = (moved[:, :2] / moved[:, 2:] - centre[:2]).T * abs(grid.transform[0])
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
    centre = np.array([found.values.shape[-1] / 2, found.values.shape[-2] / 2, 1])
    shifts = np.where(scenes.accepted[:, None], (scenes.matrices @ centre - centre)[:, :2], np.nan) * pixel_size
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
    last = figures.map_row(quicklooks / "composites.png", images, found.dates[-8:], "NDSI [1]",
                           pixel_size=pixel_size * thinning(found.values.shape[-2:]))
    section = figures.section(
        folder, "Co-registration and composites", [("what", "number"), *table],
        figures.Picture(moved, "How far each scene lay from the common frame before co-registration, which undid it"),
        figures.Picture(better, "How far each scene differs from its two best neighbours over stable ground, in "
                                "deviations of local contrast: below 'before' is better"),
        figures.Picture(seen, "How much of each composite was seen; the rest is filled from earlier steps"),
        figures.Picture(last, f"The last composites, each from its first day on: {', '.join(found.channels)}"),
        figures.Picture(quicklooks / "coregistration.gif", "Clear scenes as delivered (left) and co-registered: on the "
                                                           "right only the ice and the snow line may still move"))
    return [moved, better, seen, last, section]


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
        store.read_array(folder / "composites.npy"), store.read_array(folder / "observed.npy"), tuple(record["dates"]),
        tuple(record["counts"]), tuple(record["channels"]), record["steps_per_year"], record["crs"],
        tuple(record["transform"]))


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
