"""Texts of archives and of other people's errors, as a message may hold them."""

from __future__ import annotations

import re


def printable(text: str) -> str:
    """Return a text of an archive with control characters escaped, at most 200 characters."""
    if text.isprintable():
        return text[:200]
    escaped = [repr(letter)[1:-1] for letter in text]
    return "".join(escaped)[:200]


def reason_of(error: BaseException) -> str:
    """Return an error's text on one line, at most 200 characters, without what follows the `?` of an address."""
    text = " ".join(str(error).split())
    without_secrets = re.sub(r"\?[^\s'\")]*", "", text)
    return printable(without_secrets) or type(error).__name__
