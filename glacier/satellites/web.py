"""JSON from the web and from disk, within limits: bytes, waiting, depth; each fault is one clear line."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urljoin

from glacier.satellites.addresses import is_web
from glacier.texts import printable, reason_of

MEGABYTE = 1 << 20
TRIES = 6  # of each page
MAX_BYTES = 128 * MEGABYTE  # of an answer, unpacked; a page of 250 items has about 8
MAX_SECONDS = 180.0  # of an answer, however slowly it drips
CONNECT_TIMEOUT = 4.0
READ_TIMEOUT = 60.0
PATIENCE = 300.0  # seconds of waiting in all, once the server has answered
FIRST_PATIENCE = 8.0  # before it has: without a network a user is not kept waiting
LONGEST_WAIT = 30.0  # whatever a server asks for
MAX_REDIRECTS = 5
SEE_OTHER = 303
TRY_AGAIN = {429, 500, 502, 503, 504}


class SourceError(Exception):
    """A page that cannot be had; the text says why, without secrets.

    status : of the answer, or 0. may_pass : whether it was tried again until patience ended.
    """

    def __init__(self, reason: str, status: int = 0, may_pass: bool = False):
        super().__init__(reason)
        self.status = status
        self.may_pass = may_pass


class NotStacError(SourceError):
    """A page that is there, and is not what a STAC archive answers."""


def parse_json(content: bytes) -> object:
    """Return what a JSON text holds; SourceError if it is none, a web page, or nested without end."""
    start = content[:200].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<body")):
        raise NotStacError("it is a web page, perhaps one to sign in, and no JSON")
    try:
        return json.loads(decoded(content))
    except RecursionError:
        raise NotStacError("its JSON is nested too deep") from None
    except ValueError as error:
        raise NotStacError(f"it is no JSON ({reason_of(error)[:80]})") from None


def decoded(content: bytes) -> str:
    """Return the text of a JSON file: in UTF-8, -16 or -32, or, against the rule, in Latin-1."""
    encoding = json.detect_encoding(content)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return content.decode("latin-1")


class Reader:
    """Reads pages one after another; how long it has waited counts over all of them.

    tries : of each page, at most. waited : seconds so far. answered : whether any page has come yet.
    """

    def __init__(self, tries: int = TRIES):
        import requests

        self.session = requests.Session()
        self.session.max_redirects = MAX_REDIRECTS
        self.tries = tries
        self.waited = 0.0
        self.answered = False

    def read(self, address: str, body: dict | None = None, failures: int = TRIES) -> object:
        """Return the JSON at an address of the web, or in a file; SourceError if it cannot be had.

        body : is sent by POST; without it the page is asked for by GET. failures : of the server itself, after which it
        is not asked again.
        """
        if not is_web(address):
            return parse_json(read_local(Path(address)))
        return self.persist(lambda: self.ask(address, body), min(failures, self.tries))

    def persist(self, ask: Callable[[], object], failures: int) -> object:
        """Return what `ask` returns, tried again after faults that pass, within the patience."""
        for attempt in range(self.tries):
            start = time.monotonic()
            try:
                content = ask()
            except TemporaryError as error:
                self.waited += time.monotonic() - start
                patience = PATIENCE if self.answered else FIRST_PATIENCE
                pause = min(max(0.5 * 2**attempt, error.wait), LONGEST_WAIT)
                last = (failures if error.status >= 500 else self.tries) - 1
                if attempt >= last or self.waited + pause > patience:
                    raise SourceError(str(error), error.status, may_pass=True) from None
                self.waited += pause
                time.sleep(pause)
            else:
                self.answered = True
                return content
        raise AssertionError("unreachable")

    def ask(self, address: str, body: dict | None) -> object:
        """Return the JSON of one answer; SourceError or TemporaryError if there is none."""
        import requests

        try:
            for _ in range(MAX_REDIRECTS):
                with self.send(address, body) as answer:
                    if body is None or not answer.is_redirect:
                        check_status(answer.status_code, answer.headers)
                        return parse_json(read_body(answer))
                    # by itself requests would go on with GET, and ask for everything there is
                    address = urljoin(address, answer.headers["Location"])
                    body = None if answer.status_code == SEE_OTHER else body
            raise requests.exceptions.TooManyRedirects
        except requests.exceptions.TooManyRedirects:
            raise SourceError("it leads from one address to the next without end") from None
        except (requests.exceptions.RequestException, OSError) as error:
            raise TemporaryError(connection_reason(error)) from None
        except ValueError:
            raise SourceError("it leads to an address that is none") from None

    def send(self, address: str, body: dict | None):
        """Return the answer to one request, whose content is still to come."""
        return self.session.request(
            "GET" if body is None else "POST",
            address,
            json=body,
            headers={"Accept": "application/geo+json, application/json"},
            timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
            stream=True,
            allow_redirects=body is None,
        )


class TemporaryError(Exception):
    """A fault that may pass. wait : seconds that the server asks for. status : of the answer, or 0."""

    def __init__(self, reason: str, wait: float = 0.0, status: int = 0):
        super().__init__(reason)
        self.wait = wait
        self.status = status


def check_status(status: int, headers) -> None:
    """Raise for an answer that is none: at once where waiting cannot help."""
    if status in (401, 403):
        raise SourceError(f"it asks for an account (HTTP {status})", status)
    if status in TRY_AGAIN:
        raise TemporaryError(f"HTTP {status}", asked_wait(headers.get("Retry-After", "")), status)
    if status >= 400:
        raise SourceError(f"HTTP {status}", status)


def asked_wait(text: str) -> float:
    """Return how many seconds a server asks to wait, told as a number or a date; 0 for anything else."""
    if re.fullmatch("[0-9]{1,9}", text):
        return float(text)
    try:
        until = parsedate_to_datetime(text)
        return max(until.timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return 0.0


def read_body(answer) -> bytes:
    """Return the unpacked bytes of an answer; SourceError if it is too long, TemporaryError if it does not end."""
    end = time.monotonic() + MAX_SECONDS
    parts = []
    size = 0
    for part in answer.iter_content(1 << 16):
        parts.append(part)
        size += len(part)
        if size > MAX_BYTES:
            raise SourceError(f"its answer is longer than {MAX_BYTES // MEGABYTE} MB")
        if time.monotonic() > end:
            raise TemporaryError(f"its answer did not end within {MAX_SECONDS:.0f} s")
    return b"".join(parts)


def read_local(path: Path) -> bytes:
    """Return the bytes of a plain file; SourceError if it is none or too long."""
    if not os.path.isfile(path):  # False for names that are too long, where Path raises
        raise SourceError(f"{printable(str(path))} is not there")
    if path.stat().st_size > MAX_BYTES:
        raise SourceError(f"{printable(str(path))} is longer than {MAX_BYTES // MEGABYTE} MB")
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{printable(str(path))}: {error.strerror}") from None


def connection_reason(error: BaseException) -> str:
    """Return why a server cannot be reached, in a few words."""
    text = str(error)
    for sign, words in (
        ("NameResolution", "its name cannot be resolved: no network?"),
        ("Name or service not known", "its name cannot be resolved: no network?"),
        ("Connection refused", "the connection is refused"),
        ("unreachable", "the network is unreachable"),
        ("timed out", "it does not answer in time"),
        ("Connection aborted", "the connection broke"),
    ):
        if sign in text:
            return words
    return reason_of(error)
