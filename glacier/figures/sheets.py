"""Contact sheets: the maps of a year on one page, at the size of the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glacier.figures.forecasts import screen_size
from glacier.figures.looks import INDEX
from glacier.figures.maps import DOTS, WIDTH, paint, prepare, save

FEW = 12  # maps of a sheet, up to which there are COLUMNS side by side
COLUMNS = 4
MANY = 8  # side by side, of a sheet with more
LINE = 0.13  # inches that a line of a title takes
COLOURS = INDEX.colours


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
    lines = 1 + max(thumbnail.title.count("\n") for thumbnail in thumbnails)
    space = 0.06 + LINE * lines  # above a map
    down = across * height / width + space
    grey = thumbnails[0].image.ndim == 2
    below = 0.75 if grey else 0.0
    tall = rows * down + below
    figure = Figure(figsize=(WIDTH, tall))
    longest = round(max(across, down - space) * DOTS)
    for number, thumbnail in enumerate(thumbnails):
        row, column = divmod(number, columns)
        bottom = tall - (row + 1) * down
        place = (column / columns, bottom / tall, 0.97 / columns, (down - space) / tall)
        axis = figure.add_axes(place)
        prepare(axis, thumbnail.title, 7 if columns == COLUMNS else 6, pad=2)
        share = screen_size(thumbnail.seen.astype(np.float32), longest)  # of a block that was seen
        paint(axis, screen_size(thumbnail.image, longest), colours=COLOURS, seen=share)
        axis.set_aspect("auto")
    if grey:
        bar = figure.add_axes((0.2, 0.5 / tall, 0.6, 0.08 / tall))
        figure.colorbar(
            ScalarMappable(cmap=colormaps[COLOURS]), cax=bar, orientation="horizontal", label=label
        )
    return save(figure, path)
