"""Which items of an archive are read: by satellite, clouds and bands, grouped by overpass, one of each acquisition."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from glacier.satellites import sensors
from glacier.satellites.items import Asset, Item
from glacier.satellites.metadata import TIERS, WORLD, plain_platform, printable
from glacier.satellites.scaling import (
    Statement,
    baseline_of,
    collection_statement,
    own_statements,
)
from glacier.satellites.sensors import Sensor

# bands without which a scene is of no use; of the others, those that are there
NEEDED = ("green", "swir16")
# between neighbours of one overpass, at most; an orbit takes 99 minutes
OVERPASS = dt.timedelta(minutes=20)
# between two processings of one acquisition, at most: of one frame, or where no frame is told; the next row is 24 s off
SAME_FRAME_TIME = dt.timedelta(minutes=10)
SAME_TIME = dt.timedelta(seconds=10)
SAME_FRAME = 0.8  # of the ground of two boxes that both cover
OLDER = "an older processing of an acquisition that is there"


@dataclass(frozen=True)
class File:
    """One band of an item, or one of its quality files. statements : of its scaling, the most trusted first."""

    asset: Asset
    statements: tuple[Statement, ...] = ()

    @property
    def href(self) -> str:
        """Its address, not signed."""
        return self.asset.href


@dataclass(frozen=True)
class Acquisition:
    """An item and what is read of it. sensor : a key of sensors.SENSORS. bands : by common name. quality : by key."""

    item: Item
    sensor: str
    bands: dict[str, File]
    quality: dict[str, File]

    @property
    def names(self) -> list[str]:
        """The names of all its files."""
        return list(self.bands) + list(self.quality)


Dropped = list[tuple[str, str]]


def select(
    items: Iterable[Item],
    sensor_names: tuple[str, ...],
    platforms: tuple[str, ...],
    max_cloud_percent: float,
    read_collection: Callable[[str], dict],
) -> tuple[list[Acquisition], Dropped]:
    """Return what to read, and (id, reason) of the items left out.

    sensor_names : keys of sensors.SENSORS. platforms : take the place of the sensors' own where given.
    read_collection : called with the address of a collection where an item does not tell its scaling.
    """
    kept: list[Acquisition] = []
    dropped: Dropped = []
    for item in items:
        sensor = sensor_of(item, sensor_names, platforms)
        if not sensor:
            dropped.append((item.label, f"platform {printable(item.platform) or 'unknown'}"))
            continue
        if item.cloud_percent > max_cloud_percent:
            dropped.append((item.label, "more cloud than maxCloudPercent"))
            continue
        acquisition, reason = acquire(item, sensor, read_collection)
        if acquisition is None:
            dropped.append((item.label, reason))
        else:
            kept.append(acquisition)
    return without_duplicates(kept, dropped)


def sensor_of(item: Item, sensor_names: tuple[str, ...], platforms: tuple[str, ...]) -> str:
    """Return the sensor of an item among those asked for, a key of sensors.SENSORS, or an empty text.

    An item that does not tell its satellite is known by its collection.
    """
    wanted = {plain_platform(name) for name in platforms}
    if wanted and item.platform not in wanted:
        return ""
    rows = {name: sensors.find(name) for name in sensor_names}
    by_collection = [name for name, row in rows.items() if is_of(item.collection, row)]
    if not item.platform:
        return by_collection[0] if by_collection else ""
    by_platform = [name for name, row in rows.items() if item.platform in row.platforms]
    candidates = list(rows) if wanted and not by_platform else by_platform
    candidates.sort(key=lambda name: name not in by_collection)  # stable: else in the order given
    return candidates[0] if candidates else ""


def is_of(collection: str, row: Sensor) -> bool:
    """Tell whether a collection is one of a sensor's, whatever its version."""
    return plain_collection(collection) in map(plain_collection, row.collections)


