"""Pickles that hold arrays and plain containers, and nothing else."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

from config import GlacierError
from glacier.storage import integrity
from glacier.storage.unpickler import PlainUnpickler

# what a damaged stream can end in; a refused one is a GlacierError
DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,
)


def read_pickles(path: Path) -> Iterator:
    """Yield the objects of a pickle stream one by one, so memory stays flat.

    Raises GlacierError if the file is missing, truncated, damaged or holds anything but arrays and plain containers.
    """
    if not path.is_file():
        raise GlacierError(f"{path} is not there; run {integrity.command_of(path)}")
    integrity.check(path)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        while file.tell() < size:
            yield read_object(path, file)


def read_object(path: Path, file: io.BufferedReader):
    """Return the next object of a stream; GlacierError, with the path, if it is damaged or no plain data."""
    try:
        return PlainUnpickler(file).load()
    except GlacierError as error:
        raise GlacierError(
            f"{path}: {error}; delete it and run {integrity.command_of(path)}"
        ) from error
    except DAMAGE as error:
        reason = " ".join(str(error).split())
        raise GlacierError(
            f"{path} is truncated or damaged ({reason:.120}); run {integrity.command_of(path)}"
        ) from error


def pickled(content) -> bytes:
    """Return one object of a pickle stream as bytes (protocol 5: equal content, equal bytes)."""
    return pickle.dumps(content, protocol=5)
