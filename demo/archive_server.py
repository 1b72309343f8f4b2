"""A STAC API on loopback that answers as servers out there do: their limits, their faults, their endless pages."""

from __future__ import annotations

import gzip
import json
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class ArchiveServer:
    """Serves `items` as a STAC API at `address` while the `with` block lasts; `pages` are other paths and their JSON.

    methods : of its search. largest : items a page it can give; above that it fails with the status `too_large`.
    requests : (method, path, limit) so far. answer : called with (method, path) before all else; returns (status,
    headers, body) or None. turn_page : where the next page starts, after (start, size) of this one. endless : whether
    every page names a next one.
    """

    def __init__(self, items: list[dict]):
        self.items = items
        self.pages: dict[str, object] = {}
        self.methods = ("GET", "POST")
        self.largest = 1000
        self.too_large = 500
        self.requests: list[tuple[str, str, int]] = []
        self.answer: Callable[[str, str], tuple[int, dict, bytes] | None] = lambda *_: None
        self.turn_page: Callable[[int, int], int] = lambda start, size: start + size
        self.endless = False

    def __enter__(self) -> ArchiveServer:
        handler = type("Handler", (Handler,), {"archive": self})
        self.server = Server(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/stac"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exception) -> None:
        self.server.shutdown()
        self.server.server_close()

    def landing(self) -> dict:
        """Return the landing page."""
        links = [
            {"rel": "search", "href": f"{self.address}/search", "method": method}
            for method in self.methods
        ]
        return {"type": "Catalog", "stac_version": "1.0.0", "id": "api", "links": links}

    def search(self, method: str, limit: int, start: int, ask: dict) -> tuple[int, dict]:
        """Return status and content of a page of the search."""
        if method not in self.methods:
            return 405, {"code": "MethodNotAllowed"}
        if limit > self.largest:
            return self.too_large, {"code": "too large"}
        names = ask.get("collections") or []
        items = [item for item in self.items if not names or item["collection"] in names]
        first, _, last = ask.get("datetime", "0/9").partition("/")
        items = [item for item in items if first <= item["properties"]["datetime"] <= last]
        content = {"type": "FeatureCollection", "features": items[start : start + limit]}
        following = self.turn_page(start, limit)
        if self.endless or following < len(items):
            content["links"] = [self.next_link(method, limit, following, ask)]
        return 200, content

    def next_link(self, method: str, limit: int, start: int, ask: dict) -> dict:
        """Return the link to the next page: a body to POST, or a relative address to GET."""
        if method == "POST":
            body = {"token": start}
            return {
                "rel": "next",
                "href": f"{self.address}/search",
                "method": "POST",
                "body": body,
                "merge": True,
            }
        collections = ",".join(ask.get("collections") or [])
        query = f"limit={limit}&token={start}&collections={collections}&datetime={ask['datetime']}"
        return {"rel": "next", "href": f"/stac/search?{query}"}


class Server(ThreadingHTTPServer):
    """Says nothing of clients that hang up, as they should on what never ends."""

    def handle_error(self, request, client_address) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    archive: ArchiveServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        ask = {name: values[0] for name, values in query.items()}
        ask["collections"] = [name for name in ask.get("collections", "").split(",") if name]
        self.reply("GET", ask)

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.reply("POST", json.loads(self.rfile.read(length) or b"{}"))

    def reply(self, method: str, ask: dict) -> None:
        path = urlsplit(self.path).path
        limit = int(ask.get("limit", 10))
        start = int(ask.get("token", 0))
        self.archive.requests.append((method, path, limit))
        given = self.archive.answer(method, path)
        if given is not None:
            self.send(*given)
        elif path == "/stac":
            self.send(200, {}, json.dumps(self.archive.landing()).encode())
        elif path == "/stac/search":
            status, content = self.archive.search(method, limit, start, ask)
            self.send(status, {}, json.dumps(content).encode())
        elif path in self.archive.pages:
            self.send(200, {}, json.dumps(self.archive.pages[path]).encode())
        else:
            self.send(404, {}, b"{}")

    def send(self, status: int, headers: dict, body: bytes) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments) -> None:
        pass


def bomb(megabytes: int) -> bytes:
    """Return a gzip that unpacks to many times its size."""
    return gzip.compress(b"[" + b" " * (megabytes << 20) + b"]")
