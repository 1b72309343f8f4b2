"""Velocity over time: a field for each year of whole-year pairs and each month of short ones, and series at points."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from rasterio.warp import transform

from config import GlacierError
from glacier.storage import disk, netcdf
from glacier.velocity import velocities
from glacier.velocity.fields import YEARLY_SPAN
from glacier.velocity.pairs import HALF_YEAR, Pair
from glacier.velocity.velocities import SPACING, Field, Nodes

SUMMER_MONTHS = range(4, 10)  # of the north
ALONG = (0.1, 0.3, 0.5, 0.7, 0.9)  # places on the flow line, as parts of it
NINETY_PERCENT = 1.645  # standard errors on either side
VARIABLES = {
    "vx": ("m year-1", "land_ice_surface_x_velocity", "velocity along x, to the east of the grid"),
    "vy": ("m year-1", "land_ice_surface_y_velocity", "velocity along y, to the north of the grid"),
    "speed": ("m year-1", "", "speed"),
    "vx_error": ("m year-1", "", "standard error of vx"),
    "vy_error": ("m year-1", "", "standard error of vy"),
    "pairs": ("1", "", "pairs of scenes behind a velocity"),
}


@dataclass(frozen=True)
class Period:
    """The velocity field of some pairs. start, end : their first and last day; days : typically between the scenes."""

    start: date
    end: date
    days: float
    field: Field

    @property
    def middle(self) -> date:
        return self.start + (self.end - self.start) / 2

    @property
    def short(self) -> bool:
        """Whether it tells the seasons apart."""
        return self.days < HALF_YEAR * 365


def groups(pairs: Sequence[Pair], days: Sequence[date]) -> list[np.ndarray]:
    """Return which pairs make a field together, each bool (P,): short ones of a month, whole years of a beginning.

    All pairs together where none of them is that short.
    """
    keys = []
    for pair in pairs:
        first = days[pair.first]
        second = days[pair.second]
        middle = first + (second - first) / 2
        if pair.years < HALF_YEAR:
            keys.append(("month", middle.year, middle.month))
        elif pair.years < YEARLY_SPAN:
            keys.append(("year", first.year, 0))
        else:
            keys.append(("longer", 0, 0))
    together = []
    for key in sorted(set(keys)):
        members = np.array([pair_key == key for pair_key in keys])
        enough = members.sum() >= velocities.MIN_PAIRS
        if key[0] == "month" or (key[0] == "year" and enough):
            together.append(members)
    return together or [np.ones(len(pairs), bool)]


def make_series(
    tracked: np.ndarray,
    pairs: Sequence[Pair],
    noise: np.ndarray,
    days: Sequence[date],
    stable: np.ndarray,
) -> list[Period]:
    """Return the velocity fields of all periods in time order; those in which nothing was tracked are left out.

    tracked : (P, 3, h, w), vx, vy [m/yr], weight. noise : (P,) NMAD over stable ground [m/yr], NaN where a pair was
    refused. One pair is enough; the errors are those of the pairs' stable ground.
    """
    used = np.isfinite(noise)
    series = []
    for group in groups(pairs, days):
        members = np.flatnonzero(group & used)
        if not len(members):
            continue
        group_pairs = [pairs[member] for member in members.tolist()]
        vectors = tracked[members, :2]
        weights = tracked[members, 2]
        weights = np.where(np.isfinite(vectors[:, 0]), weights, 0)
        field = velocities.combine(vectors, weights, group_pairs, least=1)
        error = velocities.ground_error(weights, noise[members])
        field = field._replace(error=np.stack([error, error]))
        field, _ = velocities.finish(field, stable, SPACING)
        start = min(days[pair.first] for pair in group_pairs)
        end = max(days[pair.second] for pair in group_pairs)
        apart = [(days[pair.second] - days[pair.first]).days for pair in group_pairs]
        series.append(Period(start, end, float(np.median(apart)), field))
    return sorted(series, key=lambda period: (period.middle, period.days))


def write_series(path: Path, series: Sequence[Period], nodes: Nodes, name: str) -> Path:
    """Write velocity_series.nc by the CF conventions; return its path."""
    with netcdf.writing(path, title=f"Velocity of {name} over time") as dataset:
        netcdf.add_grid(dataset, nodes.grid.crs, tuple(nodes.transform)[:6], nodes.shape)
        netcdf.add_time(
            dataset, [period.start for period in series], [period.end for period in series]
        )
        separation = dataset.createVariable("days", "f4", ("time",))
        separation.setncatts(
            {"units": "days", "long_name": "typically between the scenes of a pair"}
        )
        separation[:] = [period.days for period in series]
        for variable_name, (units, standard_name, long_name) in VARIABLES.items():
            axes = ("time", "y", "x")
            variable = netcdf.add_variable(dataset, variable_name, axes, "f4", units, long_name)
            if standard_name:
                variable.standard_name = standard_name
            for number, period in enumerate(series):
                variable[number] = layers(period.field)[variable_name]
    return path


def layers(field: Field) -> dict[str, np.ndarray]:
    """Return the layers of a velocity field by the names of VARIABLES, each (h, w)."""
    vx, vy = field.velocity
    vx_error, vy_error = field.error
    speed = np.hypot(vx, vy)
    arrays = (vx, vy, speed, vx_error, vy_error, field.count)
    return dict(zip(VARIABLES, arrays, strict=True))


def speed_error(field: Field) -> np.ndarray:
    """Return the standard error of the speed, (h, w) [m/yr]: of the velocity along its own direction."""
    speed = np.maximum(np.hypot(*field.velocity), 1e-6)
    along = np.abs(field.velocity) / speed
    return np.hypot(*(along * field.error))


# ── Points ───────────────────────────────────────────────────────────────────────────────────────────────────────


def place_points(points: Sequence[float], nodes: Nodes) -> list[tuple[int, int]]:
    """Return the nodes (row, column) nearest to points; GlacierError for one outside the grid.

    points : longitude and latitude of each [degrees], one after the other.
    """
    places = []
    height, width = nodes.shape
    for longitude, latitude in zip(points[::2], points[1::2], strict=True):
        row = column = -1.0
        if abs(longitude) <= 360 and abs(latitude) <= 90:
            (x,), (y,) = transform("EPSG:4326", nodes.grid.crs, [longitude], [latitude])
            column, row = ~nodes.transform @ (x, y)
        if not (0 <= row < height and 0 <= column < width):
            raise GlacierError(
                f"points: {longitude:g},{latitude:g} lies outside the boundingBox; write longitude,latitude "
                "of each point, one after the other"
            )
        places.append((int(row), int(column)))
    return places


def flow_line_points(line: np.ndarray) -> list[tuple[int, int]]:
    """Return the nodes (row, column) at some parts of a flow line (N, 2)."""
    chosen = [line[round(part * (len(line) - 1))] for part in ALONG]
    return list(dict.fromkeys((round(float(row)), round(float(column))) for row, column in chosen))


def point_rows(
    series: Sequence[Period], places: Sequence[tuple[int, int]], nodes: Nodes
) -> list[dict]:
    """Return the speed at every point in every period in which it was measured, with its 90 % interval [m/yr]."""
    rows = []
    for number, (row, column) in enumerate(places, 1):
        x, y = nodes.places[:, row, column]
        (longitude,), (latitude,) = transform(nodes.grid.crs, "EPSG:4326", [x], [y])
        for period in series:
            speed = float(np.hypot(*period.field.velocity[:, row, column]))
            if not np.isfinite(speed):
                continue
            margin = NINETY_PERCENT * float(speed_error(period.field)[row, column])
            rows.append(
                {
                    "point": number,
                    "longitude": round(longitude, 5),
                    "latitude": round(latitude, 5),
                    "start": period.start.isoformat(),
                    "end": period.end.isoformat(),
                    "days": round(period.days, 1),
                    "speed_m_per_yr": round(speed, 2),
                    "low_m_per_yr": round(max(speed - margin, 0.0), 2),
                    "high_m_per_yr": round(speed + margin, 2),
                    "pairs": int(period.field.count[row, column]),
                }
            )
    return rows


COLUMNS = (
    "point", "longitude", "latitude", "start", "end", "days",
    "speed_m_per_yr", "low_m_per_yr", "high_m_per_yr", "pairs",
)  # fmt: skip


def write_points(path: Path, rows: Sequence[dict]) -> Path:
    """Write points.csv; return its path."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with disk.writing(path) as file:
        file.write(text.getvalue().encode())
    return path


