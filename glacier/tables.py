"""Tables as lines of text."""

from __future__ import annotations

import textwrap

WIDEST = 100  # letters of a line
NARROWEST = 12  # letters of a column that has to give way


def lines_of(rows: list[tuple]) -> list[str]:
    """Return the rows of a table as lines with aligned columns, numbers to the right, at most WIDEST letters wide.

    A cell that has no room goes on in the next line.
    """
    texts = [[text_of(cell) for cell in row] for row in rows]
    widths = fitting_widths(texts)
    lines = []
    for row, cells in zip(rows, texts, strict=True):
        right = [column > 0 and isinstance(cell, int | float) for column, cell in enumerate(row)]
        lines += lines_of_row(cells, widths, right)
    return lines


def fitting_widths(texts: list[list[str]]) -> list[int]:
    """Return the widths of the columns of a table; the widest give way until a line has at most WIDEST letters."""
    columns = max(map(len, texts), default=0)
    widths = [1] * columns
    for row in texts:
        for column, text in enumerate(row):
            widths[column] = max(widths[column], len(text))
    while sum(widths) + 2 * columns > WIDEST and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1
    return widths


def lines_of_row(cells: list[str], widths: list[int], right: list[bool]) -> list[str]:
    """Return the cells of a row as lines, one if all fit. right : which cells end at the right of their column."""
    pieces = []
    for column, text in enumerate(cells):
        fits = len(text) <= widths[column]
        pieces.append([text] if fits else textwrap.wrap(text, widths[column]))
    lines = []
    for level in range(max(map(len, pieces), default=1)):
        line = ""
        for column, parts in enumerate(pieces):
            text = ""
            if level < len(parts):
                text = parts[level]
            width = widths[column]
            line += "  " + (text.rjust(width) if right[column] else text.ljust(width))
        lines.append(line.rstrip())
    return lines


def text_of(cell) -> str:
    """Return a cell of a table as text, a float with four digits."""
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return str(cell)
