"""Curves, calendars and bars as PNG files."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from glacier.figures.looks import INDEX
from glacier.figures.maps import WIDTH, save

STYLES = ("-", "--", "-.", ":")
MARKERS = "osD^vP*X<>"


def add_legend(figure, axis, columns: int = 3) -> None:
    """Name what is drawn on some axes, above all axes, where it hides nothing."""
    handles, names = axis.get_legend_handles_labels()
    place = "outside upper center"
    figure.legend(handles, names, loc=place, ncols=min(columns, len(names)), fontsize=8)


def scatter(
    path: Path, x: np.ndarray, y: np.ndarray, x_label: str, y_label: str, title: str
) -> Path:
    """Write a PNG of points (N,) against the line on which x and y are equal; return its path.

    The axes hold all but the outermost 1 % of the points on either side; how many lie outside is written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, WIDTH), layout="constrained")
    axis = figure.subplots()
    low = min(np.percentile(x, 1), np.percentile(y, 1))
    high = max(np.percentile(x, 99), np.percentile(y, 99))
    margin = max(0.1 * (high - low), 1e-6)
    ends = (low - margin, high + margin)
    outside = np.minimum(x, y) < ends[0]
    outside |= np.maximum(x, y) > ends[1]
    axis.plot(ends, ends, color="0.5", linewidth=1)
    axis.plot(x, y, ".", markersize=2, color="#31688e")
    axis.set(xlabel=x_label, ylabel=y_label, aspect="equal", xlim=ends, ylim=ends)
    if outside.any():
        note = f"{outside.sum()} of {len(x)} points lie outside the axes"
        axis.text(0.98, 0.02, note, ha="right", fontsize=8, transform=axis.transAxes)
    axis.set_title(title, fontsize=10)
    axis.grid(alpha=0.3)
    return save(figure, path)


def calendar(
    path: Path,
    dates: Sequence[dt.date],
    values: Sequence[float],
    label: str,
    limits: tuple[float, float] = (0.0, 1.0),
) -> Path:
    """Write a PNG with a mark a date, years down and seasons across, coloured by value; return its path."""
    from matplotlib.figure import Figure

    years = [day.year for day in dates]
    days = [day.timetuple().tm_yday for day in dates]
    height = 1.4 + 0.22 * (max(years) - min(years) + 1)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axis = figure.subplots()
    low, high = limits
    mark = {"s": 90, "marker": "|", "linewidths": 4}
    drawn = axis.scatter(days, years, c=values, cmap=INDEX.colours, vmin=low, vmax=high, **mark)
    first_days = [dt.date(2001, month, 1) for month in range(1, 13)]
    places = [day.timetuple().tm_yday for day in first_days]
    names = [f"{day:%b}" for day in first_days]
    axis.set_xticks(places, names, fontsize=9)
    axis.set_yticks(range(min(years), max(years) + 1))
    axis.set_xlim(0, 367)
    axis.set_ylim(max(years) + 0.7, min(years) - 0.7)  # the first year on top
    axis.grid(axis="x", alpha=0.3)
    figure.colorbar(drawn, label=label)
    return save(figure, path)


def curves(
    path: Path,
    x: Sequence,
    lines: Mapping[str, Sequence[float] | np.ndarray],
    x_label: str,
    y_label: str,
    limits: tuple[float, float] | None = None,
    apart: bool = False,
) -> Path:
    """Write a PNG of named curves over a common axis, numbers or dates; return its path.

    limits : of the y axis. apart : values have nothing to do with their neighbours and are not joined by a line.
    """
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axis = figure.subplots()
    for number, (name, values) in enumerate(lines.items()):
        style = "none" if apart else STYLES[number % len(STYLES)]
        marker = MARKERS[number % len(MARKERS)]
        axis.plot(x, values, linestyle=style, marker=marker, markersize=4, label=name)
    if all(isinstance(value, int) for value in x):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if all(isinstance(value, dt.date) for value in x):
        locator = AutoDateLocator()
        axis.xaxis.set_major_locator(locator)
        axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axis.set_ylim(limits)
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
    axis.grid(alpha=0.3)
    if len(lines) > 1:
        add_legend(figure, axis)
    return save(figure, path)


