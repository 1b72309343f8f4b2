"""How the datasets folder is written and read: atomic files, safe pickles, manifests, the stage runner.

A file that exists is complete. A stage whose manifest.yaml exists, with the present settings and inputs, is finished.
"""
from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import config
from config import Config, GlacierError

log = logging.getLogger(__name__)

SCHEMA = 1
STAGES = {"rawData": "dataAPI.py", "aligned": "alignment.py", "patches": "createPatches.py",
          "movement": "movement.py"}  # folder: script
NEXT = {"rawData": STAGES["aligned"], "aligned": STAGES["patches"], "patches": "DeepLearning/trainAttentionLSTM.py"}
PACKAGES = ("numpy", "opencv-python-headless", "rasterio", "torch")


# ── Atomic files ─────────────────────────────────────────────────────────────────────────────────────────────────

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
        raise GlacierError(f"{path} is not a complete array ({error}); run {script_of(path)} --force") from error


# ── Pickles that hold arrays and plain containers, and nothing else ──────────────────────────────────────────────

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
            raise GlacierError(f"it asks for {module}.{name}, which is no array: refused, nothing was run") from None


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
                raise GlacierError(f"{path}: {error}; delete it and run {script_of(path)} --force") from error
            except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError,
                    MemoryError, OverflowError) as error:
                raise GlacierError(f"{path} is truncated or damaged ({error}); "
                                   f"run {script_of(path)} --force") from error


def pickled(content) -> bytes:
    """Return one object of a pickle stream as bytes (protocol 5: equal content, equal bytes)."""
    return pickle.dumps(content, protocol=5)


# ── Manifests and the stage runner ───────────────────────────────────────────────────────────────────────────────

@dataclass
class Result:
    """What a stage made: its files, what to count in the manifest, and the lines of the closing table."""
    files: list[Path]
    counts: dict = field(default_factory=dict)
    table: list[tuple] = field(default_factory=list)
    exit_code: int = 0


