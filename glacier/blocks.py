"""Arrays worked on some rows at a time: what is made of a block takes several times its memory."""

from __future__ import annotations

from collections.abc import Iterator


def blocks(height: int, rows: int) -> Iterator[slice]:
    """Yield slices of some rows, the last one maybe of fewer, that cover an image of `height` rows."""
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def widened(rows: slice, reach: int, height: int) -> tuple[slice, slice]:
    """Return some rows with those up to `reach` around them, and where the first ones lie among these."""
    around = slice(max(0, rows.start - reach), min(rows.stop + reach, height))
    return around, slice(rows.start - around.start, rows.stop - around.start)
