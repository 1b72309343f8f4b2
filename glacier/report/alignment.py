"""What co-registration and composites show in the report."""

from __future__ import annotations

from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from config import Config
from glacier.aligned import (
    BEFORE_AFTER,
    AlignedScenes,
    Composites,
    read_aligned_scenes,
    read_composites,
)
from glacier.coregistration.stack import SceneStack
from glacier.coregistration.transforms import corner_shift, middle_shift
from glacier.coregistration.verdict import allowed_error
from glacier.figures import animations, charts, looks, maps
from glacier.figures.sheets import FEW, Thumbnail, contact_sheet
from glacier.grid import Grid
from glacier.report import pages
from glacier.seasons import step_name
from glacier.storage import disk


def thinning(shape: tuple[int, int], side: int = 900) -> int:
    """Return which rows and columns to draw, every first, second, ..., so that at most `side` px are left."""
    return -(-max(shape) // side)


def to_map(scene: np.ndarray) -> np.ndarray:
    """Return a scene (C, H, W) to draw: the index as it is, or brightened bands."""
    every = thinning(scene.shape[1:])
    thin = scene[:, ::every, ::every]
    if len(thin) == 1:
        return thin[0]
    return np.clip(2 * thin, 0, 1)


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
    table: list[tuple] = [
        ("scenes", total),
        ("confirmed by two others and put in place", confirmed),
    ]
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
    unconfirmed = total - confirmed
    return (
        f"{unconfirmed} of {total} scenes stayed where the archive put them: no two others confirm where they "
        "lie. The composites are as sharp as the archive's geolocation; velocities use the other "
        f"{confirmed} scenes only. Clearer scenes (a lower maxCloudPercent) or more years give more partners"
    )


def draw_before_after(
    folder: Path, series: SceneStack, aligned: np.ndarray, accepted: np.ndarray, grid: Grid
) -> Path:
    """Draw the six clearest scenes before and after co-registration; return the file."""
    seen = np.array([np.isfinite(scene[0]).mean() for scene in series.channels])
    best = np.argsort(-(seen + accepted), kind="stable")[:6]
    frames = []
    titles = []
    for i in sorted(best.tolist()):
        before = to_map(series.channels[i])
        after = to_map(aligned[i])
        gap = np.full_like(before[..., :4], np.nan)
        frames.append(np.concatenate([before, gap, after], axis=-1))
        titles.append(f"{series.records[i]['date']}: as delivered | co-registered")
    return animations.animation(
        folder / BEFORE_AFTER,
        frames,
        titles,
        label_of(aligned[0]),
        seconds=0.4,
        pixel_size=grid.pixel_size * thinning(grid.shape),
    )


def draw_composites(folder: Path, composites: Composites) -> list[Path]:
    """Draw the composites, a sheet a year; return the files."""
    per_year = composites.steps_per_year
    sheets: dict[str, list[Thumbnail]] = {}
    for values, seen, day in zip(
        composites.values, composites.observed, composites.dates, strict=True
    ):
        first = date.fromisoformat(day)
        title = f"{step_name(first, per_year)}\n{share_seen(seen)}"
        if per_year > FEW:  # small maps; the year is the sheet's
            title = f"{first.day} {first:%b}: {100 * seen.mean():.0f} %"
        if len(values) == 1:
            image = values[0]
        else:
            image = 2 * values
        sheets.setdefault(day[:4], []).append(Thumbnail(title, image, seen))
    files = []
    for year, thumbnails in sheets.items():
        path = folder / f"composites_{year}.png"
        files.append(contact_sheet(path, thumbnails, label_of(composites.values[0])))
    return files


def share_seen(seen: np.ndarray) -> str:
    """Return how much of a step was observed, bool (H, W), as titles say it."""
    return f"{100 * seen.mean():.0f} % observed"


def label_of(scene: np.ndarray) -> str:
    """Return quantity and unit of what is drawn of a scene (C, H, W)."""
    if len(scene) == 1:
        return looks.INDEX.label
    return "reflectance x 2 [1]"  # as it is drawn


def describe(cfg: Config, folder: Path, table: list[tuple], warning: str = "") -> list[Path]:
    """Draw the composites, and for the report the shifts that were undone; return all pictures and the section.

    table : of `summary`. warning : of `unaligned_warning`.
    """
    scenes = read_aligned_scenes(cfg)
    composites = read_composites(cfg)
    quicklooks = folder / "quicklooks"
    moved, better = draw_corrections(folder, scenes)
    days = [date.fromisoformat(day) for day in composites.dates]
    shares = {"observed": composites.observed.mean(axis=(1, 2))}
    labels = "date", "observed part of the scene [1]"
    seen = charts.curves(quicklooks / "observed.png", days, shares, *labels)
    sheets = draw_composites(quicklooks, composites)
    spread = draw_spread(folder, composites)
    captions = {
        moved: "How far each scene lay from the common frame before co-registration, which undid it",
        better: "How far each scene differs from its two best neighbours over stable ground, in deviations of local "
        "contrast: below 'before' is better",
        seen: "How much of each composite was seen; the rest is filled from earlier steps",
        sheets[
            -1
        ]: f"The composites of the last year, what was filled pale: {', '.join(composites.channels)}",
        spread: "How far the scenes of each of these steps differ, where at least two saw the pixel: where snow came "
        "or went, or a cloud was missed",
        folder
        / BEFORE_AFTER: "Clear scenes as delivered (left) and co-registered: on the right only the ice and the "
        "snow line may still move",
    }
    content: list[Any] = [[("what", "number"), *table]]
    if warning:
        content.append(f"{warning}.")
    content += [pages.Picture(path, caption) for path, caption in captions.items()]
    section = pages.section(folder, "Co-registration and composites", *content)
    return [*sheets, moved, better, seen, spread, section]


def draw_corrections(folder: Path, scenes: AlignedScenes) -> tuple[Path, Path]:
    """Draw how far each scene lay off, and how it differs from its neighbours before and after; return the files."""
    days = [date.fromisoformat(day) for day in scenes.dates]
    shape = scenes.values.shape[-2:]
    middles = np.array([middle_shift(matrix, shape) for matrix in scenes.matrices])  # px
    shifts = np.where(scenes.accepted[:, None], middles, np.nan) * scenes.transform[0]
    lines = {"east": shifts[:, 0], "north": -shifts[:, 1]}
    labels = "date", "shift as delivered [m]"
    moved = charts.curves(folder / "quicklooks" / "shifts.png", days, lines, *labels, apart=True)
    records = disk.read_json(folder / "quality.json")["scenes"]
    before = np.array([record["nmad_before"] for record in records], float)
    after = np.array([record["nmad_after"] for record in records], float)
    lines = {"before": before, "after": after}
    labels = "date", "difference to the neighbours, NMAD [1]"
    better = charts.curves(folder / "quicklooks" / "quality.png", days, lines, *labels, apart=True)
    return moved, better


def draw_spread(folder: Path, composites: Composites, last: int = 8) -> Path:
    """Draw how far the scenes of each of the last composites differ; return the file."""
    every = thinning(composites.values.shape[-2:])
    spread = disk.read_array(folder / "spread.npy")[-last:, 0, ::every, ::every]
    titles = []
    for step, day in zip(spread, composites.dates[-last:], strict=True):
        name = step_name(date.fromisoformat(day), composites.steps_per_year)
        titles.append(f"{name}\n{100 * np.isfinite(step).mean():.0f} % seen twice or more")
    finite = spread[np.isfinite(spread)]
    top = 1.0
    if len(finite):
        top = float(np.percentile(finite, 99))
    return maps.map_row(
        folder / "quicklooks" / "spread.png",
        list(spread),
        titles,
        f"NMAD of {composites.channels[0]} [1]",
        (0.0, max(top, 0.05)),
        columns=4,
        pixel_size=composites.transform[0] * every,
        empty="no pixel was\nseen twice",
    )
