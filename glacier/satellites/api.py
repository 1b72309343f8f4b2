"""The search of a STAC API, page by page: POST or GET, smaller pages where large ones fail, and an end to all of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from glacier.satellites.addresses import linked, resolve
from glacier.satellites.metadata import as_list, number
from glacier.satellites.web import NotStacError, Reader, SourceError

if TYPE_CHECKING:
    from glacier.satellites.search import Query

PAGE_SIZES = (250, 100, 50, 10)  # items a page: the next where a page fails
TRIES_BEFORE_SMALLER = 2
MAX_PAGES = 20_000
MAX_ITEMS = 1_000_000
MAX_BARREN = 5  # pages one after another that bring nothing new
REFUSES_METHOD = {404, 405, 415, 501}


@dataclass(frozen=True)
class Page:
    """What to send for a page. body : of a POST, or None for GET. merge : of a next link: its body adds to the last."""

    address: str
    body: dict | None

    def sized(self, limit: int) -> Page:
        """Return the same page with that many items, or as few as its own address or body asks for."""
        if self.body is not None:
            fewest = smaller(self.body.get("limit"), limit)
            return Page(self.address, self.body | {"limit": fewest})
        parts = urlsplit(self.address)
        values = dict(parse_qsl(parts.query, keep_blank_values=True))
        values["limit"] = str(smaller(values.get("limit"), limit))
        return Page(urlunsplit(parts._replace(query=urlencode(values))), None)

    @property
    def key(self) -> str:
        """What tells it from other pages, whatever their size."""
        plain = self.sized(0)
        return plain.address + json.dumps(plain.body, sort_keys=True)


def smaller(told, limit: int) -> int:
    """Return how many items to ask for: those that are told, at most `limit`."""
    wanted = number(told)
    if wanted >= 1:
        return min(int(wanted), limit)
    return limit


@dataclass
class Progress:
    """How far a search has come. limit : items a page. seen : keys of pages; names : (collection, id) of items."""

    limit: int = PAGE_SIZES[0]
    pages: int = 0
    barren: int = 0
    seen: set[str] = field(default_factory=set)
    names: set[tuple[str, str]] = field(default_factory=set)


def search_api(reader: Reader, landing: dict, query: Query) -> Iterator[tuple[dict, str]]:
    """Yield the items of an API within box and years, each with its page's address.

    Clouds are filtered there if it can, the rest by the caller. Without any item in the sensors' own collections, those
    of other archives are asked for.
    """
    count = 0
    for feature in search_collections(reader, landing, query, query.collections):
        count += 1
        yield feature
    if count:
        return
    for name in query.other_collections:
        try:
            yield from search_collections(reader, landing, query, [name])
        except SourceError as error:
            if not 400 <= error.status < 500:
                raise


def search_collections(
    reader: Reader, landing: dict, query: Query, collections: list[str]
) -> Iterator[tuple[dict, str]]:
    """Yield the items of some collections, for each half of a box across the antimeridian."""
    for box in halves(query.box):
        progress = Progress()
        first = first_pages(landing, query, collections, box)
        yield from pages_from(reader, first, progress)


def halves(box: tuple[float, ...]) -> list[tuple[float, ...]]:
    """Return a box as one or two that do not cross the antimeridian, which not every server understands."""
    west, south, east, north = box
    if east <= 180:
        return [box]
    return [(west, south, 180.0, north), (-180.0, south, east - 360, north)]


def first_pages(
    landing: dict, query: Query, collections: list[str], box: tuple[float, ...]
) -> list[Page]:
    """Return the ways to ask for the first page, the best first: POST, GET, or a collection's own items."""
    links = [link for link in as_list(landing.get("links")) if isinstance(link, dict)]
    first, last = query.years
    when = f"{first}-01-01T00:00:00Z/{last}-12-31T23:59:59Z"
    searches = [link for link in links if link.get("rel") == "search"]
    if not searches:
        address = linked(links, "items", query.address)
        plain = {"bbox": ",".join(map(str, box)), "datetime": when}
        return [with_query(address, plain)]
    methods = {str(link.get("method", "GET")).upper(): link for link in searches}
    pages = []
    if "POST" in methods:
        address = linked([methods["POST"]], "search", query.address)
        body = {"collections": collections, "bbox": list(box), "datetime": when}
        can_query = any("#query" in str(name) for name in as_list(landing.get("conformsTo")))
        if can_query and query.max_cloud_percent < 100:
            clouds = {"eo:cloud_cover": {"lte": query.max_cloud_percent}}
            pages.append(Page(address, body | {"query": clouds}))
        pages.append(Page(address, body))
    address = linked([methods.get("GET", searches[0])], "search", query.address)
    plain = {
        "collections": ",".join(collections),
        "bbox": ",".join(map(str, box)),
        "datetime": when,
    }
    return [*pages, with_query(address, plain)]


