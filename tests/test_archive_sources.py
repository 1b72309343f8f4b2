"""Sources that people have: STAC as it is spoken, on disk and on the web, and servers that never end."""

import json
import logging
import time
from pathlib import Path

import numpy as np
import pytest

import config
import dataAPI
from config import Config, GlacierError
from demo.archive_server import ArchiveServer, bomb
from glacier.satellites import api, planning, search, web
from glacier.satellites.search import Query

BOX = (77.0, 32.0, 78.0, 33.0)
YEARS = (2019, 2020)
SENSORS = ("landsat-8-9",)
COLLECTION = "landsat-c2-l2"
USGS = config.ROOT.parent / "shared" / "data" / "landsatC2L2"


def item_of(name: str, day: int = 1, **changes) -> dict:
    when = f"2020-{1 + day // 28:02d}-{1 + day % 28:02d}T05:00:00Z"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": COLLECTION,
        "bbox": [77.2, 32.2, 77.8, 32.8],
        "geometry": None,
        "properties": {"datetime": when, "platform": "landsat-8"},
        "links": [],
        "assets": {"green": {"href": f"./{name}/green.tif"}},
    } | changes


def names_of(source: str | Path, **keywords) -> list[str]:
    """Search a source; return the ids of its items."""
    items, odd = search.search(Query(str(source), BOX, YEARS, SENSORS, **keywords))
    assert not odd
    return [item.id for item in items]


@pytest.fixture
def server():
    with ArchiveServer([item_of(f"s{number:03d}", number) for number in range(280)]) as running:
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Short waits, so that a server's faults are over soon."""
    monkeypatch.setattr(web, "FIRST_PATIENCE", 1.0)
    monkeypatch.setattr(web, "PATIENCE", 1.0)


EVERY = [f"s{number:03d}" for number in range(280)]


# ── APIs ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("methods", [("GET", "POST"), ("GET",), ("POST",)])
def test_an_api_is_searched_by_what_it_offers(server, methods):
    server.methods = methods
    assert names_of(server.address) == EVERY
    assert {method for method, path, _ in server.requests if path.endswith("search")} <= set(
        methods
    )


def test_an_api_that_promises_post_and_refuses_it_is_asked_by_get(server):
    server.answer = lambda method, path: (405, {}, b"{}") if method == "POST" else None
    assert names_of(server.address) == EVERY


