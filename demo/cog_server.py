"""A web server of files on loopback, with byte ranges, latency, faults, outages, tokens, and counters.

As a proxy (GDAL_HTTP_PROXY) it also stands for https-less addresses on *.blob.core.windows.net:
http://ACCOUNT.blob.core.windows.net/CONTAINER/path is the file `path` below the served folder.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

FAULTS = ("429", "503", "drop", "short", "stall")
BLOB = ".blob.core.windows.net"


class CogServer:
    """Serves a folder while the `with` block lasts; the attributes below may be changed meanwhile.

    latency : seconds before each answer. fault_rate : share of file requests that fail, in the ways of `kinds`.
    stall_seconds : how long a stalled answer hangs. missing : paths that are not there.
    down : connections are dropped, whatever they ask. token_life : seconds the server honours a token; None: no token
    is asked for on blob addresses. refuse_tokens : the token endpoint says 403, after token_delay seconds.
    requests : Counter of (path, method). faults : Counter of kinds. body_bytes : total. secrets : tokens given, when.
    """

    def __init__(self, folder: Path, latency: float = 0.0, fault_rate: float = 0.0, seed: int = 0):
        self.folder = Path(folder)
        self.latency = latency
        self.fault_rate = fault_rate
        self.random = random.Random(seed)
        self.kinds = FAULTS
        self.stall_seconds = 60.0
        self.missing = set()
        self.down = False
        self.token_life = None
        self.refuse_tokens = False
        self.token_delay = 0.0
        self.requests = Counter()
        self.faults = Counter()
        self.body_bytes = 0
        self.secrets = {}
        self.at_once = self.most_at_once = 0
        self.on_request = lambda path: None
        self.content: dict[str, bytes] = {}

    def __enter__(self) -> CogServer:
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        self.thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self.thread.start()
        ready.wait()
        return self

    def __exit__(self, *exception) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    def _serve(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(
            asyncio.start_server(self._connection, "127.0.0.1", 0)
        )
        self.port = server.sockets[0].getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        ready.set()
        self.loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.close()

    @property
    def total(self) -> int:
        """Requests for files so far."""
        return sum(self.requests.values())

    def files_asked(self) -> set[str]:
        """Return the paths asked for so far."""
        return {path for path, _ in self.requests}

    def reset(self) -> None:
        """Set the counters to zero."""
        self.requests.clear()
        self.faults.clear()
        self.body_bytes = self.most_at_once = 0

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                method, target, _ = head.split(" ", 2)
                if self.down or not await self._answer(method, target, head, writer):
                    return
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            return
        finally:
            writer.transport.abort() if self.down else writer.close()

    async def _answer(self, method: str, target: str, head: str, writer) -> bool:
        """Answer one request; False ends the connection."""
        url = urlsplit(target)
        path = url.path.lstrip("/")
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.latency)
            if path.startswith("token/"):
                return await self._token(writer)
            if (url.hostname or "").endswith(BLOB):
                path = path.partition("/")[2]  # the container
                if self.token_life is not None and not self._honoured(url.query):
                    return await self._send(writer, "403 Server failed to authenticate the request")
            return await self._file(method, path, head, writer)
        finally:
            self.at_once -= 1

    async def _file(self, method: str, path: str, head: str, writer) -> bool:
        self.requests[path, method] += 1
        self.on_request(path)
        kind = None
        if self.random.random() < self.fault_rate:
            kind = self.random.choice(self.kinds)
        if kind:
            self.faults[kind] += 1
        if kind == "drop":
            writer.transport.abort()
            return False
        if kind == "stall":
            await asyncio.sleep(self.stall_seconds)
            return False
        if kind in ("429", "503"):
            return await self._send(
                writer, f"{kind} Try again", extra="Retry-After: 1\r\n" if kind == "429" else ""
            )
        body = self._content(path)
        if body is None or path in self.missing:
            return await self._send(writer, "404 Not Found")
        wanted = re.search(r"(?im)^range: bytes=(\d+)-(\d*)", head)
        status = "200 OK"
        extra = "Accept-Ranges: bytes\r\n"
        if wanted:
            first = int(wanted[1])
            last = min(int(wanted[2] or len(body) - 1), len(body) - 1)
            if first > last:
                return await self._send(writer, "416 Range Not Satisfiable")
            status = "206 Partial Content"
            extra += f"Content-Range: bytes {first}-{last}/{len(body)}\r\n"
            body = body[first : last + 1]
        return await self._send(writer, status, body, extra, method, short=kind == "short")

    async def _send(
        self,
        writer,
        status: str,
        body: bytes = b"",
        extra: str = "",
        method: str = "GET",
        short: bool = False,
    ) -> bool:
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode())
        if method != "HEAD":
            part = body
            if short:
                part = body[: len(body) // 2]
            writer.write(part)
            self.body_bytes += len(part)
        await writer.drain()
        return not short

    def _content(self, path: str) -> bytes | None:
        if path not in self.content and (self.folder / path).is_file():
            self.content[path] = (self.folder / path).read_bytes()
        return self.content.get(path)

    async def _token(self, writer) -> bool:
        await asyncio.sleep(self.token_delay)
        if self.refuse_tokens:
            return await self._send(writer, "403 Forbidden")
        secret = f"SECRET{len(self.secrets)}x{self.random.getrandbits(64):x}"
        self.secrets[secret] = time.monotonic()
        expiry = (datetime.now(UTC) + timedelta(minutes=45)).strftime("%Y-%m-%dT%H:%M:%SZ")
        answer = {"msft:expiry": expiry, "token": f"st=2020&se=2030&sp=rl&sig={secret}"}
        return await self._send(
            writer, "200 OK", json.dumps(answer).encode(), "Content-Type: application/json\r\n"
        )

    def _honoured(self, query: str) -> bool:
        given = self.secrets.get(parse_qs(query).get("sig", [""])[0])
        return given is not None and time.monotonic() - given < self.token_life
