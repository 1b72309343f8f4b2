"""What the report opens with: where, when, and the figures that a reader looks for first."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np

from config import Config
from glacier.stages import ALIGNED, MOVEMENT
from glacier.storage import disk, runner

FEWEST_YEARS = 4  # of a trend
HALF_SEEN = 0.5  # of the pixels: a step that was seen less says nothing of a trend


class Figure(NamedTuple):
    """A figure of the first page: its name, the value as a text, and what stands behind it."""

    name: str
    value: str
    note: str = ""


class ShownPicture(NamedTuple):
    """A picture of the first page."""

    path: Path
    caption: str


class Answer(NamedTuple):
    """The first page. longitude, latitude : of the middle of the box [deg]."""

    place: str
    period: str
    longitude: float
    latitude: float
    figures: list[Figure]
    pictures: list[ShownPicture]


def answer(cfg: Config, folders: Sequence[Path]) -> Answer:
    """Return what is known of a glacier so far. folders : of its finished stages and runs."""
    west, south, east, north = cfg.boundingBox
    longitude, latitude = (west + east) / 2, (south + north) / 2
    longitude = (longitude + 180) % 360 - 180
    forecast = newest(folders, "forecast")
    evaluation = newest(folders, "evaluation")
    rows = read_rows(forecast / "snow.csv") if forecast else []
    figures = [
        *scene_figures(cfg.folder / ALIGNED),
        snow_cover(cfg, rows),
        snow_line(rows),
        speed(cfg.folder / MOVEMENT),
        verdict(evaluation),
    ]
    return Answer(
        place_name(longitude, latitude),
        period(cfg.folder / ALIGNED),
        longitude,
        latitude,
        figures,
        pictures(cfg, forecast),
    )


def place_name(longitude: float, latitude: float) -> str:
    """Return a place as people write it."""
    north = "N" if latitude >= 0 else "S"
    east = "E" if longitude >= 0 else "W"
    return f"{abs(latitude):.2f}° {north}, {abs(longitude):.2f}° {east}"


def newest(folders: Sequence[Path], kind: str) -> Path | None:
    """Return the folder of the newest evaluation or forecast; None if there is none."""
    matching = [folder for folder in folders if folder.name.split("-")[0] == kind]
    return max(matching, key=lambda folder: folder.stat().st_mtime, default=None)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table; none where there is no table."""
    if not path.is_file():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def counts_of(folder: Path) -> dict:
    """Return the counts of a finished stage; empty where it did not finish."""
    manifest = runner.read_manifest(folder)
    return manifest["counts"] if manifest else {}


def period(aligned: Path) -> str:
    """Return the first and the last scene."""
    if not (aligned / "scenes.json").is_file():
        return ""
    days = [scene["date"] for scene in disk.read_json(aligned / "scenes.json")["scenes"]]
    return f"Scenes from {days[0][:10]} to {days[-1][:10]}."


def scene_figures(aligned: Path) -> list[Figure]:
    """Return the number of scenes and composites, and how much of these was observed."""
    counts = counts_of(aligned)
    if not counts:
        return [Figure("Scenes", "none yet", "alignment.py makes the composites")]
    confirmed = f"{counts['aligned']} of them confirmed by co-registration"
    observed = f"{100 * counts['observed_fraction']:.0f} % of their pixels really observed"
    return [
        Figure("Scenes", str(counts["scenes"]), confirmed),
        Figure("Composites", str(counts["composites"]), observed),
    ]


def snow_cover(cfg: Config, rows: Sequence[dict[str, str]]) -> Figure:
    """Return the mean snow-covered area and its trend, from steps of which at least half was seen."""
    steps = [
        row for row in rows if row["quantity"] == "snow_covered_area" and row["part"] == "past"
    ]
    most = max((float(row["observed_pixels"]) for row in steps), default=0)
    seen = [row for row in steps if float(row["observed_pixels"]) >= HALF_SEEN * most > 0]
    if not seen:
        return Figure("Snow-covered area", "not yet", "forecast.py writes it")
    areas = np.array([float(row["p50"]) for row in seen])
    days = [date.fromisoformat(row["first_day"]) for row in seen]
    return Figure("Snow-covered area", f"{areas.mean():.3g} km²", trend(days, areas))


def trend(days: Sequence[date], values: np.ndarray) -> str:
    """Return the trend of a quantity, its season taken away, with its 95 % interval and the number of values.

    The median of the slopes between all pairs: Sen (1968), 10.1080/01621459.1968.10480934.
    """
    from scipy.stats import theilslopes

    years = np.array([day.toordinal() / 365.25 for day in days])
    if years.max() - years.min() < FEWEST_YEARS - 1:
        return f"no trend from less than {FEWEST_YEARS} years"
    seasons = defaultdict(list)
    for place, day in enumerate(days):
        seasons[day.month, day.day].append(place)
    departures = np.full(len(values), np.nan)
    for places in seasons.values():
        if len(places) > 1:
            departures[places] = values[places] - values[places].mean()
    compared = np.isfinite(departures)
    if compared.sum() < 2 * FEWEST_YEARS:
        return f"no trend: {compared.sum()} dates with another of their season"
    slope, _, low, high = theilslopes(departures[compared], years[compared], alpha=0.95)
    return f"{slope:+.2g} [{low:+.2g}, {high:+.2g}] km² a year, n = {compared.sum()}"


def snow_line(rows: Sequence[dict[str, str]]) -> Figure:
    """Return the snow line at the end of the last summer that is past."""
    name = "Snow line at the end of summer"
    lines = [
        row
        for row in rows
        if row["quantity"] == "end_of_summer_snow_line" and row["part"] == "past"
    ]
    if not lines:
        return Figure(name, "not known", "needs an elevation model and a full year")
    last = lines[-1]
    interval = f"{float(last['p5']):.0f} to {float(last['p95']):.0f} m, {last['last_day'][:4]}"
    return Figure(name, f"{float(last['p50']):.0f} m", interval)


def speed(movement: Path) -> Figure:
    """Return the median and the highest speed of the ice."""
    counts = counts_of(movement)
    if "median_speed_m_per_yr" not in counts:
        return Figure("Speed of the ice", "not yet", "movement.py measures it")
    fastest = f"fastest {counts['fastest_m_per_yr']:.0f} m a year"
    return Figure("Median speed of the ice", f"{counts['median_speed_m_per_yr']:.3g} m/yr", fastest)


def verdict(evaluation: Path | None) -> Figure:
    """Return what the scores say of the forecast."""
    sentence = counts_of(evaluation).get("verdict", "") if evaluation else ""
    if not sentence:
        return Figure("Forecast", "not scored yet", "evaluate.py does")
    return Figure("Forecast", "", sentence)


def pictures(cfg: Config, forecast: Path | None) -> list[ShownPicture]:
    """Return the pictures of the first page that are there."""
    candidates = [
        ShownPicture(cfg.folder / MOVEMENT / "quicklooks" / "arrows.png", "How fast the ice moves")
    ]
    if forecast:
        ahead = ShownPicture(forecast / "forecast.png", "Where snow is likely in the next steps")
        cover = ShownPicture(forecast / "snow.png", "Snow-covered area, past and forecast")
        candidates = [ahead, *candidates, cover]
    return [picture for picture in candidates if picture.path.is_file()]