@pytest.mark.parametrize(
    ("largest", "status", "methods"),
    [
        (100, 400, ("GET",)),
        (50, 500, ("GET", "POST")),
        (10, 502, ("GET",)),
        (10, 413, ("GET", "POST")),
    ],
)
def test_smaller_pages_where_large_ones_fail(server, monkeypatch, largest, status, methods):
    monkeypatch.setattr(api, "TRIES_BEFORE_SMALLER", 1)
    server.largest, server.too_large, server.methods = largest, status, methods
    assert names_of(server.address) == EVERY
    sizes = [limit for _, path, limit in server.requests if path.endswith("search")]
    assert sizes[-1] == largest
    assert sizes.count(largest) == -(-280 // largest)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_an_address_that_moved_is_asked_the_same_again(server, status):
    """A POST stays a POST: asked by GET, the new address would answer with all it has."""
    moved = {"Location": "/stac/search"}
    first = {"rel": "search", "href": "/old/search", "method": "POST"}
    server.landing = lambda: {"links": [first]}
    server.answer = lambda method, path: (status, moved, b"") if path == "/old/search" else None
    assert names_of(server.address) == EVERY
    assert {method for method, path, _ in server.requests if path.endswith("search")} == {"POST"}


def test_a_next_link_with_a_body_is_sent_by_post(server):
    plain = server.next_link

    def without_method(*arguments):
        link = plain(*arguments)
        link.pop("method", None)
        return link

    server.next_link = without_method
    assert names_of(server.address) == EVERY
    assert len(server.requests) == 3


def test_pages_keep_the_size_that_their_address_names(server):
    """A server that counts pages of 50 is not asked for its second page of 250."""
    server.methods = ("GET",)
    server.turn_page = lambda start, size: start + 50
    search_all = server.search

    def pages_of_fifty(method, limit, start, ask):
        return search_all(method, 50, start, ask)

    server.search = pages_of_fifty
    assert names_of(server.address) == EVERY
    assert [limit for _, path, limit in server.requests if path.endswith("search")][1:] == [50] * 5


def test_a_collection_of_an_api_is_a_source(server):
    links = [{"rel": "items", "href": "./collections/l8/items"}]
    server.pages["/stac/collection"] = {
        "type": "Collection",
        "stac_version": "1.0.0",
        "links": links,
    }
    server.pages["/stac/collections/l8/items"] = {"features": server.items[:3]}
    server.pages["/collections/l8/items"] = {"features": server.items[:3]}
    assert names_of(f"{server.address}/collection") == EVERY[:3]


def test_other_names_of_a_collection_are_tried_where_its_own_is_empty(server):
    for item in server.items:
        item["collection"] = "landsat-c2l2-sr"
    assert names_of(server.address) == EVERY


def test_the_given_collection_only(server):
    for item in server.items[:5]:
        item["collection"] = "mine"
    assert names_of(server.address, collection="mine") == EVERY[:5]


# ── Servers without end ──────────────────────────────────────────────────────────────────────────────────────────


def same_page(start: int, size: int) -> int:
    return start


def start_again(start: int, size: int) -> int:
    return 0 if start else 250


def one_further(start: int, size: int) -> int:
    return start + 1_000_000


@pytest.mark.parametrize("methods", [("GET",), ("POST",)])
@pytest.mark.parametrize("turn_page", [same_page, start_again, one_further])
def test_pages_that_lead_nowhere_end_after_few_rounds(server, methods, turn_page):
    """A next page that is this one, one before, or ever new and empty: one line, and no item twice."""
    server.methods, server.turn_page, server.endless = methods, turn_page, True
    with pytest.raises(GlacierError, match=r"leads back to a page|repeat themselves without end"):
        names_of(server.address)
    assert len(server.requests) < 12


def test_more_pages_or_items_than_any_glacier_has(server, monkeypatch):
    monkeypatch.setattr(api, "MAX_ITEMS", 100)
    server.largest = 50
    with pytest.raises(GlacierError, match="ask for a smaller box or fewer years"):
        names_of(server.address)


def test_an_answer_that_unpacks_without_end(server, monkeypatch):
    monkeypatch.setattr(web, "MAX_BYTES", 8 << 20)
    body = bomb(40)
    assert len(body) < 100_000
    server.answer = lambda method, path: (200, {"Content-Encoding": "gzip"}, body)
    with pytest.raises(GlacierError, match=r"its answer is longer than \d+ MB"):
        names_of(server.address)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_json_nested_without_end(server, opening):
    server.answer = lambda method, path: (200, {}, opening * 200_000)
    with pytest.raises(GlacierError, match="nested too deep|no JSON"):
        names_of(server.address)


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_for_a_day_of_patience_gets_a_little(server, status):
    server.answer = lambda method, path: (status, {"Retry-After": "86400"}, b"")
    start = time.monotonic()
    with pytest.raises(GlacierError, match=f"does not answer .HTTP {status}"):
        names_of(server.address)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("7", 7, 7),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 1e9, 1e10),
        ("soon", 0, 0),
        ("", 0, 0),
    ],
)
def test_how_long_a_server_asks_to_wait(text, least, most):
    assert least <= web.asked_wait(text) <= most