# ── Seasons ──────────────────────────────────────────────────────────────────────────────────────────────────────


def seasonal_speeds(series: Sequence[Period], ice: np.ndarray, northern: bool) -> dict[str, float]:
    """Return the median speed of the ice in summer and in winter [m/yr], over the nodes known in both.

    ice : bool (h, w). Only short pairs tell the seasons apart; nothing where one of the seasons has none.
    """
    seasons: dict[str, list[np.ndarray]] = {"summer": [], "winter": []}
    for period in series:
        if not period.short:
            continue
        middle = period.start + timedelta(days=(period.end - period.start).days // 2)
        summer = (middle.month in SUMMER_MONTHS) == northern
        seasons["summer" if summer else "winter"].append(np.hypot(*period.field.velocity))
    if not all(seasons.values()):
        return {}
    means = {}
    for name, speeds in seasons.items():
        stack = np.array(speeds)  # (periods, h, w)
        count = np.isfinite(stack).sum(axis=0)
        means[name] = np.where(count > 0, np.nansum(stack, axis=0) / np.maximum(count, 1), np.nan)
    both = ice & np.isfinite(means["summer"]) & np.isfinite(means["winter"])
    if not both.any():
        return {}
    return {name: float(np.median(mean[both])) for name, mean in means.items()}
