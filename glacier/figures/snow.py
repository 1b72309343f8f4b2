"""Charts of snow over time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from glacier.figures.charts import add_legend
from glacier.figures.maps import WIDTH, save

PAST = "#1f3d55"
AHEAD = "#b2182b"


def area_band(
    path: Path, days: Sequence[dt.date], bands: np.ndarray, ahead: np.ndarray, label: str
) -> Path:
    """Write a PNG of a quantity over time with its band, what is forecast in another colour; return its path.

    bands : 5, 50 and 95 % (3, N). ahead : bool (N,), which steps are forecast. label : quantity and unit.
    """
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axis = figure.subplots()
    low, middle, high = bands
    axis.plot(days, middle, color=PAST, linewidth=0.8, alpha=0.5)
    all_days = np.array(days)
    reach = np.abs(bands[[0, 2]] - middle)
    for part, colour, name in ((~ahead, PAST, "past"), (ahead, AHEAD, "forecast")):
        if not part.any():
            continue
        style = {"fmt": ".", "color": colour, "capsize": 2, "label": f"{name}, 5 to 95 %"}
        axis.errorbar(all_days[part], middle[part], reach[:, part], **style)
    locator = AutoDateLocator()
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axis.set_ylim(bottom=0)
    axis.set_ylabel(label)
    axis.grid(alpha=0.3)
    add_legend(figure, axis)
    return save(figure, path)