def file_hash(path: Path) -> str:
    """Return 16 hexadecimal digits of a file's SHA-256."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def read_manifest(folder: Path) -> dict | None:
    """Return the manifest of a finished stage or run, None if it did not finish."""
    path = folder / "manifest.yaml"
    if not path.is_file():
        return None
    content = yaml.safe_load(path.read_text())
    return content if isinstance(content, dict) and content.get("schema") == SCHEMA else None


def manifest_hash(manifest: dict) -> str:
    """Return the fingerprint of what a stage made and from what: equal whenever its output is equal."""
    return config.fingerprint([manifest["settings"], manifest["inputs"], manifest["outputs"]])


def write_manifest(folder: Path, settings: dict, inputs: dict, files: Iterable[Path], counts: dict,
                   seconds: float) -> None:
    """Write manifest.yaml, the last file of a stage."""
    outputs = {str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": file_hash(path)}
               for path in sorted(files)}
    write_yaml(folder / "manifest.yaml", {
        "schema": SCHEMA, "settings": settings, "settings_hash": config.fingerprint(settings), "inputs": inputs,
        "outputs": outputs, "counts": counts, "packages": {name: metadata.version(name) for name in PACKAGES},
        "seconds": round(seconds, 1)})


def used_settings(cfg: Config, names: Iterable[str]) -> dict:
    """Return the settings a stage uses, as plain containers."""
    values = {name: getattr(cfg, name) for name in names}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def need(cfg: Config, stage: str) -> str:
    """Return the manifest hash of an earlier stage; GlacierError if it is not finished, changed or made otherwise."""
    folder = cfg.folder / stage
    command = f"python {STAGES[stage]} --name={cfg.name}"
    manifest = read_manifest(folder)
    if manifest is None:
        raise GlacierError(f"{folder} is not there or not finished; run first: {command}")
    for name, made in manifest["outputs"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != made["bytes"]:
            was = f"has {path.stat().st_size} bytes instead of {made['bytes']}" if path.is_file() else "is missing"
            raise GlacierError(f"{path} {was} (truncated or damaged); run again: {command}")
    for name, made in manifest["settings"].items():
        now = used_settings(cfg, [name])[name]
        if now != made:
            raise GlacierError(f"{folder} was made with {name} = {made}, now it is {now}; "
                               f"run first: {command} (or set {name} back)")
    for earlier in manifest["inputs"]:
        if earlier in STAGES and need(cfg, earlier) != manifest["inputs"][earlier]:
            raise GlacierError(f"{cfg.folder / earlier} changed after {folder} was made; run first: {command}")
    return manifest_hash(manifest)


def why_stale(folder: Path, settings: dict, inputs: dict) -> str | None:
    """Return why a stage must run, or None if what it made is up to date."""
    manifest = read_manifest(folder)
    if manifest is None:
        return "not finished before"
    for name, now in settings.items():
        if name not in manifest["settings"]:
            return f"setting {name} is new"
        if manifest["settings"][name] != now:
            return f"{name} changed from {manifest['settings'][name]} to {now}"
    for name in [*inputs, *manifest["inputs"]]:
        if manifest["inputs"].get(name) != inputs.get(name):
            return f"input {name} changed"
    for name, made in manifest["outputs"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != made["bytes"]:
            return f"{name} is missing or damaged"
    lost = manifest["counts"].get("lost")
    return f"{lost} scenes were lost to faults" if lost else None


def run_stage(cfg: Config, stage: str, uses: Iterable[str], needs: Iterable[str],
              work: Callable[[Config, Path], Result], files: Iterable[tuple[str, str]] = ()) -> int:
    """Run a stage unless it is up to date; return the exit code.

    stage : its folder under datasets/<name>/, a key of STAGES. uses : the settings that change what it makes.
    needs : the earlier stages it reads. files : (name, hash) of other inputs.
    work : called with the settings and the folder, returns a Result. Files of an earlier run that are not in the
    Result are removed. The manifest goes first and comes back last: a stage killed in between is not finished.
    """
    folder = cfg.folder / stage
    settings = used_settings(cfg, uses)
    inputs = {name: need(cfg, name) for name in needs} | dict(files)
    reason = "--force" if cfg.force else why_stale(folder, settings, inputs)
    if reason is None:
        log.info("%s is up to date.", folder)
        say_next(cfg, stage)
        return 0
    log.info("Making %s (%s).", folder, reason)
    start = time.monotonic()
    with withdrawn_manifest(folder):
        result = work(cfg, folder)
    keep = set(result.files)
    for path in sorted(folder.rglob("*"), reverse=True):  # what an earlier run left, files before their folders
        if path.is_dir():
            with suppress(OSError):  # not empty
                path.rmdir()
        elif path not in keep:
            path.unlink()
    write_manifest(folder, settings, inputs, keep, result.counts, time.monotonic() - start)
    closing = [*result.table, ("files", len(keep)), ("seconds", round(time.monotonic() - start, 1))]
    log.info("%s", "\n".join(lines_of(closing)))
    say_next(cfg, stage)
    return result.exit_code


@contextmanager
def withdrawn_manifest(folder: Path) -> Iterator[None]:
    """Remove the manifest while its stage works; put it back if the work is refused before it touched a file."""
    path, since, manifest = folder / "manifest.yaml", time.time_ns(), read_manifest(folder)
    content = path.read_bytes() if manifest else b""
    path.unlink(missing_ok=True)
    try:
        yield
    except GlacierError:
        files = [folder / name for name in manifest["outputs"]] if manifest else []
        if files and all(file.is_file() and file.stat().st_mtime_ns < since for file in files):
            with writing(path) as file:
                file.write(content)
        raise


def say_next(cfg: Config, stage: str) -> None:
    """Say which command comes after a stage, or where its pictures are if none does."""
    if stage in NEXT:
        log.info("Next: python %s --name=%s", NEXT[stage], cfg.name)
    else:
        log.info("Pictures: %s", cfg.folder / stage / "quicklooks")


def script_of(path: Path) -> str:
    """Return the command that writes a file of the datasets folder."""
    return next((f"python {script}" for stage, script in STAGES.items() if stage in path.parts), "its script")


# ── Scripts: settings, log, progress, exit code ──────────────────────────────────────────────────────────────────

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
    texts = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in texts if i < len(row)) for i in range(max(map(len, texts), default=0))]
    return ["  " + "  ".join(cell.ljust(width) if i == 0 or not isinstance(raw[i], int | float) else cell.rjust(width)
                             for i, (cell, width) in enumerate(zip(row, widths, strict=False))).rstrip()
            for raw, row in zip(rows, texts, strict=True)]


def progress(items: Iterable, what: str, total: int | None = None,
             megabytes: Callable[[Any], float] | None = None) -> Iterator:
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
