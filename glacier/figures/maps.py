"""Maps of arrays as PNG and GIF files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from glacier.storage.disk import writing

MISSING = "0.85"
WIDTH = 5.9  # of a picture [inches]: the page of a report, and still to be read on a phone


def map_row(
    path: Path,
    images: Sequence[np.ndarray],
    titles: Sequence[str],
    label: str,
    limits: tuple[float, float] = (0.0, 1.0),
    colours: str = "cividis",
    columns: int = 2,
    pixel_size: float | None = None,
) -> Path:
    """Write a PNG of maps side by side under one colour scale; return its path.

    images : each (H, W), NaN where missing, or (3, H, W) for red, green, blue in [0, 1]. label : quantity and unit.
    pixel_size : m; if given, the first map gets a scale bar and an arrow to the north, which is up.
    """
    figure, axes = draw_maps(images, titles, label, limits, colours, columns)
    if pixel_size:
        add_scale(axes[0], images[0].shape[-1], pixel_size)
    return save(figure, path)


def add_scale(axis, width: int, pixel_size: float) -> None:
    """Draw a scale bar of a round length and an arrow to the north on a map `width` px wide; pixel_size in m."""
    from matplotlib.patheffects import withStroke

    outline = [withStroke(linewidth=3, foreground="white")]
    longest = 0.35 * width * pixel_size
    length = max(
        step * 10.0**power
        for power in range(-1, 7)
        for step in (1, 2, 5)
        if step * 10.0**power <= longest
    )
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    share = length / (width * pixel_size)
    axis.plot(
        [0.05, 0.05 + share],
        [0.04, 0.04],
        "k-",
        linewidth=3,
        transform=axis.transAxes,
        path_effects=[withStroke(linewidth=6, foreground="white")],
    )
    axis.text(
        0.05 + share / 2,
        0.06,
        text,
        ha="center",
        va="bottom",
        fontsize=8,
        transform=axis.transAxes,
        path_effects=outline,
    )
    north = axis.annotate(
        "N",
        xy=(0.95, 0.97),
        xytext=(0.95, 0.84),
        ha="center",
        va="center",
        fontsize=9,
        xycoords="axes fraction",
        textcoords="axes fraction",
        path_effects=outline,
        arrowprops={"arrowstyle": "-|>", "color": "black"},
    )
    north.arrow_patch.set_path_effects(outline)


def arrows(
    path: Path,
    images: Sequence[np.ndarray],
    fields: Sequence[np.ndarray],
    rows: np.ndarray,
    columns: np.ndarray,
    titles: Sequence[str],
    label: str,
    pixel_size: float,
) -> Path:
    """Write a PNG of grey images with arrows over them, coloured by their length under one scale; return its path.

    images : each (H, W), NaN where missing. fields : each (2, h, w), to the right and up, at the pixels `rows` (h,) and
    `columns` (w,), NaN where there is no arrow. label : quantity and unit. pixel_size : m.
    """
    from matplotlib.figure import Figure

    height, width = images[0].shape
    figure = Figure(figsize=(WIDTH, WIDTH / len(images) * height / width + 1), layout="constrained")
    axes = figure.subplots(1, len(images), squeeze=False)[0]
    lengths = np.concatenate([np.hypot(*field).ravel() for field in fields])
    longest = max(float(np.nanpercentile(lengths, 99)) if np.isfinite(lengths).any() else 0.0, 1e-6)
    every = max(1, -(-max(len(rows), len(columns)) // 32))
    reach = 2.2 * every * (columns[1] - columns[0])  # px, of the longest arrow
    for axis, image, field, title in zip(axes, images, fields, titles, strict=True):
        low, high = np.nanpercentile(image, (2, 98)) if np.isfinite(image).any() else (0, 1)
        axis.set_facecolor(MISSING)
        axis.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest", alpha=0.8)
        right, up = (part[::every, ::every] for part in field)
        drawn = axis.quiver(
            columns[::every],
            rows[::every],
            right,
            up,
            np.hypot(right, up),
            cmap="plasma",
            clim=(0, longest),
            angles="uv",
            scale_units="xy",
            scale=longest / reach,
            width=0.004,
        )
        add_scale(axis, width, pixel_size)
        axis.set_title(title, fontsize=11)
        axis.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    figure.colorbar(drawn, ax=list(axes), label=label, location="bottom", fraction=0.05, aspect=40)
    return save(figure, path)


def draw_maps(images, titles, label, limits, colours, columns):
    """Return a matplotlib figure of maps under one colour scale, and its axes."""
    from matplotlib.figure import Figure

    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    height, width = images[0].shape[-2:]
    tall = rows * (WIDTH / columns * height / width + 0.35) + (0.0 if images[0].ndim == 3 else 0.8)
    figure = Figure(figsize=(WIDTH, tall), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    shown = None
    for axis, image, title in zip(axes, images, titles, strict=False):
        axis.set_facecolor(MISSING)
        if image.ndim == 3:
            axis.imshow(
                np.nan_to_num(np.moveaxis(image, 0, -1)).clip(0, 1), interpolation="nearest"
            )
        else:
            shown = axis.imshow(
                image, vmin=limits[0], vmax=limits[1], cmap=colours, interpolation="nearest"
            )
        axis.set_title(title, fontsize=11)
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
    for axis in axes[len(images) :]:
        axis.remove()
    if shown is not None:
        figure.colorbar(
            shown,
            ax=list(axes[: len(images)]),
            label=label,
            location="bottom",
            fraction=0.15 / tall,
            pad=0.1 / tall,
            aspect=40,
        )
    return figure, axes


def animation(
    path: Path,
    images: Sequence[np.ndarray],
    titles: Sequence[str],
    label: str,
    limits: tuple[float, float] = (0.0, 1.0),
    colours: str = "cividis",
    seconds: float = 0.7,
    pixel_size: float | None = None,
) -> Path:
    """Write a GIF that shows the maps one after another, each with its title; return its path. Shapes as in map_row."""
    from PIL import Image

    frames = []
    for image, title in zip(images, titles, strict=True):
        buffer = io.BytesIO()
        figure, axes = draw_maps([image], [title], label, limits, colours, 1)
        if pixel_size:
            add_scale(axes[0], image.shape[-1], pixel_size)
        figure.savefig(buffer, dpi=90)
        frames.append(
            Image.open(buffer)
            .convert("RGB")
            .convert("P", palette=Image.Palette.ADAPTIVE, colors=32)
        )
    with writing(path) as file:
        frames[0].save(
            file,
            "GIF",
            save_all=True,
            append_images=frames[1:],
            duration=int(seconds * 1000),
            loop=0,
        )
    return path


def save(figure, path: Path) -> Path:
    """Write a matplotlib figure as PNG of 256 colours, which halves the file; return its path."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, bbox_inches="tight")  # so that no text is cut
    with writing(path) as file:
        Image.open(buffer).convert("RGB").quantize(256).save(file, "PNG")
    return path