def plain_collection(name: str) -> str:
    """Return the name of a collection without capitals and marks."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────


def acquire(
    item: Item, sensor: str, read_collection: Callable[[str], dict]
) -> tuple[Acquisition | None, str]:
    """Return what to read of an item; or None, and the reason why it is left out."""
    row = sensors.find(sensor)
    assets = {band: find_asset(item, key, band) for band, key in row.bands.items()}
    quality = {key: find_asset(item, key, "") for key in row.quality}
    first_quality = list(row.quality)[:1]
    missing = [row.bands[band] for band in NEEDED if assets[band] is None]
    missing += [key for key in first_quality if quality[key] is None]
    if missing:
        return None, f"no asset {missing[0]}"
    there = [asset for asset in (assets | quality).values() if asset is not None]
    if any(asset.href.startswith("s3://") for asset in there):
        return None, "its files have s3:// addresses only"
    bands = {
        band: File(asset, statements_of(item, asset, row, read_collection))
        for band, asset in assets.items()
        if asset is not None
    }
    if not all(bands[band].statements for band in NEEDED):
        return None, "nothing tells its offset: no raster:bands, flag, baseline or collection"
    bands = {band: file for band, file in bands.items() if file.statements}
    files = {key: File(asset) for key, asset in quality.items() if asset is not None}
    return Acquisition(item, sensor, bands, files), ""


def find_asset(item: Item, key: str, common_name: str) -> Asset | None:
    """Return the finest file of a band: by the sensor's key, that with a pixel size, common name, or band name."""
    if key in item.assets:
        return item.assets[key]
    assets = list(item.assets.values())
    plain = key.lower()
    same_key = [asset for asset in assets if asset.key.lower().removesuffix(".tif") == plain]
    with_size = [asset for asset in assets if re.fullmatch(rf"{plain}_\d+m", asset.key.lower())]
    by_key = [asset for asset in assets if asset.key.lower() == common_name]
    by_common_name = [asset for asset in assets if asset.common_name == common_name != ""]
    by_band_name = [asset for asset in assets if asset.band_name == plain]
    for fitting in (same_key, with_size, by_key, by_common_name, by_band_name):
        if fitting:
            return min(fitting, key=lambda asset: (asset.gsd, pixel_size_in(asset.key), asset.key))
    return None


def pixel_size_in(key: str) -> float:
    """Return the pixel size [m] that a key such as B03_20m names, infinite where it names none."""
    ending = re.search(r"_(\d+)m$", key.lower())
    return float(ending[1]) if ending else math.inf


def statements_of(
    item: Item, asset: Asset, row: Sensor, read_collection: Callable[[str], dict]
) -> tuple[Statement, ...]:
    """Return what is said of a file's scaling, the most trusted first: item, collection, the sensor's manual."""
    told = own_statements(item, asset, row.scale, row.archive_offset is None)
    if told:
        return told
    if row.archive_offset is not None:
        return (Statement(asset.scale or row.scale, row.archive_offset, "the sensor's manual"),)
    content = read_collection(item.collection_address) if item.collection_address else {}
    shared = collection_statement(content, asset.key, asset.scale or row.scale)
    return (shared,) if shared else ()


# ── Duplicates and overpasses ────────────────────────────────────────────────────────────────────────────────────


def without_duplicates(
    acquisitions: list[Acquisition], dropped: Dropped
) -> tuple[list[Acquisition], Dropped]:
    """Return the best processing of each acquisition, in the order given, and the others added to those left out."""
    best: dict[tuple, list[Acquisition]] = {}
    older = []
    for acquisition in sorted(acquisitions, key=processing_rank, reverse=True):
        day = acquisition.item.datetime.date()
        days = [day + dt.timedelta(days=step) for step in (-1, 0, 1)]
        satellite = acquisition.sensor, acquisition.item.platform
        nearby = [kept for date in days for kept in best.get((satellite, date), [])]
        if any(same_acquisition(kept, acquisition) for kept in nearby):
            older.append(acquisition.item)
        else:
            best.setdefault((satellite, day), []).append(acquisition)
    older_identities = {item.identity for item in older}
    kept = [one for one in acquisitions if one.item.identity not in older_identities]
    return kept, dropped + [(item.label, OLDER) for item in older]


