"""Stage 7: how fast the ice moves, in metres a year, from pairs of scenes of the same season one and more years apart.

    python movement.py --name=parvati
    python movement.py --name=parvati --maxVelocity=400 --itsLive=its_live_vx.tif

Reads rawData/ and aligned/. Writes movement/: velocity.tif (all years), velocity_<year>.tif, pairs.npy and
movement.json (the velocity of every pair), and pictures.
"""
from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import cv2
import numpy as np
import rasterio

import alignment
import config
import dataAPI
import displacement
import figures
import itslive
import store
import velocity
from config import Config, GlacierError
from matching import resample
from velocity import Field, Nodes, Pair

log = logging.getLogger(__name__)

STAGE = "movement"
USES = ("maxVelocity", "trackingBand")
SPACING = 4  # px between the nodes of the velocity grid
BANDS = ("vx", "vy", "speed", "vx_error", "vy_error", "pairs")
UNITS = ("m/yr",) * 5 + ("1",)
YEARLY_SPAN = 1.5  # years; longer pairs do not tell one year's velocity


# ── What is tracked ──────────────────────────────────────────────────────────────────────────────────────────────

def check_band(cfg: Config) -> None:
    """Raise GlacierError if trackingBand is not to be had."""
    bands = next(dataAPI.read_scenes(cfg)).bands
    possible = (*bands, *(("ndsi",) if {"green", "swir16"} <= set(bands) else ()))
    if cfg.trackingBand not in possible:
        raise GlacierError(f"trackingBand must be one of {', '.join(possible)} in this archive; got "
                           f"{cfg.trackingBand!r}{config.nearest(cfg.trackingBand, possible)}")


def collect(cfg: Config, aligned: alignment.AlignedScenes, path: Path) -> np.ndarray:
    """Return the tracked band of every scene on the common frame, float32 (T, H, W), in a scratch file."""
    with open(path, "wb") as file:
        for scene, matrix in zip(dataAPI.read_scenes(cfg), aligned.matrices, strict=True):
            if cfg.trackingBand == "ndsi":
                image = alignment.ndsi(scene.reflectance("green"), scene.reflectance("swir16"))
            else:
                image = scene.reflectance(cfg.trackingBand)
            file.write(resample(image, matrix).astype(np.float32).tobytes())
    return np.memmap(path, np.float32, "r", shape=(len(aligned.dates), *aligned.values.shape[-2:]))


def stable_ground(cfg: Config, aligned: alignment.AlignedScenes, nodes: Nodes) -> np.ndarray:
    """Return which nodes lie on ground that does not move, bool (h, w); GlacierError if hardly any does."""
    if cfg.iceOutline:
        ice = alignment.outline_mask(cfg.iceOutline, nodes.grid)
    elif aligned.channels == ("ndsi",):
        ice = alignment.persistent_snow(aligned.values[:, 0], [date.fromisoformat(day) for day in aligned.dates])
    else:
        raise GlacierError("what is ice cannot be told from red, green and blue; give an iceOutline, or run "
                           f"python alignment.py --name={cfg.name} --extractNDSI=True")
    stable = ~nodes.of(ice)
    if stable.sum() < velocity.MIN_STABLE:
        raise GlacierError(f"only {stable.sum()} of {stable.size} grid nodes are stable ground, but velocities need "
                           f"{velocity.MIN_STABLE} to refer to; take a larger boundingBox, or check iceOutline")
    return stable


def find_pairs(cfg: Config, aligned: alignment.AlignedScenes) -> list[Pair]:
    """Return the pairs of co-registered scenes to track; GlacierError if there is none."""
    usable = np.flatnonzero(aligned.accepted)
    more = f"take more years or a higher maxCloudPercent, then run: python dataAPI.py --name={cfg.name}"
    if len(usable) < 2:
        raise GlacierError(f"{len(usable)} co-registered scene{'s' * (len(usable) != 1)}, but movement needs two of "
                           f"the same season; {more}")
    days = [date.fromisoformat(aligned.dates[scene]) for scene in usable]
    span = velocity.longest_span(cfg.maxVelocity, abs(aligned.transform[0]))
    pairs = velocity.choose_pairs(days, span)
    if not pairs:
        raise GlacierError(f"no two of {len(usable)} scenes, {days[0]} to {days[-1]}, are of the same season (within "
                           f"{velocity.SEASON} days) 1 to {span} years apart; {more}")
    return [Pair(int(usable[pair.first]), int(usable[pair.second]), pair.years) for pair in pairs]


