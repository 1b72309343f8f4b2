"""Whether a record of ours holds what its readers take: a hash tells that it is as written, not that it fits."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date
from typing import Any

# A form is a type, a function that tells whether a value fits, [form] for a list of such values, or {key: form} for a
# record that has at least these keys.
Form = type | Callable | list | dict


def is_number(value: Any) -> bool:
    """Tell whether a value is a number; NaN is one."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Tell whether a value is a finite number."""
    return is_number(value) and abs(value) < 1e300 and math.isfinite(value)


def is_count(value: Any) -> bool:
    """Tell whether a value is a whole number, 0 or more, that an array can have."""
    return is_finite(value) and value == int(value) and 0 <= value < 1 << 48


def is_shape(value: Any) -> bool:
    """Tell whether a value is the height and width of a grid."""
    return isinstance(value, list) and len(value) == 2 and all(map(is_count, value))


def is_day(value: Any) -> bool:
    """Tell whether a value is a day in ISO 8601."""
    try:
        date.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return True


def is_transform(value: Any) -> bool:
    """Tell whether a value is the affine transform of a grid: six numbers that lead somewhere."""
    if not isinstance(value, list) or len(value) != 6 or not all(map(is_finite, value)):
        return False
    a, b, _, d, e, _ = value
    return a * e != b * d


def is_matrix(value: Any) -> bool:
    """Tell whether a value is a matrix of three rows of three numbers."""
    if isinstance(value, list) and len(value) == 3:
        rows = value
    else:
        rows = [[]]
    return all(isinstance(row, list) and len(row) == 3 and all(map(is_finite, row)) for row in rows)


def misfit(content: Any, form: Form, place: str = "") -> str:
    """Return the first place in plain containers that does not have its form, as "scenes, 3, date"; else nothing."""
    if isinstance(form, dict):
        if not isinstance(content, dict):
            return place or "itself"
        members = [(key, content.get(key), part) for key, part in form.items()]
    elif isinstance(form, list):
        if not isinstance(content, list):
            return place or "itself"
        members = [(number, value, form[0]) for number, value in enumerate(content)]
    else:
        if isinstance(form, type):
            fits = isinstance(content, form)
        else:
            fits = form(content)
        if fits:
            return ""
        return place or "itself"
    for key, value, part in members:
        where = misfit(value, part, f"{place}, {key}" if place else str(key))
        if where:
            return where
    return ""