def with_query(address: str, values: dict[str, str]) -> Page:
    """Return the page of an address with some values in its query."""
    parts = urlsplit(address)
    merged = dict(parse_qsl(parts.query, keep_blank_values=True)) | values
    return Page(urlunsplit(parts._replace(query=urlencode(merged))), None)


def pages_from(reader: Reader, first: list[Page], progress: Progress) -> Iterator[tuple[dict, str]]:
    """Yield the items of the first page that is answered and of all that follow it."""
    page, content = first_answer(reader, first, progress)
    while True:
        yield from new_features(page, content, progress)
        following = next_page(page, content)
        if following is None:
            return
        if progress.pages >= MAX_PAGES or len(progress.names) >= MAX_ITEMS:
            raise SourceError(
                f"it has more than {progress.pages} pages; ask for a smaller box or fewer years"
            )
        if following.key in progress.seen:
            raise SourceError("its next page leads back to a page that was read already")
        page = following
        content = ask_page(reader, following, progress)


def first_answer(reader: Reader, first: list[Page], progress: Progress) -> tuple[Page, dict]:
    """Return the first page and its content, asked for in one way after the other."""
    for way, page in enumerate(first, 1):
        try:
            return page, ask_page(reader, page, progress)
        except SourceError as error:
            refused = error.status in REFUSES_METHOD or error.status == 400
            if way == len(first) or not refused:
                raise
            progress.limit = PAGE_SIZES[0]
    raise AssertionError("unreachable")


def ask_page(reader: Reader, page: Page, progress: Progress) -> dict:
    """Return the content of a page, with fewer items where it fails; SourceError if it fails with the fewest too."""
    progress.pages += 1
    progress.seen.add(page.key)
    sizes = [size for size in PAGE_SIZES if size <= progress.limit]
    for size in sizes:
        sized = page.sized(size)
        last = size == sizes[-1]
        try:
            failures = reader.tries if last else TRIES_BEFORE_SMALLER
            content = reader.read(sized.address, sized.body, failures)
        except SourceError as error:
            too_large = error.status >= 500 or error.status in (400, 413, 422)
            if last or not too_large:
                raise
            continue
        if not isinstance(content, dict) or not isinstance(content.get("features"), list):
            raise NotStacError("a page of its search holds no items")
        progress.limit = size
        return content
    raise AssertionError("unreachable")


def new_features(page: Page, content: dict, progress: Progress) -> Iterator[tuple[dict, str]]:
    """Yield the items of a page that no earlier page held; SourceError where page after page brings nothing new."""
    before = len(progress.names)
    for feature in content["features"]:
        name = (str(name_in(feature, "collection")), str(name_in(feature, "id")))
        if name not in progress.names:
            progress.names.add(name)
            yield feature, page.address
    if len(progress.names) > before:
        progress.barren = 0
        return
    progress.barren += 1
    goes_on = next_page(page, content) is not None
    if goes_on and (content["features"] or progress.barren > MAX_BARREN):
        raise SourceError("its pages repeat themselves without end")


def name_in(feature, key: str):
    """Return a member of an item, None where the item is none."""
    if isinstance(feature, dict):
        return feature.get(key)
    return None


def next_page(page: Page, content: dict) -> Page | None:
    """Return the page that a page says comes next, None after the last."""
    links = [link for link in as_list(content.get("links")) if isinstance(link, dict)]
    following = [link for link in links if link.get("rel") == "next"]
    if not following or not isinstance(following[0].get("href"), str):
        return None
    link = following[0]
    address = resolve(link["href"], page.address)
    if not address:
        raise SourceError("its next page has no address that can be read")
    body = link.get("body")
    implied = "POST" if isinstance(body, dict) else "GET"
    if str(link.get("method") or implied).upper() != "POST":
        return Page(address, None)
    body = body if isinstance(body, dict) else {}
    last_body = page.body or {}
    if link.get("merge") or not body:
        return Page(address, last_body | body)
    return Page(address, body)
