"""Charts of how good forecasts are: skill by lead time, reliability, ranks, and bands against the truth."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glacier.figures.charts import STYLES, add_legend
from glacier.figures.maps import WIDTH, save

BAND = "#31688e"
LINE = "#1f3d55"
TRUTH = "#b2182b"
MARKERS = "osD^P*X<>"
ENDS = (-0.02, 1.02)  # of an axis of probabilities: so that no marker is cut
LOWEST = -0.3  # a skill below it is drawn at the edge


@dataclass(frozen=True)
class Line:
    """Skill of one method at each lead time, with the ends of its 95 % interval, NaN where there is none; all (N,)."""

    skill: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def skill_by_lead(path: Path, panels: Mapping[str, Mapping[str, Line]], label: str) -> Path:
    """Write a PNG of skills over lead times 1, 2, ... [steps] with their intervals; return its path.

    panels : by title, in each the methods by name. label : of the skill. What lies below LOWEST is a triangle at
    the edge.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(WIDTH, 1.6 + 2.4 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    handles: dict[str, Any] = {}
    for axis, (title, lines) in zip(axes, panels.items(), strict=True):
        handles |= draw_lines(axis, lines, names)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_ylabel(label, fontsize=9)
        axis.set_title(title, fontsize=9)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("lead time [steps]; a triangle at the edge: the skill lies below it")
    ordered = [handles[name] for name in names]
    figure.legend(ordered, names, loc="outside lower center", ncols=3, fontsize=8)
    return save(figure, path)


def draw_lines(axis, lines: Mapping[str, Line], names: Sequence[str]) -> dict:
    """Draw the skills of some methods side by side at each lead time, with their intervals; return what was drawn.

    names : of all methods of the picture, which keep their marker and colour in every panel.
    """
    axis.axhline(0, color="0.3", linewidth=1)
    low_end, high_end = limits_around(lines)
    handles = {}
    for name, line in lines.items():
        number = names.index(name)
        shift = 0.4 * (number / max(len(names) - 1, 1) - 0.5)
        skill = np.array(line.skill, float)
        inside = np.where(skill < LOWEST, np.nan, skill)
        places = np.arange(1, len(skill) + 1) + shift
        reach = np.nan_to_num(np.abs(np.array([line.low, line.high], float) - skill))
        style = {"fmt": MARKERS[number % len(MARKERS)], "color": f"C{number % 10}"}
        handles[name] = axis.errorbar(places, inside, reach, markersize=5, capsize=2, **style)
        off = skill < LOWEST
        edge = np.full(off.sum(), low_end + 0.04 * (high_end - low_end))
        axis.plot(places[off], edge, "v", color=style["color"])
    axis.set_ylim(low_end, high_end)
    return handles


def limits_around(lines: Mapping[str, Line]) -> tuple[float, float]:
    """Return limits of an axis that hold 0 and the skills with their intervals, within LOWEST and 1.

    Where no method is as bad as that, the axis is as long as their differences: a skill of 0.02 is to be seen.
    """
    values = np.array([(line.skill, line.low, line.high) for line in lines.values()], float)
    values = values[np.isfinite(values)]
    low = max(min(values.min(initial=0), -0.02), LOWEST)
    high = min(max(values.max(initial=0), 0.02), 1.0)
    margin = 0.1 * (high - low)  # so that no marker is cut
    return low - margin, high + margin


def reliability(path: Path, tables: Mapping[str, np.ndarray], event: str) -> Path:
    """Write a PNG of how often an event came when it was forecast with a probability; return its path.

    tables : of each method, (bins, 3): number of forecasts, sum of their probabilities, number of events. Below, how
    often each probability was given. Wilks (2011), Statistical Methods, section 8.4.4.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    upper.plot([0, 1], [0, 1], color="0.5", linewidth=1)
    for number, (name, table) in enumerate(tables.items()):
        marker = MARKERS[number % len(MARKERS)]
        used = table[:, 0] > 0
        count, probability, events = table[used].T
        style = STYLES[number % len(STYLES)]
        upper.plot(
            probability / count, events / count, style, marker=marker, markersize=5, label=name
        )
        edges = np.linspace(0, 1, len(table) + 1)
        share = table[:, 0] / max(table[:, 0].sum(), 1)
        lower.stairs(share, edges, linestyle=style, linewidth=1.5)
    upper.set(ylabel=f"how often {event} came [1]", xlim=ENDS, ylim=ENDS)
    lower.set(xlabel=f"forecast probability of {event} [1]", ylabel="share of\nforecasts [1]")
    add_legend(figure, upper)
    for axis in (upper, lower):
        axis.grid(alpha=0.3)
    return save(figure, path)


def rank_histogram(path: Path, shares: Mapping[str, np.ndarray]) -> Path:
    """Write a PNG of the ranks of the truth in each method's forecasts, shares (bins,); return its path.

    Level: the forecast is as sure as it may be. A bowl: too sure; a hill: not sure enough; a slope: biased.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axis = figure.subplots()
    for number, (name, share) in enumerate(shares.items()):
        edges = np.linspace(0, 1, len(share) + 1)
        style = STYLES[number % len(STYLES)]
        axis.stairs(share * len(share), edges, label=name, linestyle=style, linewidth=1.8)
    axis.axhline(1, color="0.5", linewidth=1)
    axis.set(xlabel="rank of the truth in the forecast [1]", ylabel="density [1]", xlim=(0, 1))
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    add_legend(figure, axis)
    return save(figure, path)


def bands(
    path: Path,
    dates: Sequence[dt.date],
    quantiles: np.ndarray,
    truths: np.ndarray,
    titles: Sequence[str],
    label: str,
) -> Path:
    """Write a PNG of forecast bands against what came at some pixels, one below the other; return its path.

    quantiles : (pixels, 5, N), the 5, 25, 50, 75 and 95 % of each date. truths : (pixels, N), NaN where not observed.
    label : quantity and unit.
    """
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    count = len(titles)
    figure = Figure(figsize=(WIDTH, 1.0 + 1.4 * count), layout="constrained")
    axes = figure.subplots(count, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axis, levels, truth, title in zip(axes, quantiles, truths, titles, strict=True):
        low, quarter, middle, three_quarters, high = levels
        draw_band(axis, dates, low, high, 0.25, "5 to 95 %")
        draw_band(axis, dates, quarter, three_quarters, 0.45, "25 to 75 %")
        axis.plot(dates, middle, color=LINE, linewidth=1.2, marker=".", label="median")
        axis.plot(dates, truth, "o", color=TRUTH, markersize=4, label="observed")
        axis.set_title(title, fontsize=9)
        axis.grid(alpha=0.3)
    locator = AutoDateLocator()
    axes[-1].xaxis.set_major_locator(locator)
    axes[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))
    add_legend(figure, axes[0], 4)
    figure.supylabel(label, fontsize=10)
    return save(figure, path)


def draw_band(
    axis, dates: Sequence[dt.date], low: np.ndarray, high: np.ndarray, alpha: float, label: str
) -> None:
    """Draw a band between two rows of values (N,); a bar where one date has no neighbour to be joined with."""
    style = {"color": BAND, "alpha": alpha, "label": label}
    if len(dates) > 1:
        axis.fill_between(dates, low, high, linewidth=0, **style)
    else:
        axis.vlines(dates, low, high, linewidth=14, **style)
