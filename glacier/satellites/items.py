"""Items of an archive, however it spells them: STAC 0.7 to 1.1, as APIs and catalogues write them.

An item that cannot be understood raises OddItemError with the reason; it is dropped, and no other with it.
"""

from __future__ import annotations

import datetime as dt
import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

WORLD = (-180.0, -90.0, 180.0, 90.0)
TIERS = ("T1", "T2", "RT")
# what follows the last colon of a property's name, whatever extension defined it
RMSE_NAMES = ("geometric_rmse", "geometric_rmse_model")
SHORT_PLATFORMS = {"lc": "landsat-", "le": "landsat-", "lt": "landsat-", "lo": "landsat-"}
ROLES_LEFT_OUT = {"thumbnail", "overview", "visual", "metadata"}


class OddItemError(ValueError):
    """An item that cannot be used; the text says why."""


@dataclass(frozen=True)
class Asset:
    """One file of an item.

    common_names, band_names : of its bands, in lower case. gsd : pixel size [m], infinite where not told.
    scale, offset : reflectance = number * scale + offset, None where not told.
    crs : as "EPSG:32643", or empty. transform : a, b, c, d, e, f of its pixels, or empty.
    """

    key: str
    href: str
    common_names: tuple[str, ...] = ()
    band_names: tuple[str, ...] = ()
    gsd: float = math.inf
    scale: float | None = None
    offset: float | None = None
    crs: str = ""
    transform: tuple[float, ...] = ()


@dataclass(frozen=True)
class Item:
    """What stage 1 needs of a STAC item.

    datetime : with time zone UTC; day_only where the archive tells no time of day. platform : as "landsat-8".
    cloud_percent, sun_azimuth, sun_elevation : NaN where not told. bbox : west, south, east, north [degrees]; west
    exceeds east across the antimeridian. crs : as "EPSG:32643", or empty. properties : as the archive wrote them.
    place : of the acquisition, path and row or tile, or empty. tier : T1, T2, RT or empty. geometric_rmse : [m] or NaN.
    collection_address : where its collection is described, or empty. assets : by key.
    """

    id: str
    collection: str
    datetime: dt.datetime
    day_only: bool
    platform: str
    cloud_percent: float
    sun_azimuth: float
    sun_elevation: float
    bbox: tuple[float, ...]
    crs: str
    place: str
    tier: str
    geometric_rmse: float
    properties: dict
    collection_address: str
    assets: dict[str, Asset] = field(repr=False)

    @property
    def identity(self) -> tuple[str, str]:
        """What tells it from every other item: collection and id."""
        return self.collection, self.id

    @property
    def label(self) -> str:
        """Its id, as it can be printed."""
        return printable(self.id)


def printable(text: str) -> str:
    """Return a text of an archive with control characters escaped, at most 200 characters."""
    letters = [letter if letter.isprintable() else repr(letter)[1:-1] for letter in text]
    return "".join(letters)[:200]


def parse_item(feature: dict, address: str) -> Item:
    """Return the Item of a STAC item; OddItemError if it has no id, no date, no assets or no usable box.

    address : of the file or page that it was read from; relative addresses start there.
    """
    if isinstance(feature, Exception):
        raise OddItemError(f"its page cannot be read: {feature}")
    if not isinstance(feature, dict):
        raise OddItemError("it is no item")
    name, told = feature.get("id"), feature.get("properties")
    if not isinstance(name, str | int) or name in ("", True, False):
        raise OddItemError("it has no id")
    if not isinstance(told, dict):
        raise OddItemError("it has no properties")
    name = str(name)
    links = [link for link in as_list(feature.get("links")) if isinstance(link, dict)]
    base = base_address(links, address)
    collection_address = linked(links, "collection", base)
    collection = read_collection(feature, told, collection_address)
    when, day_only = read_date(told)
    zenith = number(told.get("s2:mean_solar_zenith"))
    elevation = first_number(told, ("view:sun_elevation", "eo:sun_elevation"))
    return Item(
        id=name,
        collection=collection,
        datetime=when,
        day_only=day_only,
        platform=read_platform(told, name),
        cloud_percent=read_cloud(told),
        sun_azimuth=first_number(
            told, ("view:sun_azimuth", "eo:sun_azimuth", "s2:mean_solar_azimuth")
        ),
        sun_elevation=90 - zenith if math.isnan(elevation) else elevation,
        bbox=read_box(feature),
        crs=read_crs(told),
        place=read_place(told, name),
        tier=read_tier(told, name),
        geometric_rmse=read_geometric_rmse(told),
        properties=told,
        collection_address=collection_address,
        assets=read_assets(feature, told, base, address),
    )


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
    return ending[1] if ending else ""


