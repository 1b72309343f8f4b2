"""Pictures of forecasts: maps of several quantities side by side, one row a step, at the size of the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glacier.figures.looks import INDEX
from glacier.figures.maps import DOTS, WIDTH, add_scale, paint, prepare, save


@dataclass(frozen=True)
class Column:
    """One quantity of a table of maps: images (H, W), NaN where missing, or (3, H, W); None leaves a place empty.

    label : quantity and unit, at the colour bar. titles : of each image. seen : bool (H, W) of each, what is not
    filled; None: all. empty : what a map without any value says.
    """

    label: str
    images: Sequence[np.ndarray | None]
    titles: Sequence[str]
    colours: str = INDEX.colours
    limits: tuple[float, float] = (0.0, 1.0)
    seen: Sequence[np.ndarray | None] | None = None
    empty: str = "not observed"


def screen_size(image: np.ndarray, longest: int) -> np.ndarray:
    """Return (..., H, W) thinned to at most `longest` px a side, block means without their NaN."""
    every = -(-max(image.shape[-2:]) // longest)
    if every <= 1:
        return image
    height, width = (side // every * every for side in image.shape[-2:])
    blocks = image[..., :height, :width].reshape(
        *image.shape[:-2], height // every, every, width // every, every
    )
    seen = np.isfinite(blocks)
    count = seen.sum(axis=(-3, -1))
    total = np.where(seen, blocks, 0).sum(axis=(-3, -1))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def map_table(path: Path, columns: Sequence[Column], pixel_size: float) -> Path:
    """Write a PNG of maps, a column a quantity with its own colours, a row a step; return its path. pixel_size [m].

    Neighbouring columns of the same quantity share their colour bar.
    """
    from matplotlib.figure import Figure

    rows = len(columns[0].images)
    images = [image for column in columns for image in column.images if image is not None]
    height, width = images[0].shape[-2:]
    side = WIDTH / len(columns)
    tall = rows * (side * height / width + 0.35) + 0.7
    figure = Figure(figsize=(WIDTH, tall), layout="constrained")
    axes = figure.subplots(rows, len(columns), squeeze=False)
    drawn = []
    for number, column in enumerate(columns):
        drawn.append(draw_column(axes[:, number], column, round(side * DOTS)))
    for first, after in alike(columns):
        scales = [scale for scale in drawn[first:after] if scale is not None]
        if scales:
            here = list(axes[:, first:after].ravel())
            add_bar(figure, scales[0], here, columns[first].label, after - first, tall)
    add_scale(axes[0, 0], width, pixel_size)
    return save(figure, path)


def alike(columns: Sequence[Column]) -> list[tuple[int, int]]:
    """Return the first column, and the one after the last, of each run of columns of the same quantity and colours."""
    borders = [0]
    for number in range(1, len(columns)):
        before = columns[number - 1]
        column = columns[number]
        if (before.label, before.colours) != (column.label, column.colours):
            borders.append(number)
    return list(zip(borders, [*borders[1:], len(columns)], strict=True))


def add_bar(figure, scale, axes: list, label: str, count: int, tall: float) -> None:
    """Draw the colour bar of `count` columns below their axes; tall : height of the figure [inches]."""
    thin = {"location": "bottom", "fraction": 0.12 / tall, "pad": 0.06 / tall}
    bar = figure.colorbar(scale, ax=axes, aspect=15 * count, **thin)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)


def draw_column(axes: Sequence | np.ndarray, column: Column, longest: int):
    """Draw the maps of a column on its axes, at most `longest` px a side; return what a colour bar needs, or None."""
    drawn = None
    for row, image in enumerate(column.images):
        axis = axes[row]
        prepare(axis, column.titles[row], 8)
        if image is None:
            axis.set_axis_off()
            continue
        extent = (-0.5, image.shape[-1] - 0.5, image.shape[-2] - 0.5, -0.5)
        mask = None
        if column.seen:
            mask = column.seen[row]
        if mask is None:
            share = None
        else:
            share = screen_size(mask.astype(np.float32), longest)
        thin = screen_size(image, longest)
        scale = paint(axis, thin, column.limits, column.colours, share, extent, column.empty)
        drawn = scale or drawn
    return drawn
