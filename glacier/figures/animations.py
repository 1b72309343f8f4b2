"""Maps one after another, as GIF files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from glacier.figures.looks import INDEX
from glacier.figures.maps import add_scale, draw_maps
from glacier.storage.disk import writing

DOTS = 90  # an inch
COLOURS = 128


def animation(
    path: Path,
    images: Sequence[np.ndarray],
    titles: Sequence[str],
    label: str,
    limits: tuple[float, float] = (0.0, 1.0),
    colours: str = INDEX.colours,
    seconds: float = 0.7,
    pixel_size: float | None = None,
    seen: Sequence[np.ndarray | None] | None = None,
) -> Path:
    """Write a GIF that shows the maps one after another, each with its title; return its path. Arguments as in map_row.

    All frames have one size and one palette: nothing but the map and its title changes.
    """
    from PIL import Image

    frames = []
    for number, (image, title) in enumerate(zip(images, titles, strict=True)):
        mask = None
        if seen:
            mask = seen[number : number + 1]
        figure, axes = draw_maps([image], [title], label, limits, colours, 1, mask)
        if pixel_size:
            add_scale(axes[0], image.shape[-1], pixel_size)
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=DOTS)
        frames.append(Image.open(buffer).convert("RGB"))
    frames = of_one_palette(without_margin(frames))
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


def without_margin(frames: list) -> list:
    """Return pictures without the white above and below that all of them share."""
    from PIL import ImageChops

    width, height = frames[0].size
    tops = []
    bottoms = []
    for frame in frames:
        box = ImageChops.invert(frame).getbbox() or (0, 0, width, height)
        tops.append(box[1])
        bottoms.append(box[3])
    top = max(min(tops) - 6, 0)
    bottom = min(max(bottoms) + 6, height)
    return [frame.crop((0, top, width, bottom)) for frame in frames]


def of_one_palette(frames: list) -> list:
    """Return pictures in the COLOURS that suit all of them together."""
    from PIL import Image

    width, height = frames[0].size
    sheet = Image.new("RGB", (width, height * len(frames)))
    for number, frame in enumerate(frames):
        sheet.paste(frame, (0, number * height))
    palette = sheet.quantize(COLOURS, dither=Image.Dither.NONE)
    return [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