# ── Time ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_date(told: dict) -> tuple[dt.datetime, bool]:
    """Return when an item was taken (UTC), the start where it tells a range, and whether only the day is told."""
    texts = [told.get(name) for name in ("datetime", "start_datetime", "end_datetime")]
    text = next((text for text in texts if isinstance(text, str) and text.strip()), None)
    if text is None:
        raise OddItemError("it has no date")
    return parse_date(text), len(text.strip()) <= len("2020-01-01")


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
    return f"sentinel-2{short[1]}" if short else name


def read_platform(told: dict, name: str) -> str:
    """Return the satellite of an item, from its properties or the beginning of its id; else empty."""
    for key in ("platform", "eo:platform"):
        value = told.get(key)
        if isinstance(value, str) and value.strip():
            return plain_platform(value)
    beginning = re.match(r"(L[CEOT]0\d|S2[A-D])_", name.upper())
    return plain_platform(beginning[1]) if beginning else ""


def read_place(told: dict, name: str) -> str:
    """Return which frame of the satellite's grid an item is: Landsat's path and row, Sentinel-2's tile; else empty."""
    path, row = number(told.get("landsat:wrs_path")), number(told.get("landsat:wrs_row"))
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
    return tile[1] if tile else ""


def read_collection(feature: dict, told: dict, collection_address: str) -> str:
    """Return the id of an item's collection: as it says, or the name of the page it links to."""
    for value in (feature.get("collection"), told.get("collection")):
        if isinstance(value, str) and value:
            return value
    page = urlsplit(collection_address).path.rpartition("/")[2]
    plain = page.removesuffix(".json")
    return "" if plain in ("collection", "catalog") else plain


# ── Boxes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_box(feature: dict) -> tuple[float, ...]:
    """Return the box of an item, from its bbox (4 or 6 numbers) or its geometry; the whole Earth if it has neither.

    A box that spans more than half the Earth is what some archives write for one across the antimeridian: there the
    geometry tells better.
    """
    bbox, geometry = feature.get("bbox"), feature.get("geometry")
    box = flat_box(bbox) if bbox else None
    if box is None or box[2] - box[0] > 180:
        points = points_of(geometry)
        box = box_around(points) if points else box
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
    stack = [part.get("coordinates") for part in (geometry, *parts)]
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
    west, east = min(longitudes), max(longitudes)
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
    return tuple(numbers) if len(numbers) == 6 and not math.isnan(sum(numbers)) else ()


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_assets(feature: dict, told: dict, base: str, address: str) -> dict[str, Asset]:
    """Return the files of an item by key; OddItemError if it has none."""
    assets, name = feature.get("assets"), str(feature.get("id"))
    if not isinstance(assets, dict):
        raise OddItemError("it has no assets")
    plain = {
        key: read_asset(key, content, told, name, base, address)
        for key, content in assets.items()
        if isinstance(content, dict) and not ROLES_LEFT_OUT & roles_of(content)
    }
    there = {key: asset for key, asset in plain.items() if asset is not None}
    hrefs = [content.get("href") for content in assets.values() if isinstance(content, dict)]
    texts = [href for href in hrefs if isinstance(href, str)]
    if not any(file_beside(href, name, address) for href in texts):
        return there
    # a scene that was delivered with its item: what is not beside it is not to be had
    return {key: asset for key, asset in there.items() if "://" not in asset.href}


def roles_of(content: dict) -> set[str]:
    """Return what an asset is for."""
    return {role for role in as_list(content.get("roles")) if isinstance(role, str)}


