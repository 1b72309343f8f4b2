"""Files of the datasets folder that appear whole or not at all: a file that exists is complete."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
import yaml

from config import GlacierError
from glacier.console import DISK_REFUSALS
from glacier.storage import integrity
from glacier.storage.forms import Form, misfit
from glacier.storage.integrity import SCHEMA, file_hash

# What those who write files need as well.
__all__ = [
    "SCHEMA",
    "file_hash",
    "hidden_neighbour",
    "read_array",
    "read_json",
    "scratch",
    "sweep",
    "sweep_parts",
    "write_json",
    "write_yaml",
    "writing",
    "writing_array",
]

SCRATCH = ".scratch-"
ABANDONED = 3600.0  # seconds after which nobody writes a file any more that others wait for


class Tracked(io.FileIO):
    """A file that remembers why it could not be written: libraries hide it behind errors of their own."""

    failure: OSError | None = None

    def write(self, content):
        try:
            return super().write(content)
        except OSError as error:
            self.failure = error
            raise


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Open a hidden neighbour of `path` that takes its name once it is fully on disk.

    GlacierError if the disk does not take it: full, read-only, or not the user's.
    """
    part = part_of(path)
    raw = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = Tracked(part, "wb")
        with io.BufferedWriter(raw) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        integrity.wrote(path)
    except (OSError, RuntimeError) as error:
        refuse(path, (raw and raw.failure) or error)
        raise
    finally:
        remove(part)


@contextmanager
def writing_array(path: Path, shape: tuple[int, ...], dtype=np.float32) -> Iterator[np.ndarray]:
    """Give a memory-mapped array to fill; it becomes the .npy file `path` once it is fully on disk.

    GlacierError, before anything is computed, if the disk has no room for it.
    """
    part = part_of(path)
    size = math.prod(shape) * np.dtype(dtype).itemsize
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        array = np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=shape)
        with open(part, "r+b") as file:
            reserve(file)
        yield array
        array.flush()
        del array
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
        integrity.wrote(path)
    except OSError as error:
        refuse(path, error, size)
        raise
    finally:
        remove(part)


def nameless_array(folder: Path, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    """Return an array to fill, in a file of `folder` that has no name and goes with the array.

    GlacierError if the disk has no room for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size == 0:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            file.truncate(size)
            reserve(file)
        except OSError as error:
            refuse(folder / "scratch", error, size)
            raise
        return np.asarray(np.memmap(file, dtype, "r+", shape=shape))


def reserve(file: IO[bytes]) -> None:
    """Take the room of a file whose size is set: a disk that fills under a mapped file ends the process."""
    if not hasattr(os, "posix_fallocate"):  # not on macOS
        return
    size = os.fstat(file.fileno()).st_size
    if size:
        os.posix_fallocate(file.fileno(), 0, size)


def refuse(path: Path, error: Exception, size: int = 0) -> None:
    """Raise GlacierError if a file could not be written for what the user can mend. size : needed, if known [bytes]."""
    if not isinstance(error, OSError) or not (error.errno in DISK_REFUSALS or cut_short(error)):
        return
    needs = ""
    if size:
        needs = f"; it needs {size / 1e6:.0f} MB"
    raise GlacierError(
        f"{path} could not be written ({error.strerror or error}){needs}; {room(path)}, or set GLACIER_HOME to "
        "another disk, then run the same command again"
    ) from error


def cut_short(error: OSError) -> bool:
    """Return whether NumPy could write a part of an array only: it does not say why."""
    return error.errno is None and "requested and" in str(error)


def room(path: Path) -> str:
    """Return how much is free where a file is to go, and what to do about it."""
    folder = next((folder for folder in path.parents if folder.is_dir()), Path("/"))
    free = shutil.disk_usage(folder).free
    return f"{free / 1e6:.0f} MB are free there: make room and check who may write"


def remove(path: Path) -> None:
    """Remove what is left of a file, where that is possible."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """Return the hidden name under which this process writes `path` before it is complete."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def hidden_neighbour(path: Path) -> Path:
    """Return a hidden name beside `path`, for a folder that is made before it takes its name."""
    return path.with_name(f".{path.name}.part")


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Give a folder for what a stage needs only while it works, in the stage's own: it goes at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=SCRATCH) as name:
        yield Path(name)


def sweep(folder: Path) -> None:
    """Remove what killed runs left behind in a folder: scratch folders, and files that were not complete.

    Call it while nobody else works there.
    """
    for path in folder.glob(f"{SCRATCH}*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.rglob(".*.part"):
        if path.is_file():
            remove(path)


def sweep_parts(path: Path) -> None:
    """Remove what killed runs left of a file that several stages write, where it was not touched for long."""
    for part in path.parent.glob(f".{path.name}.*.part"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > ABANDONED:
                part.unlink()


def write_yaml(path: Path, content: dict) -> None:
    """Write plain containers as YAML, keys in the order given."""
    with writing(path) as file:
        file.write(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120).encode())


def read_array(path: Path) -> np.ndarray:
    """Return a memory-mapped .npy array, read-only; GlacierError if the file is damaged."""
    integrity.check(path)
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise GlacierError(
            f"{path} is not a complete array ({error}); run again: {integrity.command_of(path)}"
        ) from error


def write_json(path: Path, content: dict) -> Path:
    """Write plain containers as JSON; return the path."""
    with writing(path) as file:
        file.write(json.dumps(content, indent=1).encode())
    return path


def read_json(path: Path, form: Form = dict) -> dict:
    """Return plain containers from JSON; GlacierError if it is missing or damaged, or has not the form of its kind."""
    integrity.check(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise GlacierError(
            f"{path} cannot be read ({error}); run again: {integrity.command_of(path)}"
        ) from error
    where = misfit(content, form)
    if where:
        raise GlacierError(
            f"{path} is no record of its kind (see {where}); run again: {integrity.command_of(path)}"
        )
    return Record(path, content)


class Record(dict):
    """A record read from a file, which says in one line what it lacks."""

    def __init__(self, path: Path, content: dict):
        super().__init__(content)
        self.path = path

    def __missing__(self, key):
        command = integrity.command_of(self.path)
        raise GlacierError(f"{self.path} says nothing of {key!r} (damaged); run again: {command}")
