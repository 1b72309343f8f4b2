"""Pictures of forecasts: maps of several quantities side by side, one row a step, at the size of the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glacier.figures.maps import MISSING, WIDTH, add_scale, save

DOTS = 130  # a inch, of the file
BARE_TO_SNOW = (
    "BrBG"  # brown where it is bare, white where nobody knows, blue-green where it is snow
)


@dataclass(frozen=True)
class Column:
    """One quantity of a table of maps: images (H, W), NaN where missing, or (3, H, W); None leaves a place empty.

    label : quantity and unit, at the colour bar. titles : of each image.
    """

    label: str
    images: Sequence[np.ndarray | None]
    titles: Sequence[str]
    colours: str = "cividis"
    limits: tuple[float, float] = (0.0, 1.0)


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
    """Write a PNG of maps, a column a quantity with its own colours, a row a step; return its path. pixel_size [m]."""
    from matplotlib.figure import Figure

    rows = len(columns[0].images)
    example = next(image for image in columns[0].images if image is not None)
    height, width = example.shape[-2:]
    side = WIDTH / len(columns)
    tall = rows * (side * height / width + 0.3) + 0.75
    figure = Figure(figsize=(WIDTH, tall), layout="constrained")
    axes = figure.subplots(rows, len(columns), squeeze=False)
    for number, column in enumerate(columns):
        drawn = draw_column(axes[:, number], column, round(side * DOTS))
        if drawn is not None:
            bar = figure.colorbar(
                drawn, ax=list(axes[:, number]), location="bottom", fraction=0.12 / tall, aspect=15
            )
            bar.set_label(column.label, fontsize=8)
            bar.ax.tick_params(labelsize=7)
    add_scale(axes[0, 0], width, pixel_size)
    return save(figure, path)


def draw_column(axes: Sequence, column: Column, longest: int):
    """Draw the maps of a column on its axes, at most `longest` px a side; return what a colour bar needs, or None."""
    drawn = None
    for axis, image, title in zip(axes, column.images, column.titles, strict=True):
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_title(title, fontsize=8)
        axis.set_facecolor(MISSING)
        if image is None:
            axis.set_axis_off()
            continue
        extent = (-0.5, image.shape[-1] - 0.5, image.shape[-2] - 0.5, -0.5)
        thin = screen_size(image, longest)
        if thin.ndim == 3:
            light = np.nan_to_num(np.moveaxis(thin, 0, -1)).clip(0, 1)
            axis.imshow(light, interpolation="nearest", extent=extent)
            continue
        low, high = column.limits
        drawn = axis.imshow(
            thin,
            vmin=low,
            vmax=high,
            cmap=column.colours,
            interpolation="nearest",
            extent=extent,
        )
    return drawn
