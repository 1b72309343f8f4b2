"""The summary of a group of glaciers: a line each, as a table to calculate with and as a page to look at."""

from __future__ import annotations

import csv
import dataclasses
import io
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import config
from config import Config, GlacierError
from glacier.report import answer, pages
from glacier.storage import disk, runner


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
    page = pages.template("group.html.j2").render(group=group, lines=lines)
    with disk.writing(folder / "summary.html") as file:
        file.write(page.encode())
    return folder / "summary.html"


def line_of(name: str, failure: str) -> Line:
    """Return the line of a glacier; one whose settings cannot be read says so as its failure."""
    try:
        cfg = config.load(Config, name=name)
    except GlacierError as error:
        return Line(name, failure=failure or str(error))
    folders = pages.with_sections(cfg)
    finished = [folder for folder in folders if runner.read_manifest(folder)]
    forecast = answer.newest(finished, "forecast")
    rows = answer.read_rows(forecast / "snow.csv") if forecast else []
    snow = answer.snow_cover(cfg, rows)
    verdict = answer.verdict(answer.newest(finished, "evaluation"))
    page = cfg.folder / "report.html"
    address = urllib.parse.quote(f"{cfg.folder.name}/{page.name}") if page.is_file() else ""
    return Line(
        name,
        snow.value,
        snow.note,
        answer.speed(cfg.folder / answer.MOVEMENT).value,
        verdict.note if not verdict.value else verdict.value,
        failure,
        address,
    )
