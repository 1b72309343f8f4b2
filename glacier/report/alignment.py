"""What co-registration and composites show in the report."""

from __future__ import annotations

from collections import Counter
from datetime import date
from pathlib import Path

import numpy as np

from config import Config
from glacier.aligned import (
    BEFORE_AFTER,
    AlignedScenes,
    Composites,
    read_aligned_scenes,
    read_composites,
)
from glacier.coregistration.stack import Series
from glacier.coregistration.transforms import corner_shift, middle_shift
from glacier.coregistration.verdict import allowed_error
from glacier.figures import charts, maps
from glacier.grid import Grid
from glacier.report import pages
from glacier.storage import disk


def thinning(shape: tuple[int, int], side: int = 900) -> int:
    """Return which rows and columns to draw, every first, second, ..., so that at most `side` px are left."""
    return -(-max(shape) // side)


def to_map(scene: np.ndarray) -> np.ndarray:
    """Return a scene (C, H, W) to draw: the index as it is, or brightened bands."""
    step = thinning(scene.shape[1:])
    return (
        scene[0, ::step, ::step] if len(scene) == 1 else np.clip(2 * scene[:, ::step, ::step], 0, 1)
    )


def summary(scenes: AlignedScenes, composites: Composites) -> tuple[dict, list[tuple]]:
    """Return the counts of the manifest and the closing table."""
    total = len(scenes.ids)
    confirmed = int(scenes.accepted.sum())
    unconfirmed = Counter(by_reason(scenes, ~scenes.accepted & scenes.in_composites))
    left_out = Counter(by_reason(scenes, ~scenes.in_composites))
    limit = allowed_error(abs(scenes.transform[0]))
    shape = scenes.values.shape[-2:]
    far = sum(corner_shift(matrix, shape) > limit for matrix in scenes.matrices)
    observed = float(composites.observed.mean())
    counts = {
        "scenes": total,
        "aligned": confirmed,
        "far_off_put_right": far,
        "unaligned": dict(unconfirmed),
        "left_out": dict(left_out),
        "composites": len(composites.dates),
        "observed_fraction": round(observed, 4),
    }
    table = [("scenes", total), ("confirmed by two others and put in place", confirmed)]
    if far:
        table.append((f"of these more than {limit:.1f} px off as delivered", far))
    for reason, number in unconfirmed.items():
        table.append((f"unconfirmed, as delivered: {reason}", number))
    for reason, number in left_out.items():
        table.append((f"left out of the composites: {reason}", number))
    table.append(("composites", len(composites.dates)))
    table.append(("really observed [%]", round(100 * observed, 1)))
    return counts, table


def by_reason(scenes: AlignedScenes, members: np.ndarray) -> list[str]:
    """Return why some scenes, (T,) bool, are not accepted."""
    return [scenes.reasons[scene] for scene in np.flatnonzero(members)]


def unaligned_warning(scenes: AlignedScenes) -> str:
    """Return what it means that most scenes stayed as delivered; nothing where most are in place."""
    confirmed = int(scenes.accepted.sum())
    total = len(scenes.ids)
    if 2 * confirmed >= total:
        return ""
    return (
        f"{total - confirmed} of {total} scenes stayed where the archive put them: no two others confirm where they "
        "lie. The composites are as sharp as the archive's geolocation; velocities use the other "
        f"{confirmed} scenes only. Clearer scenes (a lower maxCloudPercent) or more years give more partners"
    )


def draw_before_after(
    folder: Path, series: Series, aligned: np.ndarray, accepted: np.ndarray, grid: Grid
) -> Path:
    """Draw the six clearest scenes before and after co-registration; return the file."""
    label = "NDSI [1]" if aligned.shape[1] == 1 else "reflectance x 2 [1]"
    seen = np.array([np.isfinite(scene[0]).mean() for scene in series.channels])
    best = np.argsort(-(seen + accepted), kind="stable")[:6]
    frames, titles = [], []
    for i in sorted(best.tolist()):
        before, after = to_map(series.channels[i]), to_map(aligned[i])
        gap = np.full_like(before[..., :4], np.nan)
        frames.append(np.concatenate([before, gap, after], axis=-1))
        titles.append(f"{series.records[i]['date']}: as delivered | co-registered")
    return maps.animation(
        folder / BEFORE_AFTER,
        frames,
        titles,
        label,
        seconds=0.4,
        pixel_size=grid.pixel_size * thinning(grid.shape),
    )


def draw_composites(folder: Path, composites: Composites) -> list[Path]:
    """Draw every composite; return the files."""
    label = "NDSI [1]" if composites.values.shape[1] == 1 else "reflectance x 2 [1]"
    pixel_size = composites.transform[0] * thinning(composites.values.shape[-2:])
    files = []
    for scene, day in zip(composites.values, composites.dates, strict=True):
        path = folder / f"composite_{day}.png"
        maps.map_row(path, [to_map(scene)], [day], label, pixel_size=pixel_size)
        files.append(path)
    return files


def describe(cfg: Config, folder: Path, table: list[tuple], warning: str = "") -> list[Path]:
    """Draw the composites, and for the report the shifts that were undone; return all pictures and the section.

    table : of `summary`. warning : of `unaligned_warning`.
    """
    scenes, found = read_aligned_scenes(cfg), read_composites(cfg)
    pixel_size, quicklooks = found.transform[0], folder / "quicklooks"
    middles = np.array(
        [middle_shift(matrix, found.values.shape[-2:]) for matrix in scenes.matrices]
    )
    shifts = np.where(scenes.accepted[:, None], middles, np.nan) * pixel_size
    dates = [date.fromisoformat(day) for day in scenes.dates]
    moved = charts.curves(
        quicklooks / "shifts.png",
        dates,
        {"east": shifts[:, 0], "north": -shifts[:, 1]},
        "date",
        "shift as delivered [m]",
    )
    records = disk.read_json(folder / "quality.json")["scenes"]
    fit = {
        label: np.array([record[name] for record in records], float)
        for label, name in (("before", "nmad_before"), ("after", "nmad_after"))
    }
    better = charts.curves(
        quicklooks / "quality.png", dates, fit, "date", "difference to the neighbours, NMAD [1]"
    )
    steps = [date.fromisoformat(day) for day in found.dates]
    seen = charts.curves(
        quicklooks / "observed.png",
        steps,
        {"observed": found.observed.mean(axis=(1, 2))},
        "date",
        "observed part of the scene [1]",
    )
    images = [to_map(scene) for scene in found.values[-8:]]
    thin = thinning(found.values.shape[-2:])
    last = maps.map_row(
        quicklooks / "composites.png",
        images,
        found.dates[-8:],
        "NDSI [1]",
        pixel_size=pixel_size * thin,
    )
    deviations = [scene[0, ::thin, ::thin] for scene in disk.read_array(folder / "spread.npy")[-8:]]
    spread = maps.map_row(
        quicklooks / "spread.png",
        deviations,
        found.dates[-8:],
        f"NMAD of {found.channels[0]} [1]",
        pixel_size=pixel_size * thin,
    )
    section = pages.section(
        folder,
        "Co-registration and composites",
        [("what", "number"), *table],
        *([warning + "."] if warning else []),
        pages.Picture(
            moved,
            "How far each scene lay from the common frame before co-registration, which undid it",
        ),
        pages.Picture(
            better,
            "How far each scene differs from its two best neighbours over stable ground, in "
            "deviations of local contrast: below 'before' is better",
        ),
        pages.Picture(
            seen, "How much of each composite was seen; the rest is filled from earlier steps"
        ),
        pages.Picture(
            last, f"The last composites, each from its first day on: {', '.join(found.channels)}"
        ),
        pages.Picture(
            spread,
            "How far the scenes of each of these steps differ, where at least two saw the pixel: "
            "where snow came or went, or a cloud was missed",
        ),
        pages.Picture(
            folder / BEFORE_AFTER,
            "Clear scenes as delivered (left) and co-registered: on the "
            "right only the ice and the snow line may still move",
        ),
    )
    every = draw_composites(quicklooks, found)
    return [*every, moved, better, seen, last, spread, section]