# ── Tracking and combining ───────────────────────────────────────────────────────────────────────────────────────

def track_pair(images: np.ndarray, pair: Pair, nodes: Nodes, stable: np.ndarray, max_velocity: float,
               yearly_guess: np.ndarray | None) -> tuple[np.ndarray, dict]:
    """Return a pair's velocity and its weight, (3, h, w): vx, vy [m/yr, at rest over stable ground], weight [yr].

    The weight is the time between the scenes, as an error in pixels counts less the longer that is, times the
    correlation; NaN and 0 where the match was refused. The record says how far the pair can be trusted.
    """
    reach = max_velocity * pair.years / abs(nodes.grid.transform[0])
    guess = None if yearly_guess is None else yearly_guess * np.float32(pair.years)
    tracks = displacement.track(images[pair.first], images[pair.second], SPACING, reach, guess)
    moved = velocity.to_velocity(tracks.displacement, pair.years, nodes.grid.transform)
    moved, ground = velocity.correct(moved, stable)
    found = np.isfinite(moved[0])
    weight = np.where(found, pair.years * tracks.correlation, 0)

    def typical(values):
        values = values[found & np.isfinite(values)]
        return round(float(np.median(values)), 3) if values.size else None

    record = {"first": pair.first, "second": pair.second, "years": round(pair.years, 4),
              "found": round(float(found.mean()), 4), "stable_nmad": round(ground, 3) if found.any() else None,
              "correlation": typical(tracks.correlation), "departure": typical(tracks.departure),
              "peak_ratio": typical(tracks.peak_ratio)}
    return np.concatenate([moved, weight[None]]), record


def track_pairs(images: np.ndarray, pairs: Sequence[Pair], nodes: Nodes, stable: np.ndarray, max_velocity: float,
                workers: int, out: np.ndarray) -> list[dict]:
    """Fill `out` (P, 3, h, w) with the velocities of all pairs, some at a time; return their records.

    The shortest pairs are searched. The longer ones start from what those found: over years ice deforms, and a search
    would rather find what does not move, shade and the banks of a narrow glacier.
    """
    shortest = min(pair.years for pair in pairs)
    short = np.array([pair.years < shortest + 0.5 for pair in pairs])
    records: list = [None] * len(pairs)
    guess = None

    def work(number):
        out[number], records[number] = track_pair(images, pairs[number], nodes, stable, max_velocity, guess)

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the pairs run side by side
    try:
        with ThreadPoolExecutor(min(workers, os.cpu_count() or 1)) as pool:
            for what, members in (("short pairs", short), ("longer pairs", ~short)):
                for _ in store.progress(pool.map(work, np.flatnonzero(members).tolist()), what, int(members.sum())):
                    pass
                field = combine(out, pairs, short, stable)[0]
                moving = np.where(velocity.certain(field) | np.isnan(field.velocity), field.velocity, 0)
                guess = pixel_displacement(field._replace(velocity=moving), nodes)
    finally:
        cv2.setNumThreads(threads)
    return records


def pixel_displacement(field: Field, nodes: Nodes) -> np.ndarray:
    """Return a field's displacement in one year at every pixel, float32 (2, H, W) [px]; gaps from their neighbours."""
    (a, b), (d, e) = nodes.grid.transform[:2], nodes.grid.transform[3:5]
    moved = np.einsum("ij,jhw->ihw", np.linalg.inv([[a, b], [d, e]]), field.velocity)
    return displacement.interpolate(moved, nodes.rows, nodes.columns, nodes.grid.shape)


def combine(tracked: np.ndarray, pairs: Sequence[Pair], members: np.ndarray, stable: np.ndarray, rows: int = 8
            ) -> tuple[Field, float]:
    """Return one field from the velocities of some pairs, and the NMAD of its stable ground [m/yr].

    tracked : (P, 3, h, w), read a few rows at a time. members : (P,) bool, the pairs that count.
    """
    chosen = [pair for pair, member in zip(pairs, members, strict=True) if member]
    parts = []
    for top in range(0, tracked.shape[2], rows):
        block = tracked[members, :, top:top + rows]
        parts.append(velocity.combine(block[:, :2], block[:, 2], chosen))
    field = Field(*(np.concatenate(part, axis=-2) for part in zip(*parts, strict=True)))
    return velocity.finish(field, stable, SPACING)


