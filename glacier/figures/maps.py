"""Maps of arrays as PNG files. What was not observed is hatched, what was filled is pale."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from glacier.figures.looks import INDEX
from glacier.storage.disk import writing

WIDTH = 5.9  # of a picture [inches]: the page of a report, and still to be read on a phone
DOTS = 130  # an inch, of a PNG
MISSING, HATCH = "0.95", "0.6"  # ground and lines where nothing is known
PALE = 0.65  # how much white lies over what was filled


def map_row(
    path: Path,
    images: Sequence[np.ndarray],
    titles: Sequence[str],
    label: str,
    limits: tuple[float, float] = (0.0, 1.0),
    colours: str = INDEX.colours,
    columns: int = 2,
    pixel_size: float | None = None,
    seen: Sequence[np.ndarray | None] | None = None,
    empty: str = "not observed",
) -> Path:
    """Write a PNG of maps side by side under one colour scale; return its path.

    images : each (H, W), NaN where missing, or (3, H, W) for red, green, blue in [0, 1]. label : quantity and unit.
    pixel_size : m; if given, the first map gets a scale bar and an arrow to the north, which is up.
    seen : each bool (H, W), what was observed: the rest is pale. empty : what a map without any value says.
    """
    figure, axes = draw_maps(images, titles, label, limits, colours, columns, seen, empty)
    if pixel_size:
        add_scale(axes[0], images[0].shape[-1], pixel_size)
    return save(figure, path)


# ── One map ──────────────────────────────────────────────────────────────────────────────────────────────────────


def prepare(axis, title: str, fontsize: float = 11, pad: float = 5) -> None:
    """Make axes ready for a map: a title, no ticks, and hatching wherever the map will hold no value."""
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=fontsize, pad=pad)
    axis.patch.set(facecolor=MISSING, edgecolor=HATCH, hatch="/////", linewidth=0)


def paint(
    axis,
    image: np.ndarray,
    limits: tuple[float, float] = (0.0, 1.0),
    colours: str = INDEX.colours,
    seen: np.ndarray | None = None,
    extent: tuple[float, float, float, float] | None = None,
    empty: str = "not observed",
):
    """Draw a map on prepared axes; return what a colour bar needs, None for red, green, blue.

    image : (H, W) or (3, H, W), hatched where NaN. seen : bool or the seen share (H, W); the rest is pale.
    """
    options = {"interpolation": "nearest", "extent": extent}
    finite = np.isfinite(image)
    if image.ndim == 3:
        finite = finite.all(axis=0)
    if image.ndim == 2:
        low, high = limits
        drawn = axis.imshow(image, vmin=low, vmax=high, cmap=colours, **options)
    else:
        light = np.moveaxis(np.nan_to_num(image), 0, -1).clip(0, 1)
        axis.imshow(np.dstack([light, finite]), **options)
        drawn = None
    if seen is not None:
        axis.imshow(veil(seen, finite), **options)
    if not finite.any():
        say(axis, empty)
    return drawn


def veil(seen: np.ndarray, finite: np.ndarray) -> np.ndarray:
    """Return the white that makes what was filled pale, (H, W, 4). seen : share in [0, 1]. finite : bool."""
    white = np.ones((*seen.shape, 4), np.float32)
    white[..., 3] = PALE * (1 - seen.astype(np.float32)) * finite
    return white


def say(axis, words: str) -> None:
    """Write words into the middle of a map that holds nothing."""
    box = {"facecolor": "white", "edgecolor": "none", "pad": 2}
    middle = {"ha": "center", "va": "center", "transform": axis.transAxes}
    axis.text(0.5, 0.5, words, fontsize=8, bbox=box, **middle)


def add_scale(axis, width: int, pixel_size: float) -> None:
    """Draw a scale bar of a round length and an arrow to the north on a map `width` px wide; pixel_size in m.

    Both are black within white, to be seen on dark maps and on light ones.
    """
    from matplotlib.patheffects import withStroke

    outline = [withStroke(linewidth=3, foreground="white")]
    length = round_length(0.35 * width * pixel_size)
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    share = length / (width * pixel_size)
    thick_outline = [withStroke(linewidth=6, foreground="white")]
    bar = {"linewidth": 3, "path_effects": thick_outline, "transform": axis.transAxes}
    axis.plot([0.05, 0.05 + share], [0.04, 0.04], "k-", **bar)
    middle = {"ha": "center", "path_effects": outline}
    above = {"va": "bottom", "fontsize": 8, "transform": axis.transAxes}
    axis.text(0.05 + share / 2, 0.06, text, **middle, **above)
    ends = {"xy": (0.95, 0.97), "xytext": (0.95, 0.84)}
    places = {"xycoords": "axes fraction", "textcoords": "axes fraction"}
    arrow = {"arrowstyle": "-|>", "color": "black"}
    north = axis.annotate(
        "N", **ends, **places, **middle, va="center", fontsize=9, arrowprops=arrow
    )
    north.arrow_patch.set_path_effects(outline)


def round_length(longest: float) -> float:
    """Return the largest of 1, 2, 5, 10, ... that is not above `longest`, from 0.1 on [m]."""
    lengths = [step * 10.0**power for power in range(-1, 7) for step in (1, 2, 5)]
    return max(length for length in lengths if length <= longest)


# ── Several maps ─────────────────────────────────────────────────────────────────────────────────────────────────


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
    from matplotlib.patheffects import withStroke

    height, width = images[0].shape
    figure = Figure(figsize=(WIDTH, WIDTH / len(images) * height / width + 1), layout="constrained")
    axes = figure.subplots(1, len(images), squeeze=False)[0]
    lengths = np.concatenate([np.hypot(*field).ravel() for field in fields])
    longest = 1e-6
    if np.isfinite(lengths).any():
        longest = max(float(np.nanpercentile(lengths, 99)), longest)
    every = max(1, -(-max(len(rows), len(columns)) // 32))
    reach = 2.2 * every * (columns[1] - columns[0])  # px, of the longest arrow
    outline = [withStroke(linewidth=1.2, foreground="black")]
    for axis, image, field, title in zip(axes, images, fields, titles, strict=True):
        prepare(axis, title, 11 if len(images) == 1 else 9)
        paint(axis, image, limits_of_grey(image), "gray")
        right, up = (part[::every, ::every] for part in field)
        scaling = {"angles": "uv", "scale_units": "xy", "scale": longest / reach, "width": 0.004}
        colouring = {"cmap": "plasma", "clim": (0, longest), "path_effects": outline}
        speed = np.hypot(right, up)
        across, down = columns[::every], rows[::every]
        drawn = axis.quiver(across, down, right, up, speed, **scaling, **colouring)
        add_scale(axis, width, pixel_size)
        axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        if not np.isfinite(field).any():
            say(axis, "no motion that is sure")
    below = {"location": "bottom", "fraction": 0.05, "aspect": 40}
    figure.colorbar(drawn, ax=list(axes), label=label, **below)
    return save(figure, path)


def limits_of_grey(image: np.ndarray) -> tuple[float, float]:
    """Return the values to draw black and white: those of all but 2 % at either end, the dark a little lighter."""
    if not np.isfinite(image).any():
        return 0.0, 1.0
    low, high = np.nanpercentile(image, (2, 98))
    return float(low - 0.25 * (high - low)), float(max(high, low + 1e-6))


def draw_maps(images, titles, label, limits, colours, columns, seen=None, empty="not observed"):
    """Return a matplotlib figure of maps under one colour scale, and its axes; arguments as in map_row."""
    from matplotlib.figure import Figure

    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    height, width = images[0].shape[-2:]
    lines = 1 + max(title.count("\n") for title in titles)
    line = 0.2 if columns < 3 else 0.15  # inches
    tall = rows * (WIDTH / columns * height / width + 0.1 + line * lines)
    tall += 0.0 if images[0].ndim == 3 else 0.8
    figure = Figure(figsize=(WIDTH, tall), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    fontsize = 11 if columns < 3 else 8
    drawn = None
    for number, (image, title) in enumerate(zip(images, titles, strict=True)):
        prepare(axes[number], title, fontsize)
        mask = seen[number] if seen else None
        drawn = paint(axes[number], image, limits, colours, mask, empty=empty)
    for axis in axes[len(images) :]:
        axis.remove()
    if drawn is not None:
        below = {"location": "bottom", "fraction": 0.15 / tall, "pad": 0.1 / tall, "aspect": 40}
        figure.colorbar(drawn, ax=list(axes[: len(images)]), label=label, **below)
    return figure, axes


# ── The file ────────────────────────────────────────────────────────────────────────────────────────────────────────


def save(figure, path: Path) -> Path:
    """Write a matplotlib figure as PNG of 256 colours, which halves the file; return its path."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS, bbox_inches="tight")  # so that no text is cut
    with writing(path) as file:
        Image.open(buffer).convert("RGB").quantize(256).save(file, "PNG")
    return path
