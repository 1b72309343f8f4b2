"""What an item's properties and shape tell: time, satellite, place, box, projection, however an archive spells them.

What is missing or no value of its kind is told as such; what an item cannot do without raises OddItemError.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterable

from glacier.satellites.addresses import path_in
from glacier.texts import printable

WORLD = (-180.0, -90.0, 180.0, 90.0)
TIERS = ("T1", "T2", "RT")
# what follows the last colon of a property's name, whatever extension defined it
RMSE_NAMES = ("geometric_rmse", "geometric_rmse_model")
SHORT_PLATFORMS = {"lc": "landsat-", "le": "landsat-", "lt": "landsat-", "lo": "landsat-"}


class OddItemError(ValueError):
    """An item that cannot be used; the text says why."""


# ── Plain values ─────────────────────────────────────────────────────────────────────────────────────────────────


def as_list(value) -> list:
    """Return a list as it is, and an empty one for anything else."""
    return value if isinstance(value, list) else []


def number(value) -> float:
    """Return a finite number, also one written as text; NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        plain = float(value)
    except (ValueError, OverflowError):
        return math.nan
    return plain if math.isfinite(plain) else math.nan


def first_number(told: dict, names: Iterable[str]) -> float:
    """Return the first property that is a number, NaN if none is."""
    numbers = [number(told.get(name)) for name in names]
    return next((value for value in numbers if not math.isnan(value)), math.nan)


def read_cloud(told: dict) -> float:
    """Return the cloud cover [%], NaN where it is not told, or told as -1 (not calculated)."""
    percent = number(told.get("eo:cloud_cover"))
    return percent if 0 <= percent <= 100 else math.nan


def read_geometric_rmse(told: dict) -> float:
    """Return how far the ground control points of an item lay from their places [m], NaN if it does not tell."""
    names = [name for name in told if name.rpartition(":")[2] in RMSE_NAMES]
    return first_number(told, names)


def read_tier(told: dict, name: str) -> str:
    """Return Landsat's tier of an item, T1, T2 or RT, from its properties or the end of its id; else empty."""
    category = str(told.get("landsat:collection_category", "")).upper()
    ending = re.search(r"_(T1|T2|RT)(_SR|_ST)?$", name.upper())
    if category in TIERS:
        return category
    if ending:
        return ending[1]
    return ""


def read_level(told: dict, name: str, collection: str) -> str:
    """Return "1" for an item of what reaches the satellite, before the air between is taken off; else empty."""
    names = ("processing:level", "landsat:correction", "landsat:processing_level")
    levels = [str(told.get(key, "")).upper() for key in names]
    short = [level.replace("LEVEL", "L").replace("-", "") for level in levels]
    if any(level.startswith("L1") for level in short):
        return "1"
    product = str(told.get("s2:product_type", "")).upper()
    in_id = re.match(r"L[A-Z]0\d_L1|S2[A-D]_MSIL1", name.upper())
    in_collection = re.search(r"(?<![a-z])l1[a-z]{0,2}(?![a-z0-9])", collection.lower())
    return "1" if "MSI1C" in product or in_id or in_collection else ""


# ── Time ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_date(told: dict) -> tuple[dt.datetime, bool]:
    """Return when an item was taken (UTC), the start where it tells a range, and whether only the day is told."""
    values = [told.get(name) for name in ("datetime", "start_datetime", "end_datetime")]
    texts = [value.strip() for value in values if isinstance(value, str)]
    dates = [text for text in texts if text]
    if not dates:
        raise OddItemError("it has no date")
    return parse_date(dates[0]), len(dates[0]) <= len("2020-01-01")


def parse_date(text: str) -> dt.datetime:
    """Return an ISO 8601 date and time as UTC; without a zone it is UTC; OddItemError for anything else."""
    try:
        when = dt.datetime.fromisoformat(text.strip().upper())
        if when.tzinfo is None:
            return when.replace(tzinfo=dt.UTC)
        return when.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise OddItemError(f"its date {printable(text)[:40]!r} is no date") from None


# ── Satellite and place ──────────────────────────────────────────────────────────────────────────────────────────


def plain_platform(text: str) -> str:
    """Return a satellite's name as this project spells it: landsat-8, sentinel-2a; others in lower case."""
    name = re.sub(r"[\s_]+", "-", text.strip().lower())
    spelled = re.fullmatch(r"(landsat|sentinel)-?0?(\d)-?([a-d]?)", name)
    if spelled:
        return f"{spelled[1]}-{spelled[2]}{spelled[3]}"
    short = re.fullmatch(r"(l[ceot])0?(\d)", name)
    if short:
        return SHORT_PLATFORMS[short[1]] + short[2]
    short = re.fullmatch(r"s2([a-d])", name)
    if short:
        return f"sentinel-2{short[1]}"
    return name


