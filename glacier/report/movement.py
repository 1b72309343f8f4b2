"""What the velocities show in the report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np

from glacier.figures import charts, maps
from glacier.report import pages
from glacier.storage import runner
from glacier.velocity import velocities
from glacier.velocity.velocities import SPACING, Field, Nodes


def draw(
    folder: Path, images: np.ndarray, days: Sequence[date], field: Field, nodes: Nodes, band: str
) -> list[Path]:
    """Draw speed and error, arrows over the clearest late scene, the flow line and the series; return the files."""
    pixel = abs(nodes.grid.transform[0])
    speed, error = np.hypot(*field.velocity), np.hypot(*field.error)
    if not np.isfinite(speed).any():
        return []
    clear = [float(np.isfinite(image).mean()) for image in images]
    top = max(float(np.nanpercentile(speed, 99.5)), 1.0)
    moving = field.velocity.copy()
    moving[:, ~velocities.certain(field)] = np.nan
    years = [f"{days[0].year}-{days[-1].year}"]
    files = [
        maps.map_row(
            folder / "speed.png",
            [speed],
            years,
            "speed [m/yr]",
            (0, top),
            "viridis",
            pixel_size=pixel * SPACING,
        ),
        maps.map_row(
            folder / "error.png",
            [error],
            years,
            "standard error [m/yr]",
            (0, float(np.nanpercentile(error, 98))),
            "magma",
            pixel_size=pixel * SPACING,
        ),
        maps.arrows(
            folder / "arrows.png",
            [images[int(np.argmax(clear))]],
            [moving],
            nodes.rows,
            nodes.columns,
            [f"velocity over {band} of {days[int(np.argmax(clear))]}"],
            "velocity [m/yr]",
            pixel,
        ),
    ]
    if np.isfinite(moving).any():
        files += [
            draw_flow_line(folder / "flowline.png", field, np.isfinite(moving[0]), pixel),
            animate(
                folder / "glacier.gif", images, days, clear, np.isfinite(moving[0]), nodes, band
            ),
        ]
    return files


def draw_flow_line(path: Path, field: Field, moving: np.ndarray, pixel_size: float) -> Path:
    """Draw the speed along the flow line through the fastest ice, with its 90 % interval; return the file."""
    speed = np.hypot(*field.velocity)
    fastest = np.unravel_index(np.nanargmax(np.where(moving, speed, np.nan)), speed.shape)
    line = velocities.trace(field.velocity, fastest)
    row, column = np.rint(line).astype(int).T
    along = (
        np.concatenate([[0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
        * SPACING
        * pixel_size
        / 1000
    )
    margin = 1.645 * np.sum(np.abs(field.velocity) * field.error, axis=0) / np.maximum(speed, 1e-6)
    curves = {"speed": speed, "5 %": speed - margin, "95 %": speed + margin}
    return charts.curves(
        path,
        along,
        {name: curve[row, column] for name, curve in curves.items()},
        "distance down the flow line [km]",
        "speed [m/yr]",
    )


def animate(
    path: Path,
    images: np.ndarray,
    days: Sequence[date],
    clear: Sequence[float],
    moving: np.ndarray,
    nodes: Nodes,
    band: str,
) -> Path:
    """Draw the clearest scene of each year, of one season, where the ice moves, as a GIF; return the file."""
    best = days[int(np.argmax(clear))].timetuple().tm_yday
    off = [abs((day.timetuple().tm_yday - best + 183) % 366 - 183) for day in days]
    chosen = [
        max(
            (i for i, day in enumerate(days) if day.year == year),
            key=lambda i: clear[i] - off[i] / 60,
        )
        for year in sorted({day.year for day in days})
    ]
    rows, columns = (
        places[np.flatnonzero(moving.any(axis=axis))[[0, -1]]]
        for axis, places in ((1, nodes.rows), (0, nodes.columns))
    )
    crops = [
        images[i][rows[0] : rows[1] + 1, columns[0] : columns[1] + 1] for i in chosen if off[i] < 60
    ]
    titles = [str(days[i]) for i in chosen if off[i] < 60]
    limits = np.nanpercentile(crops, (2, 98))
    return maps.animation(
        path,
        crops,
        titles,
        f"{band} [1]",
        tuple(limits),
        "gray",
        seconds=0.5,
        pixel_size=abs(nodes.grid.transform[0]),
    )


def describe(folder: Path, result: runner.Result) -> Path:
    """Write the report's section with the pictures that were drawn; return the file."""
    captions = {
        "arrows": "Velocity of the ice where it is larger than three standard errors",
        "speed": "Speed",
        "error": "Standard error of the velocity, from the scatter over pairs of scenes",
        "flowline": "Speed down the flow line through the fastest ice, with its 90 % interval",
        "glacier": "The moving ice, one scene a year",
        "itslive": "Speed against that of ITS_LIVE",
    }
    pictures = {path.stem: path for path in result.files if path.parent.name == "quicklooks"}
    shown = [
        pages.Picture(pictures[name], caption)
        for name, caption in captions.items()
        if name in pictures
    ]
    return pages.section(folder, "Movement", [("what", "number"), *result.table], *shown)