def yearly(pairs: Sequence[Pair], days: Sequence[date]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each year that enough short pairs begin in, and which pairs those are, bool (P,)."""
    begins = np.array([days[pair.first].year for pair in pairs])
    short = np.array([pair.years < YEARLY_SPAN for pair in pairs])
    for year in np.unique(begins):
        members = short & (begins == year)
        if members.sum() >= velocity.MIN_PAIRS:
            yield int(year), members


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────

def write_geotiff(path: Path, field: Field, nodes: Nodes, tags: dict[str, str]) -> Path:
    """Write a velocity field as a GeoTIFF with the bands BANDS, nodata NaN; return its path."""
    layers = [*field.velocity, np.hypot(*field.velocity), *field.error, field.count]
    profile = {"driver": "GTiff", "dtype": "float32", "count": len(BANDS), "height": nodes.shape[0],
               "width": nodes.shape[1], "crs": nodes.grid.crs, "transform": nodes.transform, "nodata": np.nan,
               "compress": "deflate"}
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile) as file:
            file.write(np.array(layers, np.float32))
            file.descriptions, file.units = BANDS, UNITS
            file.update_tags(**tags, UNITS="m/yr", DIRECTIONS="vx to the east, vy to the north of the map grid",
                             ERRORS="standard errors")
        with store.writing(path) as file:
            file.write(memory.read())
    return path


def period(pairs: Sequence[Pair], days: Sequence[date]) -> str:
    """Return the first and the last day of some pairs, as ISO text."""
    return f"{min(days[pair.first] for pair in pairs)}/{max(days[pair.second] for pair in pairs)}"


@dataclass(frozen=True)
class Movement:
    """What the stage made: the velocities of every pair, memory-mapped, and where and when.

    tracked : (P, 3, h, w), vx, vy [m/yr], weight. pairs, dates : of the scenes. stable : bool (h, w).
    """
    tracked: np.ndarray
    pairs: tuple[Pair, ...]
    dates: tuple[date, ...]
    stable: np.ndarray
    nodes: Nodes

    def field(self, before: date | None = None) -> Field | None:
        """Return the velocity field from the pairs that end before a day (None: all); None if there are too few."""
        members = np.array([before is None or self.dates[pair.second] < before for pair in self.pairs])
        if members.sum() < velocity.MIN_PAIRS:
            return None
        return combine(self.tracked, self.pairs, members, self.stable)[0]

    def displacement(self, field: Field) -> np.ndarray:
        """Return a field's displacement in one year at every pixel, as pixel_displacement."""
        return pixel_displacement(field, self.nodes)


def read_movement(cfg: Config) -> Movement:
    """Return what the stage made; GlacierError if it is missing or damaged."""
    folder = cfg.folder / STAGE
    record = alignment.read_json(folder / "movement.json")
    nodes = Nodes.over(dataAPI.Grid(record["crs"], tuple(record["transform"]), tuple(record["shape"])), SPACING)
    pairs = tuple(Pair(pair["first"], pair["second"], pair["years"]) for pair in record["pairs"])
    days = tuple(date.fromisoformat(day) for day in record["dates"])
    stable = np.array(store.read_array(folder / "stable.npy"))
    return Movement(store.read_array(folder / "pairs.npy"), pairs, days, stable, nodes)


# ── Pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────

def draw(folder: Path, images: np.ndarray, days: Sequence[date], field: Field, nodes: Nodes, band: str
         ) -> list[Path]:
    """Draw speed and error, arrows over the clearest late scene, the flow line and the series; return the files."""
    pixel = abs(nodes.grid.transform[0])
    speed, error = np.hypot(*field.velocity), np.hypot(*field.error)
    if not np.isfinite(speed).any():
        return []
    clear = [float(np.isfinite(image).mean()) for image in images]
    top = max(float(np.nanpercentile(speed, 99.5)), 1.0)
    moving = field.velocity.copy()
    moving[:, ~velocity.certain(field)] = np.nan
    years = [f"{days[0].year}-{days[-1].year}"]
    files = [
        figures.map_row(folder / "speed.png", [speed], years, "speed [m/yr]", (0, top), "viridis",
                        pixel_size=pixel * SPACING),
        figures.map_row(folder / "error.png", [error], years, "standard error [m/yr]",
                        (0, float(np.nanpercentile(error, 98))), "magma", pixel_size=pixel * SPACING),
        figures.arrows(folder / "arrows.png", [images[int(np.argmax(clear))]], [moving], nodes.rows, nodes.columns,
                       [f"velocity over {band} of {days[int(np.argmax(clear))]}"], "velocity [m/yr]", pixel)]
    if np.isfinite(moving).any():
        files += [draw_flow_line(folder / "flowline.png", field, np.isfinite(moving[0]), pixel),
                  animate(folder / "glacier.gif", images, days, clear, np.isfinite(moving[0]), nodes, band)]
    return files


def draw_flow_line(path: Path, field: Field, moving: np.ndarray, pixel_size: float) -> Path:
    """Draw the speed along the flow line through the fastest ice, with its 90 % interval; return the file."""
    speed = np.hypot(*field.velocity)
    fastest = np.unravel_index(np.nanargmax(np.where(moving, speed, np.nan)), speed.shape)
    line = velocity.trace(field.velocity, fastest)
    row, column = np.rint(line).astype(int).T
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))]) * SPACING * pixel_size / 1000
    margin = 1.645 * np.sum(np.abs(field.velocity) * field.error, axis=0) / np.maximum(speed, 1e-6)
    curves = {"speed": speed, "5 %": speed - margin, "95 %": speed + margin}
    return figures.curves(path, along, {name: curve[row, column] for name, curve in curves.items()},
                          "distance down the flow line [km]", "speed [m/yr]")


