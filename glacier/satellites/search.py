"""Which items a STAC archive has for a box and some years."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from config import Config, GlacierError
from glacier.satellites import sensors
from glacier.satellites.signing import reason_of

PLANETARY_COMPUTER = "https://planetarycomputer.microsoft.com/api/stac/v1"
SEARCH_TRIES = 6  # of each page


@dataclass(frozen=True)
class Item:
    """What stage 1 needs of a STAC item.

    platform : in lower case, hyphens for blanks. crs : as "EPSG:32643", or empty. sensor : a key of sensors.SENSORS.
    shift : added to its digital numbers. hrefs : asset key -> address, not signed.
    tier : of Landsat's geolocation, T1, T2 or RT, or empty. geometric_rmse : of the ground control points [m], or NaN.
    """

    id: str
    datetime: dt.datetime
    collection: str
    platform: str
    cloud_percent: float
    sun_azimuth: float
    sun_elevation: float
    bbox: tuple[float, ...]
    crs: str
    properties: dict
    hrefs: dict[str, str]
    sensor: str = ""
    tier: str = ""
    geometric_rmse: float = math.nan


def parse_item(item) -> Item:
    """Return an Item of a pystac.Item. Cloud cover and sun angles are NaN where the item does not tell them."""
    told = item.properties
    zenith = float(told.get("s2:mean_solar_zenith", math.nan))
    azimuth = told.get("view:sun_azimuth", told.get("s2:mean_solar_azimuth", math.nan))
    when = item.datetime or item.common_metadata.start_datetime
    hrefs = {key: asset.get_absolute_href() or asset.href for key, asset in item.assets.items()}
    crs = told.get("proj:code") or (f"EPSG:{told['proj:epsg']}" if told.get("proj:epsg") else "")
    return Item(
        item.id,
        when,
        item.collection_id or "",
        str(told.get("platform", "")).lower().replace(" ", "-"),
        float(told.get("eo:cloud_cover", math.nan)),
        float(azimuth),
        float(told.get("view:sun_elevation", 90 - zenith)),
        tuple(item.bbox or (-180, -90, 180, 90)),
        crs,
        {key: value for key, value in told.items() if key == "s2:processing_baseline"},
        hrefs,
        tier=read_tier(item.id, told),
        geometric_rmse=read_geometric_rmse(told),
    )


def read_tier(name: str, properties: dict) -> str:
    """Return Landsat's tier of an item, T1, T2 or RT, from its properties or the end of its id; else empty."""
    category = str(properties.get("landsat:collection_category", "")).upper()
    ending = re.search(r"_(T1|T2|RT)(_SR|_ST)?$", name.upper())
    if category in ("T1", "T2", "RT"):
        return category
    return ending[1] if ending else ""


def read_geometric_rmse(properties: dict) -> float:
    """Return how far the ground control points of an item lay from their places [m], NaN if it does not tell."""
    for name, value in properties.items():
        plain = name.rpartition(":")[2]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if plain in ("geometric_rmse", "geometric_rmse_model") and is_number:
            return float(value)
    return math.nan


def search(cfg: Config) -> list[Item]:
    """Return the items of the source within box and years, in time order; GlacierError if it cannot be asked."""
    import pystac

    api = cfg.source == Config.source or "://" in cfg.source
    try:
        found = {
            (item.collection_id, item.id): parse_item(item)
            for item in (search_api(cfg) if api else search_catalogue(cfg))
        }
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        pystac.errors.STACError,
    ) as error:
        raise GlacierError(
            f"source {cfg.source} is no STAC {'API' if api else 'catalogue'} ({reason_of(error)}); "
            "give planetary-computer, a STAC API's address or the path of a catalog.json"
        ) from error
    return sorted(
        (
            item
            for item in found.values()
            if cfg.years[0] <= item.datetime.year <= cfg.years[1]
            and overlap(item.bbox, cfg.boundingBox)
        ),
        key=lambda item: (item.datetime, item.id),
    )


def overlap(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    """Tell whether two boxes (west, south, east, north in degrees) share ground, also across the antimeridian."""
    turn = 360 if first[2] < first[0] else 0
    return (
        first[1] < second[3]
        and first[3] > second[1]
        and any(
            first[0] + round_earth < second[2] and first[2] + turn + round_earth > second[0]
            for round_earth in (-360, 0, 360)
        )
    )


def halves(box: tuple[float, ...]) -> list[tuple[float, ...]]:
    """Return a box as one or two that do not cross the antimeridian, which not every server understands."""
    west, south, east, north = box
    return (
        [box] if east <= 180 else [(west, south, 180.0, north), (-180.0, south, east - 360, north)]
    )


def search_api(cfg: Config) -> Iterator:
    """Yield the pystac items of a STAC API, all pages; clouds are filtered there if it can, the rest by the caller."""
    from pystac_client import Client
    from pystac_client.errors import ClientTypeError
    from pystac_client.exceptions import APIError
    from pystac_client.stac_api_io import StacApiIO
    from urllib3 import Retry

    retries = Retry(
        total=SEARCH_TRIES,
        backoff_factor=0.5,
        status_forcelist=[429, 500, 502, 503, 504],
        allowed_methods=None,
    )
    address = PLANETARY_COMPUTER if cfg.source == Config.source else cfg.source
    collections = (
        [cfg.collection]
        if cfg.collection
        else list(dict.fromkeys(sensors.find(name).collection for name in cfg.sensor))
    )
    try:
        client = Client.open(address, stac_io=StacApiIO(max_retries=retries), timeout=60)
        clouds = {"eo:cloud_cover": {"lte": cfg.maxCloudPercent}}
        query = clouds if client.conforms_to("QUERY") and cfg.maxCloudPercent < 100 else None
        for box in halves(cfg.boundingBox):
            yield from client.search(
                collections=collections,
                bbox=box,
                query=query,
                limit=250,
                datetime=f"{cfg.years[0]}-01-01/{cfg.years[1]}-12-31T23:59:59Z",
            ).items()
    except ClientTypeError as error:
        raise ValueError(str(error)) from error
    except APIError as error:
        raise GlacierError(
            f"the STAC API {address} does not answer ({reason_of(error)}); "
            "check the address and the network, then run again"
        ) from error


def search_catalogue(cfg: Config) -> Iterator:
    """Yield the pystac items of a catalogue on disk."""
    import pystac

    if not Path(cfg.source).is_file():
        raise GlacierError(
            f"source {cfg.source} does not exist; "
            "give planetary-computer, a STAC API's address or the path of a catalog.json"
        )
    items = pystac.Catalog.from_file(cfg.source).get_items(recursive=True)
    yield from (item for item in items if cfg.collection in ("", item.collection_id))
