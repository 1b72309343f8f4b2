"""Items of an archive, however it spells them: STAC 0.7 to 1.1, as APIs and catalogues write them.

An item that cannot be understood raises OddItemError with the reason; it is dropped, and no other with it.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass, field

from glacier.satellites import metadata
from glacier.satellites.addresses import base_address, file_beside, linked, read_href
from glacier.satellites.metadata import OddItemError, as_list, first_number, number
from glacier.texts import printable

ROLES_LEFT_OUT = {"thumbnail", "overview", "visual", "metadata"}
# of reflectance [1]: that of numbers which are reflectance already, and more than any archive adds
LARGEST_SCALE = 1.0
LARGEST_OFFSET = 2.0


@dataclass(frozen=True)
class Asset:
    """One file of an item.

    common_name, band_name : in lower case, or empty. gsd : pixel size [m], infinite where not told.
    scale, offset : reflectance = number * scale + offset, None where not told.
    nodata : the number for missing that the item tells, perhaps NaN; None where it does not.
    crs : as "EPSG:32643", or empty. transform : a, b, c, d, e, f of its pixels, or empty.
    """

    key: str
    href: str
    common_name: str = ""
    band_name: str = ""
    gsd: float = math.inf
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None
    crs: str = ""
    transform: tuple[float, ...] = ()

    @property
    def tells_place(self) -> bool:
        """Whether it is told how its pixels lie."""
        return bool(self.crs and self.transform)


@dataclass(frozen=True)
class Item:
    """What stage 1 needs of a STAC item.

    datetime : with time zone UTC; day_only where the archive tells no time of day. platform : as "landsat-8".
    cloud_percent, sun_azimuth, sun_elevation : NaN where not told. bbox : west, south, east, north [degrees]; west
    exceeds east across the antimeridian. crs : as "EPSG:32643", or empty. properties : as the archive wrote them.
    place : of the acquisition, path and row or tile, or empty. tier : T1, T2, RT or empty. level : of processing, "1"
    where it is no reflectance of the ground, or empty. geometric_rmse : [m] or NaN.
    collection_address : where its collection is described, or empty. assets : by key, those of one band.
    several_bands : keys of the others.
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
    level: str
    geometric_rmse: float
    properties: dict
    collection_address: str
    assets: dict[str, Asset] = field(repr=False)
    several_bands: tuple[str, ...] = ()

    @property
    def identity(self) -> tuple[str, str]:
        """What tells it from every other item: collection and id."""
        return self.collection, self.id

    @property
    def label(self) -> str:
        """Its id, as it can be printed."""
        return printable(self.id)


def parse_item(feature: dict, address: str) -> Item:
    """Return the Item of a STAC item; OddItemError if it has no id, no date, no assets or no usable box.

    address : of the file or page that it was read from; relative addresses start there.
    """
    if isinstance(feature, Exception):
        raise OddItemError(f"its page cannot be read: {feature}")
    if not isinstance(feature, dict):
        raise OddItemError("it is no item")
    name = feature.get("id")
    told = feature.get("properties")
    if not isinstance(name, str | int) or isinstance(name, bool) or name == "":
        raise OddItemError("it has no id")
    if not isinstance(told, dict):
        raise OddItemError("it has no properties")
    name = str(name)
    links = [link for link in as_list(feature.get("links")) if isinstance(link, dict)]
    base = base_address(links, address)
    collection_address = linked(links, "collection", base)
    collection = metadata.read_collection(feature, told, collection_address)
    when, day_only = metadata.read_date(told)
    zenith = number(told.get("s2:mean_solar_zenith"))
    elevation = first_number(told, ("view:sun_elevation", "eo:sun_elevation"))
    return Item(
        id=name,
        collection=collection,
        datetime=when,
        day_only=day_only,
        platform=metadata.read_platform(told, name),
        cloud_percent=metadata.read_cloud(told),
        sun_azimuth=first_number(
            told, ("view:sun_azimuth", "eo:sun_azimuth", "s2:mean_solar_azimuth")
        ),
        sun_elevation=90 - zenith if math.isnan(elevation) else elevation,
        bbox=metadata.read_box(feature),
        crs=metadata.read_crs(told),
        place=metadata.read_place(told, name),
        tier=metadata.read_tier(told, name),
        level=metadata.read_level(told, name, collection),
        geometric_rmse=metadata.read_geometric_rmse(told),
        properties=told,
        collection_address=collection_address,
        assets=read_assets(feature, told, base, address),
        several_bands=several_bands(feature["assets"], told),
    )


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_assets(feature: dict, told: dict, base: str, address: str) -> dict[str, Asset]:
    """Return the files of an item by key; OddItemError if it has none."""
    assets = feature.get("assets")
    name = str(feature.get("id"))
    if not isinstance(assets, dict):
        raise OddItemError("it has no assets")
    contents = {key: content for key, content in assets.items() if isinstance(content, dict)}
    there = {}
    for key, content in contents.items():
        asset = read_asset(key, content, told, name, base, address)
        if asset is not None and not ROLES_LEFT_OUT & roles_of(content):
            there[key] = asset
    hrefs = [content.get("href") for content in contents.values()]
    texts = [href for href in hrefs if isinstance(href, str)]
    if not any(file_beside(href, name, address) for href in texts):
        return there
    # a scene that was delivered with its item: what is not beside it is not to be had
    return {key: asset for key, asset in there.items() if "://" not in asset.href}


