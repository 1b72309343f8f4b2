"""Which items of an archive are read: by satellite, clouds and bands, grouped by overpass."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
from pathlib import Path

import config
from config import Config, GlacierError
from glacier.grid import Grid, make_grid
from glacier.satellites import sensors
from glacier.satellites.assembly import NEEDED
from glacier.satellites.search import Item, search
from glacier.storage import disk
from glacier.workers import scenes_at_once


def sensor_of(cfg: Config, item: Item) -> str:
    """Return the sensor (a key of sensors.SENSORS) of an item among those of the settings, or an empty text.

    `platforms` and `collection`, where given, replace those of the sensor's row.
    """
    platforms = tuple(name.lower() for name in cfg.platforms)
    if platforms and item.platform not in platforms:
        return ""
    rows = {name: sensors.find(name) for name in cfg.sensor}
    fitting = [name for name, row in rows.items() if platforms or item.platform in row.platforms]
    fitting.sort(
        key=lambda name: (
            item.platform not in rows[name].platforms,
            item.collection != rows[name].collection,
        )
    )  # stable: else in the order given
    return fitting[0] if fitting else ""


def select(cfg: Config, items: list[Item]) -> tuple[list[Item], list[tuple[str, str]]]:
    """Return the items to read, with their sensor, and (id, reason) of the others. Needed: green, swir16, quality."""
    kept, dropped = [], []
    for item in items:
        name = sensor_of(cfg, item)
        if not name:
            dropped.append((item.id, f"platform {item.platform or 'unknown'}"))
            continue
        row = sensors.find(name)
        missing = [
            key
            for key in (*(row.bands[band] for band in NEEDED), next(iter(row.quality)))
            if key not in item.hrefs
        ]
        if item.cloud_percent > cfg.maxCloudPercent:
            dropped.append((item.id, "more cloud than maxCloudPercent"))
        elif missing:
            dropped.append((item.id, f"no asset {missing[0]}"))
        else:
            kept.append(dataclasses.replace(item, sensor=name))
    return kept, dropped


def solar_days(items: list[Item], longitude: float, crs: str) -> list[list[Item]]:
    """Return the items grouped by solar day and satellite: neighbours of one overpass are one scene.

    The first observed pixel counts, so within a day those of the grid's own projection come first, then the earlier.
    """
    days: dict[tuple, list[Item]] = {}
    for item in items:
        day = (item.datetime + dt.timedelta(hours=((longitude + 180) % 360 - 180) / 15)).date()
        days.setdefault((day, item.sensor, item.platform), []).append(item)
    return [sorted(day, key=lambda item: item.crs != crs) for day in days.values()]


def find_days(cfg: Config, grid: Grid) -> tuple[list[list[Item]], list[tuple[str, str]]]:
    """Search and select; return the solar days to read and (id, reason) of the items left out."""
    kept, dropped = select(cfg, search(cfg))
    if not kept:
        why = f" (left out: {count_reasons(dropped)})" if dropped else ""
        raise GlacierError(
            f"no scene found for boundingBox {list(cfg.boundingBox)}, years {list(cfg.years)} "
            f"in {cfg.source}{why}; check these settings, maxCloudPercent and platforms"
        )
    return solar_days(kept, (cfg.boundingBox[0] + cfg.boundingBox[2]) / 2, grid.crs), dropped


def find_bands(cfg: Config, days: list[list[Item]]) -> list[str]:
    """Return the common names of the bands that any item has, in the order of the sensors' rows."""
    there = {(item.sensor, key) for day in days for item in day for key in item.hrefs}
    return list(
        dict.fromkeys(
            band
            for name in cfg.sensor
            for band, key in sensors.find(name).bands.items()
            if (name, key) in there
        )
    )


def glacier_grid(cfg: Config) -> Grid:
    """Return the grid of the settings, on the pixel edges of the first sensor; GlacierError if memory is too small.

    A scene is held as all its bands and its quality, twice while it is put together.
    """
    rows = [sensors.find(name) for name in cfg.sensor]
    grid = make_grid(cfg.boundingBox, cfg.pixelSize, rows[0].anchor)
    layers = max(len(row.bands) + len(row.quality) for row in rows)
    need = 2 * scenes_at_once(cfg) * layers * 2 * grid.shape[0] * grid.shape[1]
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if need > have:
        raise GlacierError(
            f"boundingBox is {grid.shape[1]} x {grid.shape[0]} px of {cfg.pixelSize:g} m: its scenes "
            f"need {need / 1e9:.1f} GB of memory, this machine has {have / 1e9:.1f} GB; "
            "draw a smaller box or raise pixelSize"
        )
    return grid


def count_reasons(dropped: list[tuple[str, str]]) -> dict[str, int]:
    """Return how many scenes each reason cost."""
    reasons = [reason for _, reason in dropped]
    return {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}


def source_hash(cfg: Config) -> list[tuple[str, str]]:
    """Return what stands for the source: the hash of a catalogue on disk, wherever it was moved to, or the address."""
    if cfg.source == Config.source or "://" in cfg.source or not Path(cfg.source).is_file():
        return [("source", cfg.source)]
    pages = sorted(Path(cfg.source).parent.rglob("*.json"))
    return [("source", config.fingerprint([disk.file_hash(path) for path in pages]))]
