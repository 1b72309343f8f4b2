"""Charts of snow over time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from glacier.figures.maps import WIDTH, save

PAST, AHEAD = "#1f3d55", "#b2182b"


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
    for chosen, colour, name in ((~ahead, PAST, "past"), (ahead, AHEAD, "forecast")):
        own_days = [day for day, wanted in zip(days, chosen, strict=True) if wanted]
        reach = np.abs(bands[[0, 2]] - middle)[:, chosen]
        axis.errorbar(own_days, middle[chosen], reach, fmt=".", color=colour, capsize=2, label=name)
    locator = AutoDateLocator()
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axis.set_ylim(bottom=0)
    axis.set_ylabel(label)
    axis.set_title("bars: 5 to 95 %", fontsize=9)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return save(figure, path)