def animate(path: Path, images: np.ndarray, days: Sequence[date], clear: Sequence[float], moving: np.ndarray,
            nodes: Nodes, band: str) -> Path:
    """Draw the clearest scene of each year, of one season, where the ice moves, as a GIF; return the file."""
    best = days[int(np.argmax(clear))].timetuple().tm_yday
    off = [abs((day.timetuple().tm_yday - best + 183) % 366 - 183) for day in days]
    chosen = [max((i for i, day in enumerate(days) if day.year == year), key=lambda i: clear[i] - off[i] / 60)
              for year in sorted({day.year for day in days})]
    rows, columns = (places[np.flatnonzero(moving.any(axis=axis))[[0, -1]]]
                     for axis, places in ((1, nodes.rows), (0, nodes.columns)))
    crops = [images[i][rows[0]:rows[1] + 1, columns[0]:columns[1] + 1] for i in chosen if off[i] < 60]
    titles = [str(days[i]) for i in chosen if off[i] < 60]
    limits = np.nanpercentile(crops, (2, 98))
    return figures.animation(path, crops, titles, f"{band} [1]", tuple(limits), "gray", seconds=0.5,
                             pixel_size=abs(nodes.grid.transform[0]))


# ── The stage ────────────────────────────────────────────────────────────────────────────────────────────────────

def make_movement(cfg: Config, folder: Path) -> store.Result:
    """Do the work of the stage in its folder; return what it made."""
    aligned = alignment.read_aligned_scenes(cfg)
    nodes = Nodes.over(dataAPI.read_grid(cfg), SPACING)
    pairs, stable = find_pairs(cfg, aligned), stable_ground(cfg, aligned, nodes)
    other = itslive.read(cfg.itsLive, nodes) if cfg.itsLive else None
    days = [date.fromisoformat(day) for day in aligned.dates]
    log.info("  %d pairs of %d scenes, up to %.0f years apart; ice up to %g m/yr is looked for", len(pairs), len(days),
             max(pair.years for pair in pairs), cfg.maxVelocity)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch:
        images = collect(cfg, aligned, Path(scratch) / "images")
        with store.writing_array(folder / "pairs.npy", (len(pairs), 3, *nodes.shape)) as tracked:
            records = track_pairs(images, pairs, nodes, stable, cfg.maxVelocity, cfg.workers, tracked)
        tracked = store.read_array(folder / "pairs.npy")
        field, ground = combine(tracked, pairs, np.ones(len(pairs), bool), stable)
        tags = {"GLACIER": cfg.name, "BAND": cfg.trackingBand}
        files = [write_geotiff(folder / "velocity.tif", field, nodes, tags | {"PERIOD": period(pairs, days)})]
        for year, members in yearly(pairs, days):
            chosen = [pair for pair, member in zip(pairs, members, strict=True) if member]
            files.append(write_geotiff(folder / f"velocity_{year}.tif", combine(tracked, pairs, members, stable)[0],
                                       nodes, tags | {"PERIOD": period(chosen, days)}))
        files += draw(folder / "quicklooks", images, days, field, nodes, cfg.trackingBand)
    with store.writing(folder / "stable.npy") as file:
        np.save(file, stable)
    record = {"schema": store.SCHEMA, "crs": nodes.grid.crs, "transform": nodes.grid.transform,
              "shape": nodes.grid.shape, "dates": aligned.dates, "pairs": records}
    files += [folder / "pairs.npy", folder / "stable.npy", alignment.write_json(folder / "movement.json", record)]
    result = summary(folder, field, ground, records, stable, other, files)
    result.files.append(describe(folder, result))
    return result


