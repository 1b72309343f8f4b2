"""Arrays out of a pickle stream, built by functions of ours from checked parts.

NumPy's own functions trust what a stream tells them: a forged state makes raw bytes an object pointer. Here the names
that NumPy writes are stand-ins, and an array is made only from a type out of a list, a shape and bytes that fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from config import GlacierError

# plain numbers; no objects, texts, dates, records
TYPES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")
BYTE_ORDERS = ("<", ">", "|", "=")
MOST_AXES = 32
LONGEST_AXIS = 1 << 40


@dataclass
class NumberType:
    """Stands for numpy.dtype: a code of TYPES, and a byte order once its state was read."""

    code: str
    byte_order: Any = "="

    def set_state(self, state) -> NumberType:
        """Take over the byte order; ValueError for a state that is not one of plain numbers."""
        if not isinstance(state, tuple) or len(state) != 8:
            raise ValueError("a number type of another form")
        version, byte_order, *details = state
        # no sub-array, names, fields; sizes and flags are the type's own
        if version != 3 or details != [None, None, None, -1, -1, 0]:
            raise ValueError("a number type that is no plain number")
        if byte_order not in BYTE_ORDERS:
            raise ValueError("an unknown byte order")
        self.byte_order = byte_order
        return self

    def as_numpy(self) -> np.dtype:
        """Return NumPy's own type."""
        return np.dtype(self.code).newbyteorder(self.byte_order)


@dataclass
class BlankArray:
    """Stands for an array between its name and its state. memo_keys : where the stream keeps it meanwhile."""

    memo_keys: list[int] = field(default_factory=list)

    def set_state(self, state) -> np.ndarray:
        """Return the array of a state (version, shape, type, Fortran order, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("an array's state of another form")
        version, shape, number_type, fortran, content = state
        if version != 1 or not isinstance(fortran, bool):
            raise ValueError("an array's state of another form")
        return from_bytes(content, number_type, shape, "F" if fortran else "C")


class ArrayName:
    """Stands for numpy.ndarray, which a stream only hands on."""


def number_type(code, align=False, copy=True) -> NumberType:
    """Return the stand-in of numpy.dtype(code); GlacierError if it is no plain number."""
    if type(code) is not str or code not in TYPES:
        raise GlacierError(
            "it holds an array of other than plain numbers: refused, nothing was run"
        )
    return NumberType(code)


def blank_array(name, shape, code) -> BlankArray:
    """Return the stand-in of an array whose state follows, as numpy's _reconstruct does."""
    if name is not ArrayName or shape != (0,) or code != b"b":
        raise ValueError("an array of another class")
    return BlankArray()


def check_shape(shape) -> None:
    """Raise ValueError unless a shape is a tuple of lengths."""
    if type(shape) is not tuple or len(shape) > MOST_AXES:
        raise ValueError("an array without a shape")
    for length in shape:
        if type(length) is not int or not 0 <= length <= LONGEST_AXIS:
            raise ValueError("an axis without a length")


def from_bytes(content, number_type, shape, order="C", axis_order=None) -> np.ndarray:
    """Return an array on bytes of the stream, not copied; ValueError unless type, shape and bytes fit together.

    order : "C", "F", or "K" with the order of the axes, as NumPy's _frombuffer takes them.
    """
    if not isinstance(content, bytes | bytearray):
        raise ValueError("an array without bytes")
    if not isinstance(number_type, NumberType):
        raise ValueError("an array without a type")
    check_shape(shape)
    dtype = number_type.as_numpy()
    needed = math.prod(shape) * dtype.itemsize
    if needed != len(content):
        raise ValueError(f"an array of {needed} bytes made of {len(content)}")
    if order not in ("C", "F", "K"):
        raise ValueError("an array in an unknown order")
    array = np.ndarray(shape, dtype, content, order="F" if order == "F" else "C")
    # NumPy counts the ones of a mask by adding its bytes: a 2 would make it write past an end
    if dtype.kind == "b" and array.size and array.view(np.uint8).max() > 1:
        raise ValueError("yes-or-no values that are neither")
    if order != "K":
        return array
    check_shape(axis_order)
    if sorted(axis_order) != list(range(len(shape))):
        raise ValueError("axes in no order")
    return array.transpose(axis_order)


def scalar(number_type, content) -> Any:
    """Return a single number of NumPy."""
    return from_bytes(content, number_type, ())[()]


NAMES = {("numpy", "ndarray"): ArrayName, ("numpy", "dtype"): number_type}
for _core in ("numpy.core", "numpy._core"):  # the spellings of NumPy 1 and of NumPy 2
    NAMES[_core + ".numeric", "_frombuffer"] = from_bytes
    NAMES[_core + ".multiarray", "_reconstruct"] = blank_array
    NAMES[_core + ".multiarray", "scalar"] = scalar
BUILDERS = (number_type, blank_array, from_bytes, scalar)
