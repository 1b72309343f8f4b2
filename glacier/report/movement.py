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
from glacier.velocity.sampling import blur
from glacier.velocity.series import NINETY_PERCENT, speed_error
from glacier.velocity.summary import Results
from glacier.velocity.velocities import SPACING, Field, Nodes

CANDIDATES = 10  # scenes of which the clearest is drawn
DETAIL = 3.0  # px, Gaussian neighbourhood in which contrast is measured


def draw(
    folder: Path,
    images: np.ndarray,
    days: Sequence[date],
    results: Results,
    nodes: Nodes,
    band: str,
) -> list[Path]:
    """Draw speed and error, arrows over the clearest scene, the flow line and the series; return the files."""
    field = results.drawn
    speed, error = np.hypot(*field.velocity), np.hypot(*field.error)
    files = draw_points(folder / "points.png", results.point_rows)
    if not np.isfinite(speed).any():
        return files
    pixel = abs(nodes.grid.transform[0])
    moving = velocities.certain(field)
    one_year = days[0].year == days[-1].year
    years = [f"{days[0]} to {days[-1]}" if one_year else f"{days[0].year}-{days[-1].year}"]
    top = max(float(np.nanpercentile(speed, 99.5)), 1.0)
    files += [
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
    ]
    texture = scene_texture(results.records, len(days))
    clearest = clearest_scene(images, texture, moving, nodes)
    files.append(
        maps.arrows(
            folder / "arrows.png",
            [images[clearest]],
            [np.where(moving, field.velocity, np.nan)],
            nodes.rows,
            nodes.columns,
            [f"velocity over {band} of {days[clearest]}"],
            "velocity [m/yr]",
            pixel,
        )
    )
    if moving.any():
        files.append(animate(folder / "glacier.gif", images, days, texture, moving, nodes, band))
    if results.line is not None:
        files.append(draw_flow_line(folder / "flowline.png", field, results.line, pixel))
    return files


def scene_texture(records: Sequence[dict], count: int) -> np.ndarray:
    """Return how much of each scene could be followed in its pairs, (count,): what shows texture, not what is unmasked.

    Cloud and winter snow may hide without a mask, but nothing matches them. The best pair of a scene counts.
    """
    texture = np.zeros(count)
    for record in records:
        if record["refused"] or record["correlation"] is None:
            continue
        followed = record["found"] * record["correlation"]
        for scene in (record["first"], record["second"]):
            texture[scene] = max(texture[scene], followed)
    return texture


def clearest_scene(
    images: np.ndarray, texture: np.ndarray, moving: np.ndarray, nodes: Nodes
) -> int:
    """Return the scene that shows most of the ice's surface: of those that were followed best, by contrast on the ice.

    moving : bool (h, w). Low winter sun makes shadows that match well beside ice that is blank with snow.
    """
    best = np.argsort(-texture, kind="stable")[:CANDIDATES]
    place = moving if moving.any() else np.ones_like(moving)
    contrast = []
    for scene in best:
        image = np.asarray(images[scene])
        seen = np.isfinite(image).astype(np.float32)
        weight = np.maximum(blur(seen, DETAIL), 1e-6)
        mean = blur(np.nan_to_num(image), DETAIL) / weight
        squares = blur(np.nan_to_num(image) ** 2, DETAIL) / weight
        deviation = np.sqrt(np.maximum(squares - mean**2, 0)) / np.maximum(np.abs(mean), 1e-3)
        contrast.append(np.median(nodes.of(np.where(seen > 0, deviation, 0))[place]))
    return int(best[int(np.argmax(contrast))])


def draw_flow_line(path: Path, field: Field, line: np.ndarray, pixel_size: float) -> Path:
    """Draw the speed along a flow line (N, 2) of nodes, with its 90 % interval; return the file."""
    row, column = np.rint(line).astype(int).T
    steps = np.hypot(*np.diff(line, axis=0).T) * SPACING * pixel_size / 1000  # km
    distance = np.concatenate([[0], np.cumsum(steps)])
    speed = np.hypot(*field.velocity)[row, column]
    margin = NINETY_PERCENT * speed_error(field)[row, column]
    return charts.banded(
        path,
        distance,
        speed,
        (np.maximum(speed - margin, 0), speed + margin),
        "distance down the flow line [km]",
        "speed [m/yr], 90 % interval",
    )


def draw_points(path: Path, rows: Sequence[dict]) -> list[Path]:
    """Draw the speed at points over time, with its 90 % intervals; return the file, none without rows."""
    if not rows:
        return []
    curves: dict[str, list[dict]] = {}
    for row in rows:
        curves.setdefault(f"point {row['point']}", []).append(row)
    return [charts.intervals(path, curves, "speed [m/yr], 90 % interval")]


def animate(
    path: Path,
    images: np.ndarray,
    days: Sequence[date],
    texture: np.ndarray,
    moving: np.ndarray,
    nodes: Nodes,
    band: str,
) -> Path:
    """Draw the clearest scene of each year, of one season, where the ice moves, as a GIF; return the file."""
    best_day = days[int(np.argmax(texture))].timetuple().tm_yday
    off_season = [abs((day.timetuple().tm_yday - best_day + 183) % 366 - 183) for day in days]
    scenes = []
    for year in sorted({day.year for day in days}):
        of_year = [scene for scene, day in enumerate(days) if day.year == year]
        clearest = max(of_year, key=lambda scene: texture[scene] - off_season[scene] / 60)
        if off_season[clearest] < 60:
            scenes.append(clearest)
    rows = nodes.rows[np.flatnonzero(moving.any(axis=1))]
    columns = nodes.columns[np.flatnonzero(moving.any(axis=0))]
    part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    crops = [images[scene][part] for scene in scenes]
    limits = np.nanpercentile(crops, (2, 98))
    return maps.animation(
        path,
        crops,
        [str(days[scene]) for scene in scenes],
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
        "points": "Speed at points over time: each bar is a period, with its 90 % interval",
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