def read_asset(
    key: str, content: dict, told: dict, name: str, base: str, address: str
) -> Asset | None:
    """Return one file, None if it has no address or holds several bands (a picture)."""
    href = read_href(content, name, base, address)
    bands = read_bands(content, told)
    if href is None or len(bands) > 1:
        return None
    band = bands[0] if bands else {}
    common = band.get("common_name", band.get("eo:common_name"))
    scale, offset = read_scaling(content)
    gsd = first_number(content | band, ("gsd", "raster:spatial_resolution", "eo:gsd"))
    return Asset(
        key=key,
        href=href,
        common_names=(common.lower(),) if isinstance(common, str) else (),
        band_names=(band["name"].lower(),) if isinstance(band.get("name"), str) else (),
        gsd=math.inf if math.isnan(gsd) else gsd,
        scale=scale,
        offset=offset,
        crs=read_crs(content) or read_crs(told),
        transform=read_transform(content) or read_transform(told),
    )


def read_bands(content: dict, told: dict) -> list[dict]:
    """Return what an asset says of its bands; STAC 0.7 gives numbers of the item's own list."""
    bands = as_list(content.get("bands")) or as_list(content.get("eo:bands"))
    shared = as_list(told.get("eo:bands"))
    by_number = [
        shared[band] if isinstance(band, int) and 0 <= band < len(shared) else band
        for band in bands
    ]
    return [band for band in by_number if isinstance(band, dict)]


def read_scaling(content: dict) -> tuple[float | None, float | None]:
    """Return scale and offset of an asset, None where it does not tell: raster:bands, bands, or the asset itself."""
    for part in (*as_list(content.get("raster:bands"))[:1], *as_list(content.get("bands"))[:1]):
        if isinstance(part, dict):
            pair = scaling_of(part)
            if pair != (None, None):
                return pair
    return scaling_of(content)


def scaling_of(part: dict) -> tuple[float | None, float | None]:
    """Return scale and offset of a band, None where not told; a scale of 0 tells nothing."""
    scale = first_number(part, ("raster:scale", "scale"))
    offset = first_number(part, ("raster:offset", "offset"))
    return (
        None if math.isnan(scale) or scale == 0 else scale,
        None if math.isnan(offset) else offset,
    )


def read_href(content: dict, name: str, base: str, address: str) -> str | None:
    """Return the address of a file of the item `name`: the file beside it, its https alternate, or as it is told."""
    alternates = content.get("alternate")
    alternates = alternates.values() if isinstance(alternates, dict) else ()
    hrefs = [content, *(part for part in alternates if isinstance(part, dict))]
    texts = [part["href"] for part in hrefs if isinstance(part.get("href"), str) and part["href"]]
    if not texts:
        return None
    on_the_web = [text for text in texts if text.startswith(("http://", "https://"))]
    href = on_the_web[0] if texts[0].startswith("s3://") and on_the_web else texts[0]
    return file_beside(href, name, address) or resolve(href, base)


def file_beside(href: str, name: str, address: str) -> str | None:
    """Return the path of a file that was delivered beside its item on disk, as USGS ships a scene; None if it was not.

    Such files carry the id of the item (`name`) in their own name; their address on the web asks for an account.
    """
    file_name = unquote(urlsplit(href).path.rpartition("/")[2])
    if is_web(address) or "://" not in href or not file_name.startswith(name):
        return None
    beside = Path(address).parent / file_name
    return str(beside) if beside.is_file() else None


def is_web(address: str) -> bool:
    """Tell whether an address is one of the web."""
    return address.startswith(("http://", "https://"))


def resolve(href: str, base: str) -> str:
    """Return an address as seen from the page or file that names it."""
    if href.startswith("file://"):
        return unquote(urlsplit(href).path)
    if "://" in href:
        return href
    if is_web(base):
        return urljoin(base, href)
    return os.path.normpath(Path(base).parent / href)


def linked(links: list[dict], relation: str, base: str) -> str:
    """Return the address that the first link of a relation leads to, or an empty text."""
    hrefs = [link.get("href") for link in links if link.get("rel") == relation]
    texts = [href for href in hrefs if isinstance(href, str) and href]
    return resolve(texts[0], base) if texts else ""


def base_address(links: list[dict], address: str) -> str:
    """Return where relative addresses of an item start: the file it was read from, or its own page on the web."""
    if not is_web(address):
        return address
    own = linked(links, "self", address)
    return own if is_web(own) else address