def test_a_server_that_recovers_is_waited_for(server, monkeypatch):
    monkeypatch.setattr(web, "PATIENCE", 20.0)
    faults = iter([None, (503, {"Retry-After": "1"}, b""), (429, {}, b"")])
    server.answer = lambda method, path: next(faults, None)
    assert names_of(server.address) == EVERY


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_asks_for_an_account_is_told_at_once(server, status):
    server.answer = lambda method, path: (status, {}, b"{}")
    with pytest.raises(GlacierError, match=rf"asks for an account .HTTP {status}.*sign in there"):
        names_of(server.address)
    assert len(server.requests) == 1


def test_a_page_to_sign_in_is_told_at_once(server):
    page = b"<!DOCTYPE html><html><body>Please sign in</body></html>"
    server.answer = lambda method, path: (200, {"Content-Type": "text/html"}, page)
    with pytest.raises(GlacierError, match="web page, perhaps one to sign in"):
        names_of(server.address)
    assert len(server.requests) == 1


@pytest.mark.parametrize("methods", [("GET",), ("POST",)])
@pytest.mark.parametrize("target", ["http://[::1", "file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_an_address_that_leads_to_none_of_the_web(server, methods, target):
    moved = 302, {"Location": target}, b""
    server.methods = methods
    server.answer = lambda method, path: moved if path.endswith("search") else None
    with pytest.raises(GlacierError, match="does not answer"):
        names_of(server.address)


def test_an_address_that_leads_on_for_ever(server):
    server.answer = lambda method, path: (302, {"Location": "/stac/other"}, b"")
    with pytest.raises(GlacierError, match="from one address to the next without end"):
        names_of(server.address)


def test_without_a_network_one_line_soon():
    start = time.monotonic()
    with pytest.raises(GlacierError, match=r"does not answer \(the connection is refused\)"):
        names_of("http://127.0.0.1:1/stac")
    assert time.monotonic() - start < 15
    assert web.FIRST_PATIENCE + web.CONNECT_TIMEOUT < 15


# ── Catalogues and saved answers ─────────────────────────────────────────────────────────────────────────────────


def write(path: Path, content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_catalogue(folder: Path, self_links: bool) -> None:
    """Write catalog.json -> collection.json -> two items; with absolute self links that lead elsewhere, or without."""
    own = [{"rel": "self", "href": "https://example.com/moved.json"}] if self_links else []
    child = {"rel": "child", "href": "./c/collection.json"}
    write(
        folder / "catalog.json",
        {"type": "Catalog", "stac_version": "1.0.0", "links": [child, *own]},
    )
    items = [{"rel": "item", "href": f"../items/{name}.json"} for name in ("a", "b")]
    parent = {"rel": "parent", "href": "../catalog.json"}
    back = {"rel": "child", "href": "../catalog.json"}  # a circle
    write(
        folder / "c" / "collection.json",
        {"type": "Collection", "stac_version": "1.0.0", "links": [*items, parent, back, *own]},
    )
    for day, name in enumerate(("a", "b")):
        write(folder / "items" / f"{name}.json", item_of(name, day, links=own))


@pytest.mark.parametrize("self_links", [True, False])
@pytest.mark.parametrize("page", ["catalog.json", "c/collection.json"])
def test_a_catalogue_on_disk(tmp_path, page, self_links):
    write_catalogue(tmp_path, self_links)
    query = Query(str(tmp_path / page), BOX, YEARS, SENSORS)
    items, _ = search.search(query)
    assert [item.id for item in items] == ["a", "b"]
    hrefs = [item.assets["green"].href for item in items]
    assert hrefs == [str(tmp_path / "items" / name / "green.tif") for name in ("a", "b")]


@pytest.mark.parametrize("page", ["catalog.json", "c/collection.json"])
def test_a_catalogue_on_the_web(server, tmp_path, page):
    write_catalogue(tmp_path, self_links=False)
    for path in tmp_path.rglob("*.json"):
        server.pages[f"/cat/{path.relative_to(tmp_path)}"] = json.loads(path.read_text())
    root = server.address.removesuffix("/stac")
    items, _ = search.search(Query(f"{root}/cat/{page}", BOX, YEARS, SENSORS))
    hrefs = [item.assets["green"].href for item in items]
    assert hrefs == [f"{root}/cat/items/{name}/green.tif" for name in ("a", "b")]


def test_a_saved_answer_and_a_single_item(tmp_path, server):
    features = [item_of("a"), item_of("b", 2)]
    saved = write(tmp_path / "saved.json", {"type": "FeatureCollection", "features": features})
    assert names_of(saved) == ["a", "b"]
    assert names_of(write(tmp_path / "item.json", item_of("a"))) == ["a"]
    server.pages["/saved.json"] = json.loads(saved.read_text())
    server.pages["/item.json"] = item_of("a")
    root = server.address.removesuffix("/stac")
    assert names_of(f"{root}/saved.json") == ["a", "b"]
    assert names_of(f"{root}/item.json") == ["a"]


@pytest.mark.parametrize(
    ("encoding", "mark"), [("utf-8-sig", ""), ("utf-16", ""), ("latin-1", ""), ("utf-8", "NaN")]
)
def test_a_saved_answer_in_any_letters(tmp_path, encoding, mark):
    """With a byte-order mark, in Latin-1, with NaN: as people's own tools write it."""
    item = item_of("Mölltal")
    item["properties"]["eo:cloud_cover"] = float("nan") if mark else 3
    text = json.dumps({"features": [item]}, ensure_ascii=False)
    (tmp_path / "saved.json").write_bytes(text.encode(encoding))
    assert names_of(tmp_path / "saved.json") == ["Mölltal"]


def test_items_saved_one_after_the_other(tmp_path):
    path = write(tmp_path / "list.json", [item_of("a"), item_of("b"), item_of("a")])
    assert names_of(path) == ["a", "b"]
    assert names_of(path, collection="Landsat-C2_L2") == ["a", "b"]


def test_a_page_of_a_catalogue_that_is_gone_costs_no_other(server, caplog):
    links = [{"rel": "item", "href": f"./{name}.json"} for name in ("a", "gone", "b")]
    server.pages["/catalog.json"] = {"stac_version": "0.9.0", "links": links}
    server.pages["/a.json"], server.pages["/b.json"] = item_of("a"), item_of("b", 2)
    root = server.address.removesuffix("/stac")
    items, odd = search.search(Query(f"{root}/catalog.json", BOX, YEARS, SENSORS))
    assert [item.id for item in items] == ["a", "b"]
    assert odd == [("gone.json", "its page cannot be read: HTTP 404")]


def test_a_page_of_a_catalogue_that_fails_for_now_ends_the_search(server):
    """A scene that is there but not now must not vanish without a word."""
    links = [{"rel": "item", "href": f"./{name}.json"} for name in ("a", "b")]
    server.pages["/catalog.json"] = {"stac_version": "1.0.0", "links": links}
    server.pages["/a.json"] = item_of("a")
    server.answer = lambda method, path: (503, {}, b"") if path == "/b.json" else None
    with pytest.raises(GlacierError, match="HTTP 503"):
        names_of(f"{server.address.removesuffix('/stac')}/catalog.json")


@pytest.mark.parametrize(
    ("asset", "expected"),
    [
        (
            {"href": "s3://b/k.tif", "alternate": {"https": {"href": "https://h/k.tif"}}},
            "https://h/k.tif",
        ),
        (
            {"href": "https://h/k.tif", "alternate": {"s3": {"href": "s3://b/k.tif"}}},
            "https://h/k.tif",
        ),
        ({"href": "s3://b/k.tif"}, "s3://b/k.tif"),
        ({"href": "file:///data/k%20l.tif"}, "/data/k l.tif"),
        ({"href": "../k.tif"}, "/k.tif"),
        ({"href": "/absolute/k.tif"}, "/absolute/k.tif"),
        ({"href": "http://[::1"}, None),
    ],
)
def test_addresses_of_files(tmp_path, asset, expected):
    path = write(tmp_path / "x" / "item.json", item_of("a", assets={"green": asset}))
    (item,), _ = search.search(Query(str(path), BOX, YEARS, SENSORS))
    hrefs = [asset.href for asset in item.assets.values()]
    assert hrefs in ([], [expected], [f"{tmp_path}{expected}"])
    assert bool(hrefs) == bool(expected)


def test_a_next_page_without_an_address_ends_the_search(server):
    server.methods = ("GET",)
    server.next_link = lambda *words: {"rel": "next", "href": "http://[::1"}
    with pytest.raises(GlacierError, match="its next page has no address that can be read"):
        names_of(server.address)


# ── What a user gets wrong ───────────────────────────────────────────────────────────────────────────────────────


def test_an_api_without_scenes_of_the_years_says_which_there_are(server):
    query = Query(server.address, BOX, (2001, 2002), SENSORS)
    with pytest.raises(GlacierError, match=r"there are scenes of 2020 to 2020: set years"):
        planning.make_plan(query, 30.0, 8, None)


def test_an_api_without_scenes_says_where_the_box_lies_and_what_latitude_first_would_be(server):
    server.items.clear()
    with pytest.raises(GlacierError, match=r"lies at 32.50 N, 77.50 E; if latitude .*=32,77,33,78"):
        planning.make_plan(Query(server.address, BOX, YEARS, SENSORS), 3000.0, 8, None)


def test_a_folder_as_source(tmp_path):
    write_catalogue(tmp_path, self_links=False)
    with pytest.raises(
        GlacierError, match=rf"is a folder; give --source='{tmp_path}/catalog.json'"
    ):
        names_of(tmp_path)
    with pytest.raises(GlacierError, match=r"is a folder; give the catalog.json of an archive"):
        names_of(tmp_path / "items")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"text"', "{}", "<html></html>"])
def test_a_file_that_is_no_catalogue(tmp_path, content):
    path = tmp_path / "page.json"
    path.write_text(content)
    with pytest.raises(GlacierError, match="is no STAC catalogue") as caught:
        names_of(path)
    assert "\n" not in str(caught.value)


def test_an_address_of_another_kind():
    with pytest.raises(GlacierError, match="no address that can be read"):
        names_of("ftp://example.com/catalog.json")


def test_messages_of_the_web_hold_no_secret_and_no_control_characters(server, caplog):
    server.answer = lambda method, path: (200, {}, b'{"\x1b[2J')
    with caplog.at_level(logging.DEBUG), pytest.raises(GlacierError) as caught:
        names_of(f"{server.address}?sig=SECRET")
    assert "\x1b" not in str(caught.value) + caplog.text


@pytest.mark.skipif(not USGS.is_dir(), reason=f"no real scene in {USGS}")
def test_a_real_scene_as_usgs_ships_it(tmp_path, monkeypatch):
    """The STAC 0.7 item beside its files: its addresses ask for an account, the files are there."""
    item = USGS / "LC08_L2SP_005009_20150710_20200908_02_T2_SR_stac.json"
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    monkeypatch.setattr(dataAPI, "describe", lambda *arguments: [])
    cfg = config.load(
        Config,
        [],
        name="greenland",
        source=str(item),
        boundingBox=[-39.5, 72.0, -38.5, 72.2],
        years=[2015, 2015],
        maxCloudPercent=100.0,
        maxMissingFraction=0.99,
        pixelSize=500.0,
    )
    assert dataAPI.run(cfg) == 0
    (scene,) = dataAPI.read_scenes(cfg)
    assert (scene.platform, scene.tier, str(scene.date)) == ("landsat-8", "T2", "2015-07-10")
    assert scene.bands == ("blue", "green", "red", "nir08", "swir16", "swir22")
    snow = np.nanmedian(scene.reflectance("green"))
    assert 0.5 < snow < 1.1
    assert not scene.warning
