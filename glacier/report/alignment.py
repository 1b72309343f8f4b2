"""What co-registration and composites show in the report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np

from config import Config
from glacier.aligned import read_aligned_scenes, read_composites
from glacier.coregistration.stack import Series
from glacier.coregistration.transforms import middle_shift
from glacier.coregistration.verdict import Transforms
from glacier.figures import charts, maps
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


def draw(
    folder: Path,
    series: Series,
    aligned: np.ndarray,
    transforms: Transforms,
    values: np.ndarray,
    steps: Sequence[date],
    pixel_size: float,
) -> list[Path]:
    """Draw every composite, and the six clearest scenes before and after co-registration; return the files."""
    pixel_size *= thinning(values.shape[-2:])
    label = "NDSI [1]" if values.shape[1] == 1 else "reflectance x 2 [1]"
    files = [
        maps.map_row(
            folder / f"composite_{day}.png",
            [to_map(scene)],
            [str(day)],
            label,
            pixel_size=pixel_size,
        )
        for scene, day in zip(values, steps, strict=True)
    ]
    seen = np.array([np.isfinite(scene[0]).mean() for scene in series.channels])
    best = sorted(np.argsort(-(seen + transforms.accepted), kind="stable")[:6].tolist())
    frames, titles = [], []
    for i in best:
        before, after = to_map(series.channels[i]), to_map(aligned[i])
        frames.append(
            np.concatenate([before, np.full_like(before[..., :4], np.nan), after], axis=-1)
        )
        titles.append(f"{series.records[i]['date']}: as delivered | co-registered")
    return [
        *files,
        maps.animation(
            folder / "coregistration.gif", frames, titles, label, seconds=0.4, pixel_size=pixel_size
        ),
    ]


def describe(cfg: Config, folder: Path, table: list[tuple]) -> list[Path]:
    """Draw the shifts that were undone and the last composites for the report; return the files."""
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
            quicklooks / "coregistration.gif",
            "Clear scenes as delivered (left) and co-registered: on the "
            "right only the ice and the snow line may still move",
        ),
    )
    return [moved, better, seen, last, spread, section]
