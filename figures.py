"""Pictures of arrays: rows of maps, animations, curves. Knows no stage.

Colours are cividis and its kin: fit for colour-blind readers and for print. Missing pixels are light grey.
"""
from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from store import writing

MISSING = "0.85"


def map_row(path: Path, images: Sequence[np.ndarray], titles: Sequence[str], label: str,
            limits: tuple[float, float] = (0.0, 1.0), colours: str = "cividis", columns: int = 6) -> Path:
    """Write a PNG of maps side by side under one colour scale; return its path.

    images : each (H, W), NaN where missing, or (3, H, W) for red, green, blue in [0, 1]. label : quantity and unit.
    """
    figure, _ = draw_maps(images, titles, label, limits, colours, columns)
    return save(figure, path)


def draw_maps(images, titles, label, limits, colours, columns):
    """Return a matplotlib figure of maps under one colour scale, and its axes."""
    from matplotlib.figure import Figure

    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    height, width = images[0].shape[-2:]
    side = 3.0 if len(images) > 1 else 5.0
    figure = Figure(figsize=(columns * side + 0.9, rows * (side * height / width + 0.35)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    shown = None
    for axis, image, title in zip(axes, images, titles, strict=False):
        axis.set_facecolor(MISSING)
        if image.ndim == 3:
            axis.imshow(np.nan_to_num(np.moveaxis(image, 0, -1)).clip(0, 1), interpolation="nearest")
        else:
            shown = axis.imshow(image, vmin=limits[0], vmax=limits[1], cmap=colours, interpolation="nearest")
        axis.set_title(title, fontsize=9)
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
    for axis in axes[len(images):]:
        axis.remove()
    if shown is not None:
        figure.colorbar(shown, ax=list(axes[:len(images)]), label=label, shrink=0.8)
    return figure, axes


def curves(path: Path, x: Sequence, lines: dict[str, Sequence[float]], x_label: str, y_label: str) -> Path:
    """Write a PNG of named curves over a common axis; return its path."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    for style, (name, values) in zip(("-", "--", "-.", ":") * len(lines), lines.items(), strict=False):
        axis.plot(x, values, style, marker=".", label=name)
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
    axis.grid(alpha=0.3)
    axis.legend()
    return save(figure, path)


def animation(path: Path, images: Sequence[np.ndarray], titles: Sequence[str], label: str,
              limits: tuple[float, float] = (0.0, 1.0), colours: str = "cividis", seconds: float = 0.7) -> Path:
    """Write a GIF that shows the maps one after another, each with its title; return its path. Shapes as in map_row."""
    from PIL import Image

    frames = []
    for image, title in zip(images, titles, strict=True):
        buffer = io.BytesIO()
        draw_maps([image], [title], label, limits, colours, 1)[0].savefig(buffer, dpi=80)
        frames.append(Image.open(buffer).convert("P", palette=Image.Palette.ADAPTIVE, colors=64))
    with writing(path) as file:
        frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=int(seconds * 1000), loop=0)
    return path


def save(figure, path: Path) -> Path:
    """Write a matplotlib figure as PNG; return its path."""
    with writing(path) as file:
        figure.savefig(file, format="png", dpi=100)
    return path


def windows(path: Path, bars: Sequence[tuple[int, int, int, str]], dates: Sequence[str]) -> Path:
    """Write a PNG of time windows, one row each: (first step, input steps, target steps, part). Return its path."""
    from matplotlib.figure import Figure

    colours = {"train": "#31688e", "validation": "#d8a800", "test": "#b2182b", "gap": "0.8"}
    figure = Figure(figsize=(8, 1.2 + 0.12 * len(bars)), layout="constrained")
    axis = figure.subplots()
    for row, (start, inputs, targets, part) in enumerate(bars):
        axis.barh(row, inputs, left=start, height=0.7, color=colours[part], alpha=0.35)
        axis.barh(row, targets, left=start + inputs, height=0.7, color=colours[part])
    for part, colour in colours.items():
        axis.barh(0, 0, color=colour, label=f"{part}: {sum(bar[3] == part for bar in bars)} windows")
    axis.invert_yaxis()
    axis.set_yticks([])
    ticks = range(0, len(dates), max(1, len(dates) // 8))
    axis.set_xticks(list(ticks), [dates[tick] for tick in ticks], rotation=30, ha="right", fontsize=8)
    axis.set_title("Windows: inputs pale, targets full", fontsize=10)
    axis.legend(fontsize=8)
    return save(figure, path)
