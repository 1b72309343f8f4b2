"""Which items show the same: one processing of each acquisition counts, and neighbours of an overpass are one scene."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from glacier.satellites.items import Asset, Item
from glacier.satellites.metadata import TIERS, WORLD
from glacier.satellites.scaling import Statement, baseline_of

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
    tier = 0
    if item.tier:
        tier = len(TIERS) - TIERS.index(item.tier)
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
    one = first.item
    two = second.item
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
    if areas > both:
        return both / (areas - both)
    return 0.0


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