def processing_rank(acquisition: Acquisition) -> tuple:
    """Return what grows with how good a processing is: tier, baseline, when it was processed; then its identity."""
    item = acquisition.item
    tier = len(TIERS) - TIERS.index(item.tier) if item.tier else 0
    return tier, baseline_of(item) or (0, 0), processed_when(item), item.identity


def processed_when(item: Item) -> str:
    """Return when an item was processed, as YYYYMMDDhhmmss, from its id or its properties; else empty."""
    names = ("s2:generation_time", "processing:datetime", "created")
    in_id = re.search(r"_(\d{8})_(\d{8})_\d{2}_(?:T1|T2|RT)", item.id.upper())
    if in_id:
        return in_id[2]
    stamp = re.search(r"_(\d{8}T\d{6})(?:\.SAFE)?$", item.id.upper())
    texts = [item.properties.get(name) for name in names]
    text = next((text for text in texts if isinstance(text, str)), "")
    return re.sub(r"\D", "", stamp[1] if stamp else text)[:14]


def same_acquisition(first: Acquisition, second: Acquisition) -> bool:
    """Tell whether two items are the same picture processed twice: satellite, time and frame agree."""
    one, two = first.item, second.item
    if first.sensor != second.sensor or one.platform != two.platform:
        return False
    if one.place and two.place and one.place != two.place:
        return False
    if one.day_only or two.day_only:
        same_time = one.datetime.date() == two.datetime.date()
    else:
        places_told = bool(one.place and two.place)
        limit = SAME_FRAME_TIME if places_told else SAME_TIME
        same_time = abs(one.datetime - two.datetime) <= limit
    if WORLD in (one.bbox, two.bbox):  # no box is told
        return same_time and one.place == two.place != ""
    return same_time and shared_ground(one.bbox, two.bbox) >= SAME_FRAME


def shared_ground(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """Return the share of the ground of two boxes that both cover, [0-1]."""
    first_east = first[2] + 360 * (first[2] < first[0])
    second_east = second[2] + 360 * (second[2] < second[0])
    width = min(first_east, second_east) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    both = max(width, 0.0) * max(height, 0.0)
    areas = (first_east - first[0]) * (first[3] - first[1])
    areas += (second_east - second[0]) * (second[3] - second[1])
    return both / (areas - both) if areas > both else 0.0


def overpasses(acquisitions: list[Acquisition], crs: str) -> list[list[Acquisition]]:
    """Return the acquisitions grouped by satellite and overpass: neighbours of one overpass are one scene.

    acquisitions : in time order. The first observed pixel counts, so within an overpass those of the grid's own
    projection come first, then the earlier.
    """
    latest: dict[tuple, list[Acquisition]] = {}
    groups: list[list[Acquisition]] = []
    for acquisition in acquisitions:
        key = acquisition.sensor, acquisition.item.platform
        group = latest.get(key)
        if group is None or not follows(group[-1].item, acquisition.item):
            group = []
            latest[key] = group
            groups.append(group)
        group.append(acquisition)
    for group in groups:
        group.sort(key=lambda one: one.item.crs != crs)  # stable: else in time order
    return groups


def follows(earlier: Item, later: Item) -> bool:
    """Tell whether an item belongs to the same overpass as an earlier one."""
    if earlier.day_only or later.day_only:
        return earlier.datetime.date() == later.datetime.date()
    return later.datetime - earlier.datetime <= OVERPASS


def find_bands(sensor_names: tuple[str, ...], scenes: list[list[Acquisition]]) -> list[str]:
    """Return the common names of the bands that any item has, in the order of the sensors' rows."""
    there = {band for scene in scenes for acquisition in scene for band in acquisition.bands}
    names = [band for name in sensor_names for band in sensors.find(name).bands]
    return [band for band in dict.fromkeys(names) if band in there]


def count_reasons(dropped: Dropped) -> dict[str, int]:
    """Return how many scenes each reason cost."""
    reasons = [reason for _, reason in dropped]
    return {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}
