"""What the patches and their split show in the report."""

from __future__ import annotations

import math
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from config import Config
from glacier.figures import charts, looks, maps
from glacier.patches.census import Holding
from glacier.patches.split import PARTS, Split
from glacier.patches.windows import Series
from glacier.report import pages
from glacier.seasons import step_name


def draw(
    cfg: Config,
    folder: Path,
    series: Series,
    split: Split,
    proof: dict[str, int],
    holdings: dict[str, Holding],
    warnings: list[str],
) -> list[Path]:
    """Draw the last training window and who reads which step, for the report; return the files."""
    window = draw_window(cfg, folder, series, split.parts.count("train") - 1)
    bars = []
    for start, part in enumerate(split.parts):
        bars.append((start, cfg.sequenceLength, cfg.horizon, part))
    steps = charts.windows(folder / "quicklooks" / "split.png", bars, series.dates)
    shares: list[tuple] = [("pixels x steps", "number")]
    shares += [(name.replace("_", " "), number) for name, number in proof.items()]
    content: list[Any] = [
        count_rows(split, holdings),
        shares,
        pages.Picture(
            steps,
            "Which steps each window reads: no training window reads a step that is a target of "
            "validation or test",
        ),
        pages.Picture(
            window,
            "The last training window: what a network is given (pale: filled), and what it must forecast (hatched: "
            "never seen, not counted)",
        ),
    ]
    if warnings:
        content.insert(1, [("what to beware of",), *((line,) for line in warnings)])
    return [window, steps, pages.section(folder, "Patches and split", *content)]


def count_rows(split: Split, holdings: dict[str, Holding]) -> list[tuple]:
    """Return a row a part: its windows, its observed target dates and pixels, and the part of these with snow."""
    rows: list[tuple] = [
        ("part", "windows", "observed target dates", "observed target pixels", "snow [%]")
    ]
    for part in PARTS:
        row: tuple = (part, split.parts.count(part))
        if part in holdings:
            held = holdings[part]
            if math.isnan(held.snow):
                snow = ""
            else:
                snow = f"{100 * held.snow:.0f}"
            row += (f"{held.dates} of {held.of}", held.pixels, snow)
        else:
            row += ("", "", "")
        rows.append(row)
    return rows


def draw_window(cfg: Config, folder: Path, series: Series, start: int) -> Path:
    """Draw the window that begins with step `start`, its role and date above each step; return the file."""
    length = cfg.sequenceLength + cfg.horizon
    roles = ["input"] * cfg.sequenceLength + ["target"] * cfg.horizon
    images = []
    titles = []
    masks = []
    for step, role in zip(range(start, start + length), roles, strict=True):
        image = series.values[step]  # (C, H, W)
        seen = series.observed[step]
        if role == "target":  # only what was seen is the truth
            image = np.where(seen, image, np.nan)
        images.append(looks.picture_of(image))
        masks.append(seen)
        name = step_name(date.fromisoformat(series.dates[step]), series.steps_per_year)
        titles.append(f"{role}: {name}\n{100 * seen.mean():.0f} % observed")
    label = looks.look_of(len(series.channels)).label
    path = folder / "quicklooks" / "window.png"
    size = series.transform[0]
    return maps.map_row(path, images, titles, label, columns=4, pixel_size=size, seen=masks)
