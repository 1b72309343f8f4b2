"""What a run, its scores and its forecast show in the glacier's report: datasets/NAME/report.html."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from DeepLearning.verification import tables
from glacier.figures import charts
from glacier.report import pages
from glacier.report.pages import Fold, Picture


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file as text."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def training(folder: Path) -> list[Path]:
    """Draw the scores of a run's metrics.csv over its epochs, write its section; return the files."""
    rows = read_rows(folder / "metrics.csv")
    lines = {}
    for column in ("training_crps", "validation_crps"):
        lines[column.removesuffix("_crps")] = [float(row[column]) for row in rows]
    curves = charts.curves(
        folder / "quicklooks" / "curves.png",
        [int(row["epoch"]) for row in rows],
        lines,
        "epoch",
        "CRPS [1]",
    )
    picture = Picture(
        curves,
        "Continuous ranked probability score over the epochs; epoch 0 is climatology, where the network starts",
    )
    section = pages.section(folder, f"Training: {folder.name}", picture)
    return [curves, section]


def evaluation(
    folder: Path, rows: Sequence[dict], verdict: str, networks: Sequence[str]
) -> list[Path]:
    """Write the section of the scores: the verdict, ten lines, pictures, the rest folded; return the file.

    rows : of scores.csv, with numbers. networks : methods that are networks.
    """
    captions = {
        "skill.png": "Skill against climatology by lead time; a bar that reaches below 0 may be chance",
        "reliability.png": "How often snow came when it was forecast with a probability",
        "ranks.png": "Ranks of the truth in the forecasts: level is right, a bowl is too sure",
        "bands.png": "The network's bands one step ahead, and what came, at four pixels",
        "patches.png": "The best, the median and the worst patch",
    }
    parts: list[Picture] = []
    for name, caption in captions.items():
        if (folder / name).is_file():
            parts.append(Picture(folder / name, caption))
    told = (
        "Skill is 1 - CRPS / CRPS of climatology: 0 is no better, below 0 is worse. The region seen was trained on at "
        "other times, the region block never; all years: what needs no training, from the second year on. n_eff is "
        "how many independent dates there are; worst date is the share of the error that one date holds."
    )
    title = f"Scores: {folder.parent.name}"
    regions = dict.fromkeys(row["region"] for row in rows)
    folds = [Fold(f"Region {region}", region_table(rows, region)) for region in regions]
    lines = tables.table(rows, networks)
    content = [verdict, lines, told, *parts]
    content += folds
    return [pages.section(folder, title, *content)]


def region_table(rows: Sequence[dict], region: str) -> list[tuple]:
    """Return the scores of a region by lead time and season as a table with a head."""
    lines: list[tuple] = [("lead", "season", *tables.HEADS)]
    for row in rows:
        if row["region"] == region:
            lines.append((str(row["lead"]), row["season"], *tables.table_line(row)))
    return lines


def forecast(folder: Path) -> list[Path]:
    """Write the section that shows a run's forecast; return the file."""
    pictures = {
        "forecast.png": "The forecast: brown where it will be bare, blue-green where snow will lie, pale where nobody "
        "knows; its median; one map that could occur; and the same season a year before",
        "snow.png": "Snow-covered area, past and forecast",
        "forecast.gif": "The last steps and the medians of the forecast after them",
        "lastTest.png": "The last test window: the forecast beside what came",
    }
    parts = []
    for name, caption in pictures.items():
        if (folder / name).is_file():
            parts.append(Picture(folder / name, caption))
    if (folder / "flow.csv").is_file():
        flows = read_rows(folder / "flow.csv")
        lines = [tuple(flows[0])]
        lines += [tuple(row.values()) for row in flows]
        parts += [
            Picture(
                folder / "flow.png",
                "What seems to move between two steps, in truth and forecast: between "
                "seasons mostly the snow line, not the ice",
            ),
            Fold(
                "Motion in truth and forecast, and their difference [m]: optical flow since the step before, "
                "chips since the same season of an earlier year",
                lines,
            ),
        ]
    return [pages.section(folder, f"Forecast: {folder.parent.name}", *parts)]
