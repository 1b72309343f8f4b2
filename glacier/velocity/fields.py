"""Velocity fields over years: combined from pairs, written as GeoTIFF, read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from config import Config
from glacier import stages
from glacier.blocks import blocks
from glacier.figures import looks, qgis
from glacier.grid import Grid
from glacier.storage import disk, geotiff
from glacier.storage.forms import Form, is_count, is_day, is_finite, is_shape, is_transform
from glacier.velocity import displacement, velocities
from glacier.velocity.velocities import SPACING, Field, Nodes, Pair

STAGE = stages.MOVEMENT
BANDS = ("speed", "vx", "vy", "vx_error", "vy_error", "pairs", "margin")
# of movement.json
FORM: dict[str, Form] = {
    "crs": str,
    "transform": is_transform,
    "shape": is_shape,
    "pairs": [{"first": is_count, "second": is_count, "years": is_finite}],
    "dates": [is_day],
}
UNITS = ("m/yr",) * 5 + ("1",) * 2
YEARLY_SPAN = 1.5  # years; longer pairs do not tell one year's velocity


def pixel_displacement(field: Field, nodes: Nodes) -> np.ndarray:
    """Return a field's displacement in one year at every pixel, float32 (2, H, W) [px]; gaps from their neighbours."""
    a, b, _, d, e, _ = nodes.grid.transform
    to_pixels = np.linalg.inv([[a, b], [d, e]])
    moved = np.einsum("ij,jhw->ihw", to_pixels, field.velocity)
    return displacement.interpolate(moved, nodes.rows, nodes.columns, nodes.grid.shape)


def combine(
    tracked: np.ndarray,
    pairs: Sequence[Pair],
    members: np.ndarray,
    stable: np.ndarray,
    rows: int = 8,
    least: int = velocities.MIN_PAIRS,
) -> tuple[Field, float]:
    """Return one field from the velocities of some pairs, and the NMAD of its stable ground [m/yr].

    tracked : (P, 3, h, w), read a few rows at a time. members : (P,) bool, the pairs that count. least : pairs that a
    velocity needs.
    """
    member_pairs = [pairs[number] for number in np.flatnonzero(members).tolist()]
    parts = []
    for block in blocks(tracked.shape[2], rows):
        part = tracked[members, :, block]
        parts.append(velocities.combine(part[:, :2], part[:, 2], member_pairs, least))
    velocity = np.concatenate([part.velocity for part in parts], axis=-2)
    error = np.concatenate([part.error for part in parts], axis=-2)
    count = np.concatenate([part.count for part in parts], axis=-2)
    return velocities.finish(Field(velocity, error, count), stable, SPACING)


def write_geotiff(
    path: Path, field: Field, margin: np.ndarray, nodes: Nodes, tags: dict[str, str]
) -> Path:
    """Write a velocity field as a GeoTIFF with the bands BANDS, nodata NaN; return its path.

    margin : bool (h, w), where the tracking window sees ice and ground.
    """
    speed = np.hypot(*field.velocity)
    layers = np.array([speed, *field.velocity, *field.error, field.count, margin])
    meaning = {
        "UNITS": "m/yr",
        "DIRECTIONS": "vx to the east, vy to the north of the map grid",
        "ERRORS": "standard errors",
        "MARGIN": "1 where the tracking window sees ice and ground: speeds there are too low on ice",
    }
    return geotiff.write(
        path, layers, nodes.grid.crs, nodes.transform, BANDS, tags | meaning, UNITS
    )


def write_style(path: Path, field: Field) -> Path:
    """Write the colours of a velocity field's GeoTIFF for QGIS, its speed; return their path."""
    speed = np.hypot(*field.velocity)
    top = most = 1.0
    if np.isfinite(speed).any():
        top = max(float(np.nanpercentile(speed, 99.5)), 1.0)
        most = float(np.nanmax(speed))
    band = BANDS.index("speed") + 1
    return qgis.write_ramp(path, band, (0.0, top), (0.0, most), looks.SPEED.colours, "m/yr")


def period(pairs: Sequence[Pair], days: Sequence[date]) -> str:
    """Return the first and the last day of some pairs, as ISO text."""
    first_day = min(days[pair.first] for pair in pairs)
    last_day = max(days[pair.second] for pair in pairs)
    return f"{first_day}/{last_day}"


def write_record(
    folder: Path,
    nodes: Nodes,
    dates: Sequence[str],
    records: list[dict],
    stable: np.ndarray,
    times: int = 1,
) -> list[Path]:
    """Write stable.npy and movement.json, which say what pairs.npy holds; return their paths.

    times : by how much finer than the glacier's grid that of the nodes is.
    """
    with disk.writing(folder / "stable.npy") as file:
        np.save(file, stable)
    record: dict = {
        "schema": disk.SCHEMA,
        "crs": nodes.grid.crs,
        "transform": nodes.grid.transform,
        "shape": nodes.grid.shape,
        "times_finer": times,
        "dates": dates,
        "pairs": records,
    }
    return [folder / "stable.npy", disk.write_json(folder / "movement.json", record)]


@dataclass(frozen=True)
class Movement:
    """What the stage made: the velocities of every pair, memory-mapped, and where and when.

    tracked : (P, 3, h, w), vx, vy [m/yr], weight. pairs, dates : of the scenes. stable : bool (h, w). times : by how
    much finer than the glacier's grid that of the nodes is.
    """

    tracked: np.ndarray
    pairs: tuple[Pair, ...]
    dates: tuple[date, ...]
    stable: np.ndarray
    nodes: Nodes
    times: int = 1

    def field(self, before: date | None = None) -> Field | None:
        """Return the velocity field from the pairs that end before a day (None: all); None if there are too few."""
        ends = [self.dates[pair.second] for pair in self.pairs]
        members = np.array([before is None or end < before for end in ends])
        if members.sum() < velocities.MIN_PAIRS:
            return None
        return combine(self.tracked, self.pairs, members, self.stable)[0]

    def displacement(self, field: Field) -> np.ndarray:
        """Return a field's displacement in one year at every pixel of the glacier's grid, as pixel_displacement."""
        finer = pixel_displacement(field, self.nodes)
        height, width = (length // self.times for length in self.nodes.grid.shape)
        parts = finer.reshape(2, height, self.times, width, self.times)
        return parts.mean(axis=(2, 4)) / self.times


def read_movement(cfg: Config) -> Movement:
    """Return what the stage made; GlacierError if it is missing or damaged."""
    folder = cfg.folder / STAGE
    record = disk.read_json(folder / "movement.json", FORM)
    nodes = Nodes.over(
        Grid(record["crs"], tuple(record["transform"]), tuple(record["shape"])), SPACING
    )
    pairs = tuple(Pair(pair["first"], pair["second"], pair["years"]) for pair in record["pairs"])
    days = tuple(date.fromisoformat(day) for day in record["dates"])
    stable = np.array(disk.read_array(folder / "stable.npy"))
    tracked = disk.read_array(folder / "pairs.npy")
    return Movement(tracked, pairs, days, stable, nodes, record.get("times_finer", 1))