def several_bands(assets: dict, told: dict) -> tuple[str, ...]:
    """Return the keys of the assets that hold several bands each, and are no pictures."""
    keys = []
    for key, content in assets.items():
        if not isinstance(content, dict) or ROLES_LEFT_OUT & roles_of(content):
            continue
        if len(read_bands(content, told)) > 1:
            keys.append(key)
    return tuple(keys)


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
    band = {}
    if bands:
        band = bands[0]
    scale, offset = read_scaling(content)
    nodata = read_nodata(content)
    gsd = first_number(content | band, ("gsd", "raster:spatial_resolution", "eo:gsd"))
    crs = metadata.read_crs(content)
    transform = metadata.read_transform(content)
    return Asset(
        key=key,
        href=href,
        common_name=text_in(band, ("common_name", "eo:common_name")),
        band_name=text_in(band, ("name",)),
        gsd=math.inf if math.isnan(gsd) else gsd,
        scale=scale,
        offset=offset,
        nodata=nodata,
        crs=crs or metadata.read_crs(told),
        transform=transform or metadata.read_transform(told),
    )


def text_in(part: dict, names: tuple[str, ...]) -> str:
    """Return the first member that is a text, in lower case; else empty."""
    values = [part.get(name) for name in names]
    texts = [value.lower() for value in values if isinstance(value, str)]
    if texts:
        return texts[0]
    return ""


def read_bands(content: dict, told: dict) -> list[dict]:
    """Return what an asset says of its bands; STAC 0.7 gives numbers of the item's own list."""
    bands = as_list(content.get("bands")) or as_list(content.get("eo:bands"))
    shared = as_list(told.get("eo:bands"))
    by_number = dict(enumerate(shared))
    described = []
    for band in bands:
        entry = band
        if isinstance(band, int):
            entry = by_number.get(band)
        if isinstance(entry, dict):
            described.append(entry)
    return described


def read_scaling(content: dict) -> tuple[float | None, float | None]:
    """Return scale and offset of an asset, None where it does not tell: raster:bands, bands, or the asset itself."""
    for part in descriptions(content):
        pair = scaling_of(part)
        if pair != (None, None):
            return pair
    return None, None


def descriptions(content: dict) -> list[dict]:
    """Return what tells of an asset's only band: raster:bands, bands, or the asset itself."""
    first_bands = as_list(content.get("raster:bands"))[:1] + as_list(content.get("bands"))[:1]
    return [band for band in first_bands if isinstance(band, dict)] + [content]


def scaling_of(part: dict) -> tuple[float | None, float | None]:
    """Return scale and offset of a band, None where not told, or told as what reflectance cannot have.

    Some archives write the factor the other way round (10000), or the offset in numbers (-1000).
    """
    scale = first_number(part, ("raster:scale", "scale"))
    offset = first_number(part, ("raster:offset", "offset"))
    usable_scale = scale if 0 < scale <= LARGEST_SCALE else None
    usable_offset = offset if abs(offset) <= LARGEST_OFFSET else None
    return usable_scale, usable_offset


def read_nodata(content: dict) -> float | None:
    """Return the number for missing that an asset tells, perhaps NaN; None where it does not."""
    values = [part.get("nodata") for part in descriptions(content)]
    told = [value for value in values if value is not None]
    if not told:
        return None
    if str(told[0]).lower() == "nan":
        return math.nan
    value = number(told[0])
    return None if math.isnan(value) else value
