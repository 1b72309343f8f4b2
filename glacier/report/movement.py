"""What the velocities show in the report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from glacier.figures import animations, charts, looks, maps
from glacier.grid import Grid
from glacier.report import pages
from glacier.storage import runner
from glacier.velocity import velocities
from glacier.velocity.sampling import blur, sample
from glacier.velocity.series import NINETY_PERCENT, speed_error
from glacier.velocity.summary import Results
from glacier.velocity.velocities import SPACING, Field, Nodes

CANDIDATES = 10  # scenes of which the clearest is drawn
DETAIL = 3.0  # px, Gaussian neighbourhood in which contrast is measured
SEASON = 60  # days that scenes of one season are apart, at most
WHOLE = 0.9  # of the moving ice that a frame of the animation shows, at least


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
    most = float(np.nanpercentile(error, 98))
    style: dict[str, Any] = {"titles": years, "pixel_size": pixel * SPACING}
    speed_style = style | {"limits": (0, top), "colours": looks.SPEED.colours}
    error_style = style | {"limits": (0, most), "colours": "magma"}
    files.append(
        maps.map_row(folder / "speed.png", [speed], label=looks.SPEED.label, **speed_style)
    )
    label = "standard error [m/yr]"
    files.append(maps.map_row(folder / "error.png", [error], label=label, **error_style))
    texture = scene_texture(results.records, len(days))
    clearest = clearest_scene(images, texture, moving, nodes)
    title = f"ice velocity over {band} of {days[clearest]}"
    certain_velocity = np.where(moving, field.velocity, np.nan)
    places = nodes.rows, nodes.columns
    layers = [images[clearest]], [certain_velocity], *places, [title]
    arrows = maps.arrows(folder / "arrows.png", *layers, "velocity [m/yr]", pixel)
    files.append(arrows)
    if moving.any():
        part = moving_part(moving, nodes)
        scenes = scene_a_year(images, days, texture, part, clearest)
        if len(scenes) > 1:
            gif = folder / "glacier.gif"
            files.append(animate(gif, images, days, scenes, part, nodes.grid, band))
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
        variance = np.maximum(squares - mean**2, 0)
        deviation = np.sqrt(variance) / np.maximum(np.abs(mean), 1e-3)
        at_nodes = nodes.of(np.where(seen > 0, deviation, 0))
        contrast.append(np.median(at_nodes[place]))
    return int(best[int(np.argmax(contrast))])


def along(layer: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Return a layer (h, w) at places (N, 2) of row and column, (N,): between nodes, or at the nearest known one."""
    row, column = line.T
    between = sample(layer, np.array([column, row])[:, None], cv2.INTER_LINEAR)[0]
    nearest = layer[np.rint(row).astype(int), np.rint(column).astype(int)]
    return np.where(np.isfinite(between), between, nearest)


def draw_flow_line(path: Path, field: Field, line: np.ndarray, pixel_size: float) -> Path:
    """Draw the speed along a flow line (N, 2) of nodes, with its 90 % interval; return the file."""
    steps = np.hypot(*np.diff(line, axis=0).T) * SPACING * pixel_size / 1000  # km
    distance = np.concatenate([[0], np.cumsum(steps)])
    speed = along(np.hypot(*field.velocity), line)
    margin = NINETY_PERCENT * along(speed_error(field), line)
    interval = np.maximum(speed - margin, 0), speed + margin
    labels = "distance down the flow line [km]", "speed [m/yr], 90 % interval"
    return charts.banded(path, distance, speed, interval, *labels)


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
    scenes: Sequence[int],
    part: tuple[slice, slice],
    grid: Grid,
    band: str,
) -> Path:
    """Draw a part of some scenes one after another, as a GIF; return the file."""
    crops = [np.asarray(images[scene][part]) for scene in scenes]
    low, high = np.nanpercentile(np.stack(crops), (2, 98))
    return animations.animation(
        path,
        crops,
        [str(days[scene]) for scene in scenes],
        f"{band} [1]",
        (float(low), float(high)),
        "gray",
        seconds=0.5,
        pixel_size=abs(grid.transform[0]),
    )


def moving_part(moving: np.ndarray, nodes: Nodes) -> tuple[slice, slice]:
    """Return the rows and columns of the image that hold all moving nodes, bool (h, w)."""
    rows = nodes.rows[np.flatnonzero(moving.any(axis=1))]
    columns = nodes.columns[np.flatnonzero(moving.any(axis=0))]
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def scene_a_year(
    images: np.ndarray,
    days: Sequence[date],
    texture: np.ndarray,
    part: tuple[slice, slice],
    clearest: int,
) -> list[int]:
    """Return a scene of each year, of the season of the clearest: those that show nearly all of a part of the image.

    A year without such a scene is left out. texture : of `scene_texture`.
    """
    days_off = [season_gap(day, days[clearest]) for day in days]
    best: dict[int, int] = {}
    for scene, day in enumerate(days):
        if days_off[scene] > SEASON or np.isfinite(images[scene][part]).mean() < WHOLE:
            continue
        worth = texture[scene] - days_off[scene] / SEASON
        before = best.get(day.year)
        if before is None or worth > texture[before] - days_off[before] / SEASON:
            best[day.year] = scene
    return [best[year] for year in sorted(best)]


def season_gap(first: date, second: date) -> int:
    """Return how many days of the year lie between two days, whatever their years."""
    gap = first.timetuple().tm_yday - second.timetuple().tm_yday
    return abs((gap + 183) % 366 - 183)


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
    drawn = []
    for name, caption in captions.items():
        if name in pictures:
            drawn.append(pages.Picture(pictures[name], caption))
    return pages.section(folder, "Movement", [("what", "number"), *result.table], *drawn)
