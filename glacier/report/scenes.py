"""What the scenes show in the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from config import Config
from glacier.figures import charts, maps
from glacier.report import pages
from glacier.satellites.selection import count_reasons
from glacier.scenes import read_scenes


def describe(cfg: Config, folder: Path, counts: dict) -> list[Path]:
    """Draw when the scenes were taken, and the clearest, for the report; return the files."""
    dates, seen, rows, clearest = (
        [],
        [],
        [("scene", "date", "satellite", "cloud [%]", "seen in the box [%]")],
        None,
    )
    for scene in read_scenes(cfg):
        dates.append(scene.date)
        seen.append(1 - scene.missing_fraction)
        rows.append(
            (
                scene.id,
                str(dates[-1]),
                scene.platform,
                round(scene.cloud_percent, 1),
                round(100 * seen[-1]),
            )
        )
        if seen[-1] == max(seen):
            clearest = scene
    reasons = count_reasons(list(counts["dropped_scenes"].items()))
    table = [
        ("scenes", "number"),
        ("kept", len(dates)),
        *((f"dropped: {why}", n) for why, n in reasons.items()),
        ("resampled", counts["resampled"]),
        ("lost to faults", counts["lost"]),
        *counts.get("sensors", {}).items(),
    ]
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
