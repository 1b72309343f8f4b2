"""Contact sheets: the maps of a year on one page, at the size of the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glacier.figures.forecasts import DOTS, screen_size
from glacier.figures.maps import MISSING, WIDTH, save

FEW, COLUMNS, MANY = 12, 4, 8  # up to so many maps a sheet, so many side by side, else so many
SPACE = 0.2  # inches above a map, for its title
PALE = 0.35  # how strong filled pixels are drawn
COLOURS = "cividis"


@dataclass(frozen=True)
class Thumbnail:
    """A map of a sheet. image : (H, W) in [0, 1], or (3, H, W), NaN where missing. seen : (H, W) bool, else filled."""

    title: str
    image: np.ndarray
    seen: np.ndarray


def contact_sheet(path: Path, thumbnails: Sequence[Thumbnail], label: str) -> Path:
    """Write a PNG of maps under one colour scale, what was filled pale; return its path. label : quantity and unit."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    columns = COLUMNS if len(thumbnails) <= FEW else MANY
    rows = -(-len(thumbnails) // columns)
    height, width = thumbnails[0].image.shape[-2:]
    across = WIDTH / columns  # inches
    down = across * height / width + SPACE
    grey = thumbnails[0].image.ndim == 2
    below = 0.75 if grey else 0.0
    tall = rows * down + below
    figure = Figure(figsize=(WIDTH, tall))
    longest = round(max(across, down - SPACE) * DOTS)
    for number, thumbnail in enumerate(thumbnails):
        row, column = divmod(number, columns)
        bottom = tall - (row + 1) * down
        place = (column / columns, bottom / tall, 0.97 / columns, (down - SPACE) / tall)
        axis = figure.add_axes(place, facecolor=MISSING)
        axis.set(xticks=[], yticks=[])
        axis.set_title(thumbnail.title, fontsize=7 if columns == COLUMNS else 6, pad=2)
        axis.imshow(picture(thumbnail, longest), interpolation="nearest", aspect="auto")
    if grey:
        bar = figure.add_axes((0.2, 0.5 / tall, 0.6, 0.08 / tall))
        figure.colorbar(
            ScalarMappable(cmap=colormaps[COLOURS]), cax=bar, orientation="horizontal", label=label
        )
    return save(figure, path)


def picture(thumbnail: Thumbnail, longest: int) -> np.ndarray:
    """Return a map as red, green, blue and strength in [0, 1], (h, w, 4), at most `longest` px a side."""
    from matplotlib import colormaps

    image = screen_size(thumbnail.image, longest)
    share = screen_size(thumbnail.seen.astype(np.float32), longest)  # of a block that was seen
    missing = ~np.isfinite(image) if image.ndim == 2 else ~np.isfinite(image).all(axis=0)
    if image.ndim == 2:
        colours = colormaps[COLOURS](np.nan_to_num(image).clip(0, 1))
    else:
        light = np.nan_to_num(np.moveaxis(image, 0, -1)).clip(0, 1)
        colours = np.concatenate([light, np.ones((*light.shape[:2], 1))], axis=-1)
    colours[..., 3] = np.where(missing, 0, PALE + (1 - PALE) * share)
    return colours