def describe(folder: Path, result: store.Result) -> Path:
    """Write the report's section with the pictures that were drawn; return the file."""
    captions = {"arrows": "Velocity of the ice where it is larger than three standard errors",
                "speed": "Speed", "error": "Standard error of the velocity, from the scatter over pairs of scenes",
                "flowline": "Speed down the flow line through the fastest ice, with its 90 % interval",
                "glacier": "The moving ice, one scene a year", "itslive": "Speed against that of ITS_LIVE"}
    pictures = {path.stem: path for path in result.files if path.parent.name == "quicklooks"}
    shown = [figures.Picture(pictures[name], caption) for name, caption in captions.items() if name in pictures]
    return figures.section(folder, "Movement", [("what", "number"), *result.table], *shown)


def summary(folder: Path, field: Field, ground: float, records: list[dict], stable: np.ndarray,
            other: np.ndarray | None, files: list[Path]) -> store.Result:
    """Return the files, the counts and the closing table, with the comparison with ITS_LIVE if there is one."""
    speed, known = np.hypot(*field.velocity), np.isfinite(field.velocity[0])
    used = sum(record["stable_nmad"] is not None for record in records)
    counts = {"pairs": len(records), "pairs_used": used, "known": round(float(known.mean()), 4),
              "stable_nmad": round(ground, 3)}
    table = [("pairs of scenes", len(records)), ("of them at rest over stable ground", used),
             ("nodes with a velocity [%]", round(100 * float(known.mean()), 1)),
             ("NMAD over stable ground [m/yr]", round(ground, 2))]
    if (known & ~stable).any():
        ice = known & ~stable
        table += [("ice: median speed [m/yr]", round(float(np.median(speed[ice])), 1)),
                  ("ice: fastest (99 %) [m/yr]", round(float(np.percentile(speed[ice], 99)), 1)),
                  ("ice: median standard error [m/yr]", round(float(np.median(np.hypot(*field.error)[ice])), 2))]
    if other is not None:
        scores, shown = itslive.compare(folder, field, other)
        files = [*files, *shown]
        table += [(f"ITS_LIVE: {name.replace('_', ' ')}", round(score, 3)) for name, score in scores.items()]
    return store.Result(files, counts, table)


def check_inputs(cfg: Config) -> list[tuple[str, str]]:
    """Return the hashes of input files; GlacierError for what cannot work, before an earlier result is removed."""
    store.need(cfg, "aligned")
    check_band(cfg)
    aligned = alignment.read_aligned_scenes(cfg)
    find_pairs(cfg, aligned)
    nodes = Nodes.over(dataAPI.read_grid(cfg), SPACING)
    stable_ground(cfg, aligned, nodes)
    if cfg.itsLive:
        itslive.read(cfg.itsLive, nodes)
    given = {name: getattr(cfg, name) for name in ("iceOutline", "itsLive") if getattr(cfg, name)}
    return [(name, store.file_hash(Path(path)) if Path(path).is_file() else path) for name, path in given.items()]


def run(cfg: Config) -> int:
    """Make movement/ of the glacier unless it is up to date; return the exit code."""
    code = store.run_stage(cfg, STAGE, USES, ["rawData", "aligned"], make_movement, check_inputs(cfg))
    log.info("All of %s in one page: %s", cfg.name, figures.report(cfg))
    return code


if __name__ == "__main__":
    sys.exit(store.main(run))
