"""What the movement stage found, in one place, and the lines that close it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from rasterio.warp import transform

from glacier.storage import runner
from glacier.velocity import series as over_time
from glacier.velocity import velocities
from glacier.velocity.fields import combine
from glacier.velocity.pairs import HALF_YEAR, Pair
from glacier.velocity.series import Period
from glacier.velocity.velocities import Field, Nodes


@dataclass(frozen=True)
class Results:
    """The velocity field of all pairs and what goes with it.

    drawn : that field or, with too few pairs for it, the one of the period that covers most. ground : NMAD over stable
    ground [m/yr]. line : (N, 2) places of the flow line through the fastest ice, in nodes, None if none surely moves.
    places, point_rows : nodes of the time series, and their lines. seasons : median speed
    in summer and winter, empty where pairs do not tell.
    """

    field: Field
    drawn: Field
    ground: float
    records: list[dict]
    series: list[Period]
    line: np.ndarray | None
    places: list[tuple[int, int]]
    point_rows: list[dict]
    seasons: dict[str, float]


def plan(pairs: Sequence[Pair], days: Sequence[date], max_velocity: float) -> str:
    """Return a line that says which pairs are tracked."""
    short = [round(pair.years * 365.25) for pair in pairs if pair.years < HALF_YEAR]
    yearly = [pair.years for pair in pairs if pair.years >= HALF_YEAR]
    kinds = []
    if short:
        kinds.append(f"{len(short)} of {min(short)} to {max(short)} days")
    if yearly:
        kinds.append(f"{len(yearly)} of up to {max(yearly):.0f} years")
    pairs_of = f"{len(pairs)} pairs of {len(days)} scenes, {' and '.join(kinds)}"
    return f"{pairs_of}; ice up to {max_velocity:g} m/yr is looked for"


def results(
    tracked: np.ndarray,
    pairs: Sequence[Pair],
    records: list[dict],
    days: Sequence[date],
    stable: np.ndarray,
    nodes: Nodes,
    points: Sequence[float],
) -> Results:
    """Return the field, its series and the series at points of the velocities of pairs.

    tracked : (P, 3, h, w). points : longitude and latitude of each; without them places on the flow line.
    """
    every = np.ones(len(pairs), bool)
    field, ground = combine(tracked, pairs, every, stable)
    noise = [np.nan if record["refused"] else record["stable_nmad"] for record in records]
    series = over_time.make_series(tracked, pairs, np.array(noise, float), days, stable)
    empty = not np.isfinite(field.velocity).any()
    drawn = field
    if empty:
        drawn = clearest(series, field)
    line = flow_line(drawn)
    if points:
        places = over_time.place_points(points, nodes)
    else:
        if line is None:
            places = []
        else:
            places = over_time.flow_line_points(line)
    rows = over_time.point_rows(series, places, nodes)
    seasons = over_time.seasonal_speeds(series, ~stable, is_northern(nodes))
    return Results(field, drawn, ground, records, series, line, places, rows, seasons)


def clearest(series: Sequence[Period], field: Field) -> Field:
    """Return the period's field that covers most; `field` where there is none."""
    fields = [period.field for period in series]
    return max(fields, key=lambda one: np.isfinite(one.velocity[0]).sum(), default=field)


def flow_line(field: Field) -> np.ndarray | None:
    """Return the flow line (N, 2) through the fastest ice, in nodes; None if none surely moves."""
    moving = velocities.certain(field)
    if not moving.any():
        return None
    speed = np.where(moving, np.hypot(*field.velocity), np.nan)
    row, column = np.unravel_index(np.nanargmax(speed), speed.shape)
    return velocities.trace(field.velocity, (float(row), float(column)))


def is_northern(nodes: Nodes) -> bool:
    """Return whether the grid's middle lies north of the equator."""
    x, y = nodes.places.reshape(2, -1).mean(axis=1)
    _, (latitude,) = transform(nodes.grid.crs, "EPSG:4326", [x], [y])
    return latitude >= 0


def closing(
    results: Results, stable: np.ndarray, margin: np.ndarray, files: list[Path]
) -> runner.Result:
    """Return the files, the counts and the closing table."""
    field = results.field
    measured = np.isfinite(field.velocity[0])
    share = float(measured.mean())
    refused = Counter(record["refused"] for record in results.records if record["refused"])
    used = len(results.records) - sum(refused.values())
    if np.isnan(results.ground):
        ground = None
    else:
        ground = round(results.ground, 3)
    counts = {
        "pairs": len(results.records),
        "pairs_used": used,
        "known": round(share, 4),
        "stable_nmad": ground,
        "periods": len(results.series),
        **ice_counts(field, measured & ~stable),
    }
    table = [
        ("pairs of scenes", len(results.records)),
        *((f"refused, {reason}", count) for reason, count in sorted(refused.items())),
        ("at rest over stable ground", used),
        ("periods of velocity_series.nc", len(results.series)),
        ("nodes with a velocity [%]", round(100 * share, 1)),
        *([] if share else [("velocity.tif is empty: pairs it needs", velocities.MIN_PAIRS)]),
        ("NMAD over stable ground [m/yr]", "-" if ground is None else round(ground, 2)),
        *ice_lines(field, measured & ~stable, margin),
        *(
            (f"ice: {name} speed [m/yr]", round(speed, 1))
            for name, speed in results.seasons.items()
        ),
    ]
    return runner.Result(files, counts, table)


def ice_counts(field: Field, ice: np.ndarray) -> dict[str, float]:
    """Return the median and the highest speed (99 %) of the ice [m/yr]; nothing where none was measured."""
    speeds = np.hypot(*field.velocity)[ice]
    if not len(speeds):
        return {}
    median, fastest = np.percentile(speeds, (50, 99))
    return {
        "median_speed_m_per_yr": round(float(median), 2),
        "fastest_m_per_yr": round(float(fastest), 2),
    }


def ice_lines(field: Field, ice: np.ndarray, margin: np.ndarray) -> list[tuple]:
    """Return the lines of the closing table about the ice; none where no ice was measured."""
    if not ice.any():
        return []
    speed = np.hypot(*field.velocity)[ice]
    error = np.hypot(*field.error)[ice]
    return [
        ("ice: median speed [m/yr]", round(float(np.median(speed)), 1)),
        ("ice: fastest (99 %) [m/yr]", round(float(np.percentile(speed, 99)), 1)),
        ("ice: median standard error [m/yr]", round(float(np.median(error)), 2)),
        ("ice: nodes whose window sees ground too [%]", round(100 * float(margin[ice].mean()), 1)),
    ]
