"""The summary of a group of glaciers: a line each, as a table to calculate with and as a page to look at."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

import config
from config import Config, GlacierError
from glacier.report import answer, pages
from glacier.storage import disk, runner

MAP_SIDE = 480  # px, of the longer side
SMALLEST = 6  # px, of a box on it
COLOURS = ("#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725")
# what the maps show: columns of the table
COLOURED = {
    "median_speed": "Median speed of the ice",
    "trend": "Trend of the snow-covered area",
}


@dataclass(frozen=True)
class Line:
    """What is known of one glacier, in words; failure : what its last command ended with, empty if all is well.

    report : address of its page, from the group's folder; empty where there is none.
    """

    glacier: str
    snow_covered_area: str = ""
    trend: str = ""
    median_speed: str = ""
    forecast: str = ""
    failure: str = ""
    report: str = ""


def write_summary(group: str, names: list[str], failures: Mapping[str, str]) -> Path:
    """Write datasets/<group>/summary.csv and summary.html; return the page. failures : {name: what was said last}."""
    folder = config.home() / "datasets" / group
    lines = [line_of(name, failures.get(name, "")) for name in names]
    titles = [field.name for field in dataclasses.fields(Line)]
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(titles)
    writer.writerows(dataclasses.astuple(line) for line in lines)
    with disk.writing(folder / "summary.csv") as file:
        file.write(table.getvalue().encode())
    shown = {"group": group, "lines": lines, "maps": maps_of(lines), "colours": COLOURS}
    page = pages.template("group.html.j2").render(shown)
    with disk.writing(folder / "summary.html") as file:
        file.write(page.encode())
    return folder / "summary.html"


# ── Where they lie ───────────────────────────────────────────────────────────────────────────────────────────────


class Mark(NamedTuple):
    """A glacier's box on a map: left, top, width and height [px], colour, and what it says."""

    left: float
    top: float
    width: float
    height: float
    colour: str
    text: str


class BoxMap(NamedTuple):
    """A map of the boxes, coloured by a column; low, high : what the ends of the colours stand for, with unit."""

    title: str
    height: float
    marks: list[Mark]
    low: str
    high: str


def maps_of(lines: Sequence[Line]) -> list[BoxMap]:
    """Return a map of the glaciers' boxes for each column of COLOURED that holds numbers."""
    boxes = {}
    for line in lines:
        with suppress(GlacierError):
            boxes[line.glacier] = config.load(Config, name=line.glacier).boundingBox
    maps = []
    for column, title in COLOURED.items():
        texts = {line.glacier: getattr(line, column) for line in lines if line.glacier in boxes}
        numbers = {name: number_in(text) for name, text in texts.items()}
        if any(number is not None for number in numbers.values()):
            maps.append(box_map(title, boxes, texts, numbers))
    return maps


def number_in(text: str) -> float | None:
    """Return the number that a text begins with; None if it begins with none."""
    start = re.match(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?", text)
    if start:
        return float(start[0])
    return None


def box_map(
    title: str,
    boxes: Mapping[str, tuple[float, ...]],
    texts: Mapping[str, str],
    numbers: Mapping[str, float | None],
) -> BoxMap:
    """Return the map of boxes [degrees], coloured by numbers, grey without one; north is up, degrees are as long as
    on the ground in the middle. A box is at least SMALLEST px wide, that it can be seen."""
    corners = np.array(list(boxes.values()))  # west, south, east, north
    west, south = corners[:, :2].min(axis=0)
    east, north = corners[:, 2:].max(axis=0)
    shorter = np.cos(np.radians((south + north) / 2))  # a degree to the east
    scale = MAP_SIDE / max((east - west) * shorter, north - south)
    ranked = sorted((number, name) for name, number in numbers.items() if number is not None)
    (low, lowest), (high, highest) = ranked[0], ranked[-1]
    marks = []
    for name, box in boxes.items():
        number = numbers[name]
        if number is None:
            colour = "#cccccc"
        else:
            colour = colour_of(number, low, high)
        width = max(SMALLEST, (box[2] - box[0]) * shorter * scale)
        height = max(SMALLEST, (box[3] - box[1]) * scale)
        left = (box[0] - west) * shorter * scale
        top = (north - box[3]) * scale
        left, top, width, height = (
            round(float(length), 1) for length in (left, top, width, height)
        )
        text = f"{name}: {texts[name] or 'not yet'}"
        marks.append(Mark(left, top, width, height, colour, text))
    tall = round(float((north - south) * scale) + SMALLEST, 1)
    return BoxMap(title, tall, marks, texts[lowest], texts[highest])


def colour_of(number: float, low: float, high: float) -> str:
    """Return the colour of a number between two, from dark to light."""
    share = 0.5
    if high > low:
        share = (number - low) / (high - low)
    return COLOURS[round(share * (len(COLOURS) - 1))]


# ── The figures ──────────────────────────────────────────────────────────────────────────────────────────────────


def line_of(name: str, failure: str) -> Line:
    """Return the line of a glacier; one whose settings cannot be read says so as its failure."""
    try:
        cfg = config.load(Config, name=name)
    except GlacierError as error:
        return Line(name, failure=failure or str(error))
    folders = pages.with_sections(cfg)
    finished = [folder for folder in folders if runner.read_manifest(folder)]
    forecast = answer.newest(finished, "forecast")
    rows = []
    if forecast:
        rows = answer.read_rows(forecast / "snow.csv")
    snow = answer.snow_cover(cfg, rows)
    verdict = answer.verdict(answer.newest(finished, "evaluation"))
    page = cfg.folder / "report.html"
    address = ""
    if page.is_file():
        address = urllib.parse.quote(f"{cfg.folder.name}/{page.name}")
    return Line(
        name,
        snow.value,
        snow.note,
        answer.speed(cfg.folder / answer.MOVEMENT).value,
        verdict.note if not verdict.value else verdict.value,
        failure,
        address,
    )
