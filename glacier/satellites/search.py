"""Which items an archive has for a box and some years: a STAC API, a catalogue, a saved answer, or one item."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import config
from config import GlacierError
from glacier.satellites import sensors
from glacier.satellites.addresses import is_web, resolve
from glacier.satellites.api import search_api
from glacier.satellites.items import Item, parse_item
from glacier.satellites.metadata import OddItemError, as_list, plain_collection
from glacier.satellites.web import NotStacError, Reader, SourceError
from glacier.storage import disk
from glacier.texts import printable

log = logging.getLogger(__name__)
PLANETARY_COMPUTER = "https://planetarycomputer.microsoft.com/api/stac/v1"
PLANETARY_COMPUTER_NAME = "planetary-computer"
PAGES_AT_ONCE = 8  # of a catalogue on the web
MAX_DOCUMENTS = 200_000  # of a catalogue
ANY_YEARS = 1970, 2100
FIRST_ITEMS = 500  # that are asked for the years there are
WHAT_TO_GIVE = (
    "give planetary-computer, a STAC API's address, or the path or address of a catalog.json, "
    "a collection.json, a saved item collection or an item"
)


@dataclass(frozen=True)
class Query:
    """What is asked of an archive.

    source : planetary-computer, a path or an address. box : west, south, east, north [degrees]. years : first, last.
    sensors : keys of sensors.SENSORS. collection : its id, or empty for the sensors' own.
    platforms : satellites, or empty for the sensors' own. max_cloud_percent : of a scene.
    """

    source: str
    box: tuple[float, ...]
    years: tuple[int, ...]
    sensors: tuple[str, ...]
    collection: str = ""
    platforms: tuple[str, ...] = ()
    max_cloud_percent: float = 100.0

    @property
    def address(self) -> str:
        """Where the source is."""
        is_planetary = self.source == PLANETARY_COMPUTER_NAME
        return PLANETARY_COMPUTER if is_planetary else self.source

    @property
    def collections(self) -> list[str]:
        """The collections to ask for: the given one, or those of the sensors."""
        names = [sensors.find(name).collection for name in self.sensors]
        if self.collection:
            return [self.collection]
        return list(dict.fromkeys(names))

    @property
    def other_collections(self) -> list[str]:
        """What other archives call them; empty if one was given."""
        if self.collection:
            return []
        rows = [sensors.find(name) for name in self.sensors]
        return [name for row in rows for name in row.other_collections]


def search(query: Query) -> tuple[list[Item], list[tuple[str, str]]]:
    """Return the items within box and years, in time order, and (id, reason) of those that cannot be understood.

    GlacierError if the source cannot be asked, or holds items of other places or years only.
    """
    items: dict[tuple[str, str], Item] = {}
    odd: list[tuple[str, str]] = []
    wanted = plain_collection(query.collection)
    for feature, address in features_of(query):
        try:
            item = parse_item(feature, address)
        except OddItemError as error:
            odd.append((name_of(feature, address), str(error)))
            continue
        if not wanted or plain_collection(item.collection) == wanted:
            items.setdefault(item.identity, item)
    fitting = [item for item in items.values() if fits(item, query)]
    if items and not fitting:
        raise GlacierError(nothing_fits(query, list(items.values())))
    return sorted(fitting, key=lambda item: (item.datetime, item.id, item.collection)), odd


def name_of(feature, address: str) -> str:
    """Return what to call an item that cannot be understood: its id, or the name of its page."""
    name = None
    if isinstance(feature, dict):
        name = feature.get("id")
    return printable(str(name or Path(address).name))


def years_of(query: Query) -> list[int]:
    """Return the years of which the archive has items in the box, as far as its first items tell; empty if of none."""
    any_year = dataclasses.replace(query, years=ANY_YEARS, max_cloud_percent=100.0)
    years = set()
    for feature, address in itertools.islice(features_of(any_year), FIRST_ITEMS):
        with contextlib.suppress(OddItemError):
            item = parse_item(feature, address)
            if overlap(item.bbox, query.box):
                years.add(item.datetime.year)
    return sorted(years)


def fits(item: Item, query: Query) -> bool:
    """Tell whether an item lies within the box and the years of a query."""
    first, last = query.years
    return first <= item.datetime.year <= last and overlap(item.bbox, query.box)


def nothing_fits(query: Query, items: list[Item]) -> str:
    """Return one line on why none of the items fits: another place, axes changed over, or other years."""
    here = [item for item in items if overlap(item.bbox, query.box)]
    box = f"boundingBox {list(query.box)}"
    if here:
        years = sorted({item.datetime.year for item in here})
        return (
            f"no scene found in the years {list(query.years)}: {query.source} has {len(here)} of this "
            f"box, of {years[0]} to {years[-1]}; set years to lie within"
        )
    south, west, north, east = query.box
    swapped = (west, south, east, north)
    if south >= -90 and north <= 90 and any(overlap(item.bbox, swapped) for item in items):
        words = ",".join(f"{degrees:.10g}" for degrees in swapped)
        return (
            f"no scene found in {box} (west, south, east, north): {query.source} lies elsewhere, "
            f"but where latitude and longitude are changed over; give --boundingBox={words}"
        )
    place = ", ".join(f"{degrees:.3f}" for degrees in items[0].bbox)
    return (
        f"no scene found in {box} (west, south, east, north): the {len(items)} items of {query.source} "
        f"lie elsewhere, the first at {place}; set boundingBox to lie within"
    )


def overlap(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    """Tell whether two boxes (west, south, east, north in degrees) share ground, also across the antimeridian."""
    turn = 360 if first[2] < first[0] else 0
    if first[1] >= second[3] or first[3] <= second[1]:
        return False
    for round_earth in (-360, 0, 360):
        west = first[0] + round_earth
        east = first[2] + turn + round_earth
        if west < second[2] and east > second[0]:
            return True
    return False


# ── The kinds of source ──────────────────────────────────────────────────────────────────────────────────────────


def features_of(query: Query) -> Iterator[tuple[dict, str]]:
    """Yield the items of a source as JSON, each with the address that it was read from."""
    address = query.address
    if not is_web(address):
        check_file(query.source)
    reader = Reader()
    try:
        page: Any = reader.read(address)
        if is_list_of_items(page):
            page = {"features": page}
        kind = kind_of(page)
        if kind == "item":
            yield page, address
        elif kind == "items":
            yield from ((feature, address) for feature in as_list(page["features"]))
        elif kind == "api":
            yield from search_api(reader, page, query)
        else:
            yield from walk(reader, page, address)
    except SourceError as error:
        raise GlacierError(source_line(query, error)) from error


def check_file(source: str) -> None:
    """Raise GlacierError for a source on disk that is no file."""
    path = Path(source)
    if path.is_dir():
        pages = sorted(path.glob("*.json"))
        names = [page.name for page in pages]
        best = next((name for name in ("catalog.json", "collection.json") if name in names), None)
        way_out = "give the catalog.json of an archive"
        if best:
            way_out = f"give --source='{path / best}'"
        raise GlacierError(f"source {source} is a folder; {way_out}")
    if "://" in source:
        raise GlacierError(f"source {source} is no address that can be read; {WHAT_TO_GIVE}")
    if not path.is_file():
        raise GlacierError(f"source {source} does not exist; {WHAT_TO_GIVE}")


def source_line(query: Query, error: SourceError) -> str:
    """Return one line on why a source cannot be read, and what to do."""
    if not is_web(query.address):
        return f"source {query.source} is no STAC catalogue ({error}); {WHAT_TO_GIVE}"
    if error.status in (401, 403):
        return f"source {query.address}: {error}; sign in there, or give another source"
    if isinstance(error, NotStacError):
        return f"source {query.address} is no STAC API ({error}); {WHAT_TO_GIVE}"
    return (
        f"the STAC API {query.address} does not answer ({error}); "
        "check the address and the network, then run again"
    )


def kind_of(page) -> str:
    """Return what a page is: item, items, api or catalogue; SourceError if it is none."""
    if not isinstance(page, dict):
        raise NotStacError("it is no STAC page")
    if isinstance(page.get("features"), list):
        return "items"
    if page.get("type") == "Feature":
        return "item"
    links = [link for link in as_list(page.get("links")) if isinstance(link, dict)]
    relations = {link.get("rel") for link in links}
    if relations & {"search", "items"}:
        return "api"
    if "stac_version" in page and relations & {"child", "item"}:
        return "catalogue"
    raise NotStacError("it is no STAC page: it links to no search, no child and no item")


def is_list_of_items(page) -> bool:
    """Tell whether a page holds items one after the other, without the frame of a collection."""
    first = as_list(page)[:1]
    return any(isinstance(item, dict) and item.get("type") == "Feature" for item in first)


def walk(reader: Reader, page: dict, address: str) -> Iterator[tuple[dict, str]]:
    """Yield the items of a catalogue and of all below it; a page that cannot be read is told and passed over."""
    seen = {address}
    below = [(page, address)]
    with ThreadPoolExecutor(PAGES_AT_ONCE) as pool:
        while below:
            leaves = []
            for parent, where in below:
                for link in as_list(parent.get("links")):
                    target = target_of(link, where)
                    if target and target not in seen:
                        seen.add(target)
                        leaves.append(target)
            if len(seen) > MAX_DOCUMENTS:
                raise SourceError(f"it holds more than {MAX_DOCUMENTS} pages")
            below = []
            for target, content in zip(leaves, pool.map(reader_of(reader), leaves), strict=True):
                if isinstance(content, dict) and content.get("type") != "Feature":
                    below.append((content, target))
                else:
                    yield content, target


def reader_of(reader: Reader):
    """Return a function that reads a page of a catalogue; one that is not there, or no JSON, is given as its error."""

    def read(address: str):
        try:
            return reader.read(address)
        except SourceError as error:
            if error.may_pass:
                raise
            return error

    return read


def target_of(link, where: str) -> str:
    """Return the address of a catalogue's child or item, empty for other links."""
    if not isinstance(link, dict) or link.get("rel") not in ("child", "item"):
        return ""
    href = link.get("href")
    if not isinstance(href, str) or not href:
        return ""
    return resolve(href, where)


def source_hash(source: str) -> list[tuple[str, str]]:
    """Return what stands for a source: the hash of a catalogue on disk, wherever it was moved to, or the address."""
    path = Path(source)
    if is_web(source) or source == PLANETARY_COMPUTER_NAME or not path.is_file():
        return [("source", source)]
    pages = sorted(path.parent.rglob("*.json"))
    return [("source", config.fingerprint([disk.file_hash(page) for page in pages]))]
