"""Which items of an archive are read: by satellite, clouds and bands."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable

from glacier.satellites import sensors
from glacier.satellites.addresses import S3_ADVICE, has_s3_account, is_s3
from glacier.satellites.items import Asset, Item
from glacier.satellites.metadata import plain_collection, plain_platform
from glacier.satellites.overpasses import Acquisition, Dropped, File, without_duplicates
from glacier.satellites.scaling import (
    Statement,
    collection_statement,
    own_statements,
)
from glacier.satellites.sensors import Sensor
from glacier.texts import printable

# bands without which a scene is of no use; of the others, those that are there
NEEDED = ("green", "swir16")


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
        if by_collection:
            return by_collection[0]
        return ""
    by_platform = [name for name, row in rows.items() if item.platform in row.platforms]
    candidates = by_platform
    if wanted and not by_platform:
        candidates = list(rows)
    candidates.sort(key=lambda name: name not in by_collection)  # stable: else in the order given
    if candidates:
        return candidates[0]
    return ""


def is_of(collection: str, row: Sensor) -> bool:
    """Tell whether a collection is one of a sensor's, whatever its version."""
    return plain_collection(collection) in map(plain_collection, row.collections)


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
    if item.level == "1":
        return None, "Level 1: what reaches the satellite, no reflectance of the ground"
    if missing:
        return None, f"no asset {missing[0]}{of_several_bands(item)}"
    there = [asset for asset in (assets | quality).values() if asset is not None]
    if any(is_s3(asset.href) for asset in there) and not has_s3_account():
        return None, f"its files have s3:// addresses only; {S3_ADVICE}"
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


def of_several_bands(item: Item) -> str:
    """Return what to say of an item whose bands lie together in one file, or nothing."""
    if not item.several_bands:
        return ""
    keys = ", ".join(map(printable, item.several_bands))
    return f" (files of several bands are not read: {keys})"


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
    if ending:
        return float(ending[1])
    return math.inf


def statements_of(
    item: Item, asset: Asset, row: Sensor, read_collection: Callable[[str], dict]
) -> tuple[Statement, ...]:
    """Return what is said of a file's scaling, the most trusted first: item, collection, the sensor's manual."""
    told = own_statements(item, asset, row.scale, row.archive_offset)
    if told:
        return told
    content = {}
    if item.collection_address:
        content = read_collection(item.collection_address)
    shared = collection_statement(content, asset.key, asset.scale or row.scale)
    if shared:
        return (shared,)
    return ()


def find_bands(sensor_names: tuple[str, ...], scenes: list[list[Acquisition]]) -> list[str]:
    """Return the common names of the bands that any item has, in the order of the sensors' rows."""
    there = {band for scene in scenes for acquisition in scene for band in acquisition.bands}
    names = [band for name in sensor_names for band in sensors.find(name).bands]
    return [band for band in dict.fromkeys(names) if band in there]


def count_reasons(dropped: Dropped) -> dict[str, int]:
    """Return how many scenes each reason cost."""
    reasons = [reason for _, reason in dropped]
    return {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}
