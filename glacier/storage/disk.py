"""Files of the datasets folder that appear whole or not at all: a file that exists is complete."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import yaml

from config import GlacierError

SCHEMA = 1
# folder: script, in run order
STAGES = {
    "rawData": "dataAPI.py",
    "aligned": "alignment.py",
    "patches": "createPatches.py",
    "movement": "movement.py",
}
NEXT = {
    "rawData": STAGES["aligned"],
    "aligned": STAGES["patches"],
    "patches": STAGES["movement"],
    "movement": "DeepLearning/trainAttentionLSTM.py",
}


@contextmanager
def writing(path: Path) -> Iterator[io.BufferedWriter]:
    """Open a hidden neighbour of `path` that takes its name once it is fully on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = hidden_neighbour(path)
    try:
        with open(part, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def writing_array(path: Path, shape: tuple[int, ...], dtype=np.float32) -> Iterator[np.ndarray]:
    """Give a memory-mapped array to fill; it becomes the .npy file `path` once it is fully on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = hidden_neighbour(path)
    try:
        array = np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=shape)
        yield array
        array.flush()
        del array
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def hidden_neighbour(path: Path) -> Path:
    """Return the name under which `path` is written before it is complete (one a path: a rerun takes it over)."""
    return path.with_name(f".{path.name}.part")


def write_yaml(path: Path, content: dict) -> None:
    """Write plain containers as YAML, keys in the order given."""
    with writing(path) as file:
        file.write(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120).encode())


def read_array(path: Path) -> np.ndarray:
    """Return a memory-mapped .npy array, read-only; GlacierError if the file is damaged."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise GlacierError(
            f"{path} is not a complete array ({error}); run {script_of(path)} --force"
        ) from error


def file_hash(path: Path) -> str:
    """Return 16 hexadecimal digits of a file's SHA-256."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def script_of(path: Path) -> str:
    """Return the command that writes a file of the datasets folder."""
    return next(
        (f"python {script}" for stage, script in STAGES.items() if stage in path.parts),
        "its script",
    )


def write_json(path: Path, content: dict) -> Path:
    """Write plain containers as JSON; return the path."""
    with writing(path) as file:
        file.write(json.dumps(content, indent=1).encode())
    return path


def read_json(path: Path) -> dict:
    """Return plain containers from JSON; GlacierError if it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise GlacierError(
            f"{path} cannot be read ({error}); run {script_of(path)} --force"
        ) from error