def read_platform(told: dict, name: str) -> str:
    """Return the satellite of an item, from its properties or the beginning of its id; else empty."""
    for key in ("platform", "eo:platform"):
        value = told.get(key)
        if isinstance(value, str) and value.strip():
            return plain_platform(value)
    beginning = re.match(r"(L[CEOT]0\d|S2[A-D])_", name.upper())
    if beginning:
        return plain_platform(beginning[1])
    return ""


def read_place(told: dict, name: str) -> str:
    """Return which frame of the satellite's grid an item is: Landsat's path and row, Sentinel-2's tile; else empty."""
    path = number(told.get("landsat:wrs_path"))
    row = number(told.get("landsat:wrs_row"))
    if not math.isnan(path + row):
        return f"{path:.0f}/{row:.0f}"
    in_id = re.match(r"L[CEOT]0\d_L\w{3}_(\d{3})(\d{3})_", name.upper())
    if in_id:
        return f"{int(in_id[1])}/{int(in_id[2])}"
    for key in ("s2:mgrs_tile", "grid:code"):
        code = re.search(r"(\d{1,2}[C-X][A-Z]{2})$", str(told.get(key, "")).upper())
        if code:
            return code[1]
    tile = re.search(r"(?:_|\.)T?(\d{1,2}[C-X][A-Z]{2})(?:_|\.)", name.upper())
    if tile:
        return tile[1]
    return ""


def read_collection(feature: dict, told: dict, collection_address: str) -> str:
    """Return the id of an item's collection: as it says, or the name of the page it links to."""
    for value in (feature.get("collection"), told.get("collection")):
        if isinstance(value, str) and value:
            return value
    page = path_in(collection_address).rpartition("/")[2]
    plain = page.removesuffix(".json")
    return "" if plain in ("collection", "catalog") else plain


def plain_collection(name: str) -> str:
    """Return the name of a collection without capitals and marks."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


# ── Boxes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_box(feature: dict) -> tuple[float, ...]:
    """Return the box of an item, from its bbox (4 or 6 numbers) or its geometry; the whole Earth if it has neither.

    A box that spans more than half the Earth is what some archives write for one across the antimeridian: there the
    geometry tells better.
    """
    bbox = feature.get("bbox")
    geometry = feature.get("geometry")
    box = None
    if bbox:
        box = flat_box(bbox)
    if box is None or box[2] - box[0] > 180:
        points = points_of(geometry)
        if points:
            box = box_around(points)
    if box is not None:
        return box
    if bbox or geometry:
        raise OddItemError("its box cannot be read")
    return WORLD


def flat_box(bbox) -> tuple[float, ...] | None:
    """Return the four numbers of a box of four or six (with heights), None if it is none."""
    numbers = [number(value) for value in as_list(bbox)]
    if len(numbers) == 6:
        numbers = [numbers[index] for index in (0, 1, 3, 4)]
    if len(numbers) != 4 or math.isnan(sum(numbers)) or numbers[1] > numbers[3]:
        return None
    return tuple(numbers)


def points_of(geometry) -> list[tuple[float, float]]:
    """Return all points (longitude, latitude) of a GeoJSON geometry."""
    if not isinstance(geometry, dict):
        return []
    parts = [part for part in as_list(geometry.get("geometries")) if isinstance(part, dict)]
    parts.append(geometry)
    stack = [part.get("coordinates") for part in parts]
    points = []
    while stack:
        value = stack.pop()
        if not isinstance(value, list):
            continue
        if len(value) >= 2 and not isinstance(value[0], list):
            points.append((number(value[0]), number(value[1])))
        else:
            stack.extend(value)
    return [point for point in points if not math.isnan(sum(point))]


def box_around(points: list[tuple[float, float]]) -> tuple[float, ...]:
    """Return the smallest box around points; across the antimeridian its west exceeds its east."""
    latitudes = [latitude for _, latitude in points]
    longitudes = [longitude for longitude, _ in points]
    eastward = [longitude % 360 for longitude in longitudes]
    if max(eastward) - min(eastward) < max(longitudes) - min(longitudes):
        longitudes = eastward
    west = min(longitudes)
    east = max(longitudes)
    if east > 180:
        east -= 360
        west -= 360 if west > 180 else 0
    return west, min(latitudes), east, max(latitudes)


# ── Projection ───────────────────────────────────────────────────────────────────────────────────────────────────


def read_crs(told: dict) -> str:
    """Return the map projection as "EPSG:32643", or an empty text where it is not told so."""
    code = told.get("proj:code")
    if isinstance(code, str) and re.fullmatch(r"EPSG:\d{4,6}", code.strip().upper()):
        return code.strip().upper()
    for key in ("proj:epsg", "eo:epsg"):
        epsg = number(told.get(key))
        if not math.isnan(epsg):
            return f"EPSG:{epsg:.0f}"
    return ""


def read_transform(told: dict) -> tuple[float, ...]:
    """Return a, b, c, d, e, f of the pixels, or nothing where it is not told."""
    numbers = [number(value) for value in as_list(told.get("proj:transform"))][:6]
    if len(numbers) < 6 or math.isnan(sum(numbers)):
        return ()
    return tuple(numbers)
