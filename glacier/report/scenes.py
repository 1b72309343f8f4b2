"""What the scenes show in the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from config import Config
from glacier.figures import charts, maps
from glacier.report import pages
from glacier.satellites.selection import count_reasons
from glacier.scenes import Scene, read_scenes


def describe(cfg: Config, folder: Path, counts: dict) -> list[Path]:
    """Draw when the scenes were taken, and the clearest, for the report; return the files."""
    dates, seen = [], []
    clearest: Any = None
    rows: list[tuple] = [("scene", "date", "satellite", "cloud [%]", "seen in the box [%]")]
    for scene in read_scenes(cfg):
        dates.append(scene.date)
        seen.append(1 - scene.missing_fraction)
        rows.append(row_of(scene))
        if seen[-1] == max(seen):
            clearest = scene
    table = table_of(counts)
    colours = [band for band in ("red", "green", "blue") if band in clearest.bands]
    images = [clearest.reflectance(band) for band in colours]
    image = np.stack(images) if len(images) == 3 else images[0]
    quicklooks = folder / "quicklooks"
    days = charts.calendar(quicklooks / "scenes.png", dates, seen, "seen in the box [1]")
    best = maps.map_row(
        quicklooks / "clearest.png",
        [image],
        [f"{clearest.date:%Y-%m-%d}, {clearest.platform}"],
        "reflectance [1]",
        pixel_size=cfg.pixelSize,
    )
    section = pages.section(
        folder,
        "Scenes",
        table,
        pages.Picture(
            days, "When the kept scenes were taken, and how much of the box they saw between clouds"
        ),
        pages.Picture(best, f"The clearest scene: {', '.join(colours)} reflectance, 0 to 1"),
        pages.Fold("All kept scenes", rows),
    )
    return [days, best, section]


def row_of(scene: Scene) -> tuple:
    """Return what the fold of all scenes says of one."""
    cloud, seen = round(scene.cloud_percent, 1), round(100 * (1 - scene.missing_fraction))
    return scene.id, str(scene.date), scene.platform, cloud, seen


def table_of(counts: dict) -> list[tuple]:
    """Return the table of the section: what became of the scenes, and whether their sensors agree."""
    reasons = count_reasons(list(counts["dropped_scenes"].items()))
    doubts = count_reasons(list(counts["warnings"].items()))
    rows: list[tuple] = [
        ("scenes", "number"),
        ("kept", counts["kept"]),
        ("of these resampled", counts["resampled"]),
    ]
    rows += [(f"dropped: {reason}", number) for reason, number in reasons.items()]
    rows += [(f"warning: {doubt}", number) for doubt, number in doubts.items()]
    rows.append(("lost to faults", counts["lost"]))
    rows += counts.get("sensors", {}).items()
    return rows
