"""What a run, its scores and its forecast show in the glacier's report: datasets/NAME/report.html."""

from __future__ import annotations

import csv
from pathlib import Path

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


def evaluation(folder: Path) -> list[Path]:
    """Draw skill over lead time from scores.csv, write the section with its table; return the files."""
    rows = [row for row in read_rows(folder / "scores.csv") if row.get("season", "all") == "all"]
    files, pictures = [], []
    for region in dict.fromkeys(row["region"] for row in rows):
        lines: dict[str, list[float]] = {}
        for row in rows:
            if row["region"] == region and row["lead"] != "all":
                lines.setdefault(row["method"], []).append(float(row["skill_vs_climatology"]))
        leads = range(1, len(next(iter(lines.values()))) + 1)
        files.append(
            charts.curves(
                folder / "quicklooks" / f"skill_{region}.png",
                leads,
                lines,
                "lead time [steps]",
                "skill against climatology [1]",
                limits=(-1, 1),
            )
        )
        pictures.append(
            Picture(files[-1], f"Skill in the region {region}; what is below -1 is not drawn")
        )
    told = (
        "Skill is 1 - MSE / MSE of the baseline: 0 is no better than the baseline, below 0 is worse. The region "
        "seen was trained on at other times, the region block never."
    )
    overall, single = (
        [row for row in rows if (row["lead"] == "all") == mean] for mean in (True, False)
    )
    return [
        *files,
        pages.section(
            folder,
            f"Scores: {folder.parent.name}",
            told,
            table(overall),
            *pictures,
            Fold("Scores of each lead time", table(single)),
        ),
    ]


def table(rows: list[dict[str, str]]) -> list[tuple]:
    """Return rows of scores as a table with a head; skill against climatology with its interval, if there is one."""
    names = ("region", "lead", "method", "skill_vs_climatology", "mse", "mae", "ssim")
    lines = [tuple(name.replace("_", " ") for name in names)]
    for row in rows:
        cells = {name: shorten(row[name]) for name in names}
        interval = [
            row[f"{names[3]}_{end}"] for end in ("low", "high") if f"{names[3]}_{end}" in row
        ]
        if interval:
            text = (
                f"{float(row[names[3]]):.2f} [{', '.join(f'{float(end):.2f}' for end in interval)}]"
            )
            cells[names[3]] = text.replace(" ", "\N{NO-BREAK SPACE}").replace("-", "\N{MINUS SIGN}")
        lines.append(tuple(cells.values()))
    return lines


def shorten(cell: str) -> str:
    """Return a number of a CSV file with four digits after the point, other text as it is."""
    try:
        return f"{float(cell):.4f}" if "." in cell else cell
    except ValueError:
        return cell


def forecast(folder: Path) -> list[Path]:
    """Write the section that shows a run's forecast; return the file."""
    shown = [
        Picture(folder / "forecast.gif", "The last steps and the forecast after them"),
        Picture(folder / "forecast.png", "The same, step by step"),
        Picture(folder / "lastTest.png", "The last test window: each forecast beside what came"),
    ]
    parts = [part for part in shown if part.path.is_file()]
    if (folder / "flow.csv").is_file():
        flows = read_rows(folder / "flow.csv")
        parts += [
            Picture(
                folder / "flow.png",
                "What seems to move between two steps, in truth and forecast: between "
                "seasons mostly the snow line, not the ice",
            ),
            Fold(
                "Motion in truth and forecast, and their difference [m]: optical flow since the step before, "
                "chips since the same season of an earlier year",
                [tuple(flows[0]), *(tuple(row.values()) for row in flows)],
            ),
        ]
    return [pages.section(folder, f"Forecast: {folder.parent.name}", *parts)]