def banded(
    path: Path,
    x: np.ndarray,
    middle: np.ndarray,
    interval: tuple[np.ndarray, np.ndarray],
    x_label: str,
    y_label: str,
) -> Path:
    """Write a PNG of one curve (N,) with its interval, lower and upper (N,), as a band; return its path."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axis = figure.subplots()
    axis.fill_between(x, *interval, color="#31688e", alpha=0.3, linewidth=0)
    axis.plot(x, middle, color="#31688e", linewidth=2)
    axis.set(xlabel=x_label, ylabel=y_label)
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    return save(figure, path)


def intervals(path: Path, curves: Mapping[str, Sequence[Mapping]], y_label: str) -> Path:
    """Write a PNG of named series of periods; return its path.

    curves : for each name rows with start and end (ISO dates), speed_m_per_yr, low_m_per_yr and high_m_per_yr.
    """
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    axis = figure.subplots()
    for number, (name, rows) in enumerate(curves.items()):
        colour = f"C{number % 10}"
        starts = np.array([dt.date.fromisoformat(row["start"]) for row in rows])
        ends = np.array([dt.date.fromisoformat(row["end"]) for row in rows])
        middles = starts + (ends - starts) / 2
        speeds = [row["speed_m_per_yr"] for row in rows]
        low = [row["low_m_per_yr"] for row in rows]
        high = [row["high_m_per_yr"] for row in rows]
        axis.hlines(speeds, starts, ends, color=colour, linewidth=1.5)
        axis.vlines(middles, low, high, color=colour, linewidth=1)
        axis.plot(middles, speeds, "o", markersize=3, color=colour, label=name)
    axis.set_ylabel(y_label)
    axis.grid(alpha=0.3)
    locator = AutoDateLocator(minticks=3, maxticks=7)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    add_legend(figure, axis, 5)
    return save(figure, path)


def windows(path: Path, bars: Sequence[tuple[int, int, int, str]], dates: Sequence[str]) -> Path:
    """Write a PNG of time windows, one row each: (first step, input steps, target steps, part). Return its path."""
    from matplotlib.figure import Figure

    colours = {"train": "#31688e", "validation": "#d8a800", "test": "#b2182b", "gap": "0.8"}
    figure = Figure(figsize=(WIDTH, 1.2 + 0.12 * len(bars)), layout="constrained")
    axis = figure.subplots()
    for row, (start, inputs, targets, part) in enumerate(bars):
        axis.barh(row, inputs, left=start, height=0.7, color=colours[part], alpha=0.35)
        axis.barh(row, targets, left=start + inputs, height=0.7, color=colours[part])
    for part, colour in colours.items():
        count = sum(bar[3] == part for bar in bars)
        windows = "window" if count == 1 else "windows"
        axis.barh(0, 0, color=colour, label=f"{part}: {count} {windows}")
    axis.invert_yaxis()
    axis.set_yticks([])
    axis.set_xlabel("steps read: inputs pale, targets full; a tick is a step's first day")
    places, names = step_ticks(dates)
    axis.set_xticks(places, names, fontsize=8)
    axis.grid(axis="x", alpha=0.3)
    add_legend(figure, axis, 4)
    return save(figure, path)


def step_ticks(dates: Sequence[str], most: int = 8) -> tuple[list[int], list[str]]:
    """Return at most about `most` places of an axis of steps, and their names: years, or months of a short series."""
    years = []
    for place, day in enumerate(dates):
        if place == 0 or day[:4] != dates[place - 1][:4]:
            years.append(place)
    if len(years) > 2:
        places = years[:: -(-len(years) // most)]
        return places, [dates[place][:4] for place in places]
    places = list(range(0, len(dates), -(-len(dates) // most)))
    days = [dt.date.fromisoformat(dates[place]) for place in places]
    return places, [f"{day.day} {day:%b\n%Y}" for day in days]
