"""Manifests as they are read, and whether a file is still what its stage wrote.

A manifest holds size and SHA-256 of every file. Whoever reads a file of a finished stage compares it first, once a run;
"up to date" compares sizes, and hashes only of files that changed after the manifest was written.
"""

from __future__ import annotations

import hashlib
import logging
from functools import lru_cache
from pathlib import Path

import yaml

import config
from config import GlacierError
from glacier.storage.forms import is_count, misfit

log = logging.getLogger(__name__)

SCHEMA = 1
MANIFEST = "manifest.yaml"
WITHDRAWN = ".manifest.yaml"  # its name while the stage works
CHECK = b"check: "  # begins the last line of a manifest: the hash of the lines before
# folders between a file and its manifest, at most
DEPTH = 3
FORM = {"settings": dict, "inputs": dict, "outputs": dict, "counts": dict, "command": str}
OUTPUT = {"bytes": is_count, "sha256": str}
# path: (bytes, time) of each file that was compared in this run
_compared: dict[Path, tuple[int, int]] = {}
# files that this run wrote itself
_written: set[Path] = set()


class DamagedError(GlacierError):
    """A file of a finished stage is not what was written."""


def digest(content: bytes) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()[:16]


def file_hash(path: Path) -> str:
    """Return 16 hexadecimal digits of a file's SHA-256."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


# ── Manifests ────────────────────────────────────────────────────────────────────────────────────────────────────


def read_manifest(folder: Path, name: str = MANIFEST) -> dict | None:
    """Return the manifest of a finished stage or run; None if it did not finish, or the manifest is damaged."""
    path = folder / name
    if not path.is_file():
        return None
    stat = path.stat()
    return _manifest_of(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=16)
def _manifest_of(path: Path, time: int, size: int) -> dict | None:
    """Return a manifest as it was at some time: a stage with thousands of files asks thousands of times."""
    try:
        return parse_manifest(path.read_bytes())
    except (OSError, ValueError, yaml.YAMLError) as error:
        log.debug("%s: %s", path, error)
        return None


def parse_manifest(content: bytes) -> dict:
    """Return a manifest from its bytes; ValueError if it is damaged or of another version."""
    lines, check, rest = content.rpartition(CHECK)
    if check and rest.strip().decode() != digest(lines):
        raise ValueError("its lines do not give its hash")
    manifest = config.load_yaml(content.decode())
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise ValueError("it is no manifest of this version")
    where = misfit({"command": ""} | manifest, FORM)
    if where:
        raise ValueError(f"it is no manifest (see {where})")
    for name, output in manifest["outputs"].items():
        where = misfit(output, OUTPUT)
        if where or not isinstance(name, str):
            raise ValueError(f"it says nothing of {name}")
    return manifest


def signed(lines: bytes) -> bytes:
    """Return the bytes of a manifest with the hash of its lines as the last one."""
    return lines + CHECK + digest(lines).encode() + b"\n"


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────


def difference(path: Path, output: dict, since: int | None = None) -> str | None:
    """Return how a file differs from what its manifest says, None if it does not.

    since : a time [ns]; a file of the right size that was not changed after it is taken as it is. None: compare all.
    """
    if not path.is_file():
        return "is missing"
    stat = path.stat()
    if stat.st_size != output["bytes"]:
        return f"has {stat.st_size} bytes instead of {output['bytes']} (truncated or damaged)"
    if since is not None and stat.st_mtime_ns <= since:
        return None
    if file_hash(path) != output["sha256"]:
        return "is not what was written (damaged, or changed by hand)"
    return None


def changed_output(folder: Path, manifest: dict, every_byte: bool = False) -> str | None:
    """Return which file of a finished folder is missing or damaged, and how; None if all are as they were written.

    every_byte : compare the hashes of all files; else of those that changed after the manifest was written.
    """
    if every_byte:
        since = None
    else:
        since = (folder / MANIFEST).stat().st_mtime_ns
    for name, output in manifest["outputs"].items():
        path = folder / name
        reason = difference(path, output, since)
        if reason:
            return f"{path} {reason}"
    return None


def manifest_folder(path: Path) -> Path | None:
    """Return the folder whose manifest tells of a file: its own or one above, None if there is none."""
    for folder in list(path.parents)[:DEPTH]:
        if (folder / MANIFEST).is_file() or (folder / WITHDRAWN).is_file():
            return folder
    return None


def wrote(path: Path) -> None:
    """Remember that this run wrote a file: while its stage works, the manifest tells of the file before it."""
    _written.add(path)


def check(path: Path) -> None:
    """Compare a file with the hash in its manifest, once a run; DamagedError if it is not what was written.

    While its stage works, that is the manifest of the run before, for files this run did not write. A file that no
    manifest tells of is taken as it is.
    """
    folder = manifest_folder(path)
    if folder is None or not path.is_file():
        return
    at_work = not (folder / MANIFEST).is_file()
    if at_work and path in _written:
        return
    manifest = read_manifest(folder, WITHDRAWN if at_work else MANIFEST)
    if manifest is None:
        return
    output = manifest["outputs"].get(path.relative_to(folder).as_posix())
    stat = path.stat()
    state = (stat.st_size, stat.st_mtime_ns)
    if output is None or _compared.get(path) == state:
        return
    reason = difference(path, output)
    if reason:
        raise DamagedError(f"{path} {reason}; run again: {command_of(path)}")
    _compared[path] = state


def command_of(path: Path) -> str:
    """Return the command that makes a file again, as its manifest names it."""
    folder = manifest_folder(path)
    for name in (MANIFEST, WITHDRAWN):
        manifest = None
        if folder:
            manifest = read_manifest(folder, name)
        if manifest and manifest.get("command"):
            return with_force(manifest["command"])
    return f"the script that makes {path.parent.name}/, with --force"


def with_force(command: str) -> str:
    """Return a command that runs although its stage is up to date."""
    if command.endswith("--force"):
        return command
    return f"{command} --force"
