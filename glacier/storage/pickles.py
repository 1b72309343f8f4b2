"""Pickles that hold arrays and plain containers, and nothing else."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from config import GlacierError
from glacier.storage.disk import script_of


def _frombuffer(buffer, dtype, shape, order):
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


ALLOWED = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
for _core in ("numpy.core", "numpy._core"):  # the spellings of NumPy 1 and of NumPy 2
    ALLOWED[_core + ".numeric", "_frombuffer"] = _frombuffer
    ALLOWED[_core + ".multiarray", "_reconstruct"] = np._core.multiarray._reconstruct
    ALLOWED[_core + ".multiarray", "scalar"] = np._core.multiarray.scalar


class SafeUnpickler(pickle.Unpickler):
    """Reads NumPy arrays and plain containers; any other name in the stream is refused before it is looked up."""

    def find_class(self, module, name):
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise GlacierError(
                f"it asks for {module}.{name}, which is no array: refused, nothing was run"
            ) from None


def read_pickles(path: Path) -> Iterator:
    """Yield the objects of a pickle stream one by one, so memory stays flat.

    Raises GlacierError if the file is missing, truncated, damaged or holds anything but arrays and plain containers.
    """
    if not path.is_file():
        raise GlacierError(f"{path} is not there; run {script_of(path)}")
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        while file.tell() < size:
            try:
                yield SafeUnpickler(file).load()
            except GlacierError as error:
                raise GlacierError(
                    f"{path}: {error}; delete it and run {script_of(path)} --force"
                ) from error
            except (
                pickle.UnpicklingError,
                EOFError,
                ValueError,
                TypeError,
                AttributeError,
                IndexError,
                KeyError,
                MemoryError,
                OverflowError,
            ) as error:
                raise GlacierError(
                    f"{path} is truncated or damaged ({error}); run {script_of(path)} --force"
                ) from error


def pickled(content) -> bytes:
    """Return one object of a pickle stream as bytes (protocol 5: equal content, equal bytes)."""
    return pickle.dumps(content, protocol=5)
