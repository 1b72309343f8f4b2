"""Addresses of the Planetary Computer's files, signed just before they are read.

A signature lives 45 minutes; what follows the `?` of a signed address is a secret and gets into no log, error or file.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import Future

from config import GlacierError
from glacier.texts import reason_of

BLOBS = ".blob.core.windows.net"  # files there need a token
TOKEN_TIMEOUT = 120  # seconds
SIGNING = threading.Lock()  # one request for a token, however many files wait for it


def ask_for_signature(href: str) -> str:
    """Return planetary_computer.sign_url(href); TimeoutError if no token comes: by itself it would wait for ever."""
    import planetary_computer

    answer: Future = Future()

    def ask():
        try:
            answer.set_result(planetary_computer.sign_url(href))
        except (OSError, ValueError) as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return answer.result(TOKEN_TIMEOUT)


def sign(href: str, refused: str = "") -> str:
    """Return an address with the Planetary Computer's token if it needs one; `refused` is one whose token expired."""
    if BLOBS not in href:
        return href
    import planetary_computer

    with SIGNING:
        signed = ask_for_signature(href)
        if signed == refused:  # no other thread has renewed it yet
            planetary_computer.sas.TOKEN_CACHE.clear()
            signed = ask_for_signature(href)
    return signed


def get_first_tokens(hrefs: Iterable[str]) -> None:
    """Fetch the token of each container before many threads ask for it; GlacierError if it is refused."""
    containers = {"/".join(href.split("/")[:4]): href for href in hrefs if href.startswith("http")}
    for container, href in containers.items():
        try:
            sign(href)
        except (OSError, ValueError) as error:
            raise GlacierError(
                f"no token for {container} ({reason_of(error)}); check PC_SDK_SUBSCRIPTION_KEY and "
                "the network, then run again"
            ) from None
