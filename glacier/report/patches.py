"""What the patches and their split show in the report."""

from __future__ import annotations

from pathlib import Path

from config import Config
from glacier.figures import charts, maps
from glacier.patches.split import PARTS, Split
from glacier.patches.windows import Series
from glacier.report import pages


def draw(
    cfg: Config, folder: Path, series: Series, split: Split, proof: dict[str, int]
) -> list[Path]:
    """Draw the last training window, the kept-out block and who reads which step, for the report; return the files."""
    start, length = split.parts.count("train") - 1, cfg.sequenceLength + cfg.horizon
    images = [step[0] if len(step) == 1 else step for step in series.values[start : start + length]]
    roles = ["input"] * cfg.sequenceLength + ["target"] * cfg.horizon
    titles = [f"{date} {role}" for date, role in zip(series.dates[start:], roles, strict=False)]
    bars = [
        (start, cfg.sequenceLength, cfg.horizon, part) for start, part in enumerate(split.parts)
    ]
    label = "NDSI [1]" if len(series.channels) == 1 else "reflectance [1]"
    window = maps.map_row(
        folder / "quicklooks" / "window.png", images, titles, label, pixel_size=series.transform[0]
    )
    steps = charts.windows(folder / "quicklooks" / "split.png", bars, series.dates)
    section = pages.section(
        folder,
        "Patches and split",
        [("part", "windows"), *((part, split.parts.count(part)) for part in PARTS)],
        [
            ("pixels x steps", "number"),
            *((name.replace("_", " "), number) for name, number in proof.items()),
        ],
        pages.Picture(
            steps,
            "Which steps each window reads: no training window reads a step that is a target of "
            "validation or test",
        ),
        pages.Picture(
            window, "The last training window: what a network is given, and what it must forecast"
        ),
    )
    return [window, steps, section]
