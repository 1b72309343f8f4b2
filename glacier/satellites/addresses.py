"""Where the files of an item are: on the web, on disk, or beside the item."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

# by which of these variables Amazon's storage, or one alike, can be read
S3_ACCOUNT = ("AWS_NO_SIGN_REQUEST", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ROLE_ARN")
S3_ADVICE = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_NO_SIGN_REQUEST=YES where they are public"


def read_href(content: dict, name: str, base: str, address: str) -> str | None:
    """Return the address of a file of the item `name`: the file beside it, its https alternate, or as it is told."""
    parts = [content]
    alternates = content.get("alternate")
    if isinstance(alternates, dict):
        parts += [part for part in alternates.values() if isinstance(part, dict)]
    texts = [part.get("href") for part in parts]
    hrefs = [text for text in texts if isinstance(text, str)]
    hrefs = [href for href in hrefs if href]
    if not hrefs:
        return None
    href = hrefs[0]
    if is_s3(href):
        href = next(filter(is_web, hrefs), href)
    return file_beside(href, name, address) or resolve(href, base) or None


def file_beside(href: str, name: str, address: str) -> str | None:
    """Return the path of a file that was delivered beside its item on disk, as USGS ships a scene; None if it was not.

    Such files carry the id of the item (`name`) in their own name; their address on the web asks for an account.
    """
    file_name = unquote(path_in(href).rpartition("/")[2])
    if is_web(address) or "://" not in href or not file_name.startswith(name):
        return None
    beside = Path(address).parent / file_name
    if os.path.isfile(beside):  # False for names that are too long, where Path raises
        return str(beside)
    return None


def is_web(address: str) -> bool:
    """Tell whether an address is one of the web."""
    return address.startswith(("http://", "https://"))


def is_s3(address: str) -> bool:
    """Tell whether an address is one of Amazon's storage or one alike."""
    return address.startswith("s3://")


def has_s3_account() -> bool:
    """Tell whether the environment says how to read s3:// addresses."""
    return any(os.environ.get(name) for name in S3_ACCOUNT)


def path_in(address: str) -> str:
    """Return the path that an address names, empty for what is no address, such as http://[::1."""
    with suppress(ValueError):
        return urlsplit(address).path
    return ""


def resolve(href: str, base: str) -> str:
    """Return an address as seen from the page or file that names it; empty for what is no address."""
    try:
        parts = urlsplit(href)
        joined = urljoin(base, href)
    except ValueError:
        return ""
    if parts.scheme == "file":
        return unquote(parts.path)
    if "://" in href:
        return href
    if is_web(base):
        return joined
    return os.path.normpath(Path(base).parent / href)


def linked(links: list[dict], relation: str, base: str) -> str:
    """Return the address that the first link of a relation leads to, or an empty text."""
    hrefs = [link.get("href") for link in links if link.get("rel") == relation]
    texts = [href for href in hrefs if isinstance(href, str)]
    if any(texts[:1]):
        return resolve(texts[0], base)
    return ""


def base_address(links: list[dict], address: str) -> str:
    """Return where relative addresses of an item start: the file it was read from, or its own page on the web."""
    if not is_web(address):
        return address
    own = linked(links, "self", address)
    return own if is_web(own) else address
