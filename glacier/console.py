"""What a script says: settings, log, progress, tables, and its exit code."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import config
from config import Config, GlacierError

log = logging.getLogger(__name__)


def main(run: Callable[[Config], int], cls: type[Config] = Config) -> int:
    """Run a script: settings from the command line, log to the terminal, GlacierError -> one line, exit code 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its retries are not for the user
    argv = sys.argv[1:]
    if "--help" in argv or "-h" in argv:
        print(sys.modules["__main__"].__doc__, "\nSettings:\n" + config.usage(cls), sep="\n")
        return 0
    try:
        cfg = config.load(cls, argv, say=log.info)
        return run(cfg)
    except GlacierError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130


def lines_of(rows: list[tuple]) -> list[str]:
    """Return the rows of a table as lines with aligned columns, numbers to the right."""
    texts = [
        [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows
    ]
    widths = [
        max(len(row[i]) for row in texts if i < len(row))
        for i in range(max(map(len, texts), default=0))
    ]
    return [
        "  "
        + "  ".join(
            cell.ljust(width)
            if i == 0 or not isinstance(raw[i], int | float)
            else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=False))
        ).rstrip()
        for raw, row in zip(rows, texts, strict=True)
    ]


def progress(
    items: Iterable,
    what: str,
    total: int | None = None,
    megabytes: Callable[[Any], float] | None = None,
) -> Iterator:
    """Yield the items behind a progress bar with the time left: a bar on a terminal, ten plain lines in a log.

    megabytes : tells how many an item took; then their sum and MB/s are shown too.
    """
    total = len(items) if total is None else total
    bar = None
    if sys.stderr.isatty():
        from tqdm import tqdm

        bar = tqdm(desc=what, total=total)
    start, size = time.monotonic(), 0.0
    for done, item in enumerate(items, 1):
        yield item
        size += megabytes(item) if megabytes else 0.0
        spent = time.monotonic() - start
        amount = f", {size:.0f} MB, {size / max(spent, 1e-3):.1f} MB/s" if megabytes else ""
        if bar is not None:
            bar.set_postfix_str(amount.lstrip(", "), refresh=False)
            bar.update()
        elif done == total or done * 10 // total > (done - 1) * 10 // total:
            left = spent / done * (total - done)
            log.info("  %s %d/%d%s, %.0f s, %.0f s left", what, done, total, amount, spent, left)
    if bar is not None:
        bar.close()
