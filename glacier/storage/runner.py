"""Manifests, and the runner that makes a stage unless it is up to date.

A stage whose manifest.yaml exists, with the present settings and inputs, is finished.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import yaml

import config
from config import Config, GlacierError
from glacier.console import lines_of
from glacier.storage.disk import NEXT, SCHEMA, STAGES, file_hash, write_yaml, writing

log = logging.getLogger(__name__)
PACKAGES = ("numpy", "opencv-python-headless", "rasterio", "torch")


@dataclass
class Result:
    """What a stage made: its files, what to count in the manifest, and the lines of the closing table."""

    files: list[Path]
    counts: dict = field(default_factory=dict)
    table: list[tuple] = field(default_factory=list)
    exit_code: int = 0


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


def write_manifest(
    folder: Path, settings: dict, inputs: dict, files: Iterable[Path], counts: dict, seconds: float
) -> None:
    """Write manifest.yaml, the last file of a stage."""
    outputs = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": file_hash(path)}
        for path in sorted(files)
    }
    write_yaml(
        folder / "manifest.yaml",
        {
            "schema": SCHEMA,
            "settings": settings,
            "settings_hash": config.fingerprint(settings),
            "inputs": inputs,
            "outputs": outputs,
            "counts": counts,
            "packages": {name: metadata.version(name) for name in PACKAGES},
            "seconds": round(seconds, 1),
        },
    )


def used_settings(cfg: Config, names: Iterable[str]) -> dict:
    """Return the settings a stage uses, as plain containers."""
    values = {name: getattr(cfg, name) for name in names}
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items()
    }


def file_inputs(
    cfg: Config, names: Iterable[str], more: Iterable[Path] = ()
) -> list[tuple[str, str]]:
    """Return what stands for the files that settings name: (setting, hash), or the address of what is no file here.

    more : files that belong to those, as the projection beside a shapefile.
    """
    inputs = []
    for name in names:
        path = getattr(cfg, name)
        if path:
            inputs.append((name, file_hash(Path(path)) if Path(path).is_file() else path))
    inputs += [(f"file {number}", file_hash(path)) for number, path in enumerate(more, 1)]
    return inputs


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
            was = (
                f"has {path.stat().st_size} bytes instead of {made['bytes']}"
                if path.is_file()
                else "is missing"
            )
            raise GlacierError(f"{path} {was} (truncated or damaged); run again: {command}")
    for name, made in manifest["settings"].items():
        now = used_settings(cfg, [name])[name]
        if now != made:
            raise GlacierError(
                f"{folder} was made with {name} = {made}, now it is {now}; "
                f"run first: {command} (or set {name} back)"
            )
    for earlier in manifest["inputs"]:
        if earlier in STAGES and need(cfg, earlier) != manifest["inputs"][earlier]:
            raise GlacierError(
                f"{cfg.folder / earlier} changed after {folder} was made; run first: {command}"
            )
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


def run_stage(
    cfg: Config,
    stage: str,
    uses: Iterable[str],
    needs: Iterable[str],
    work: Callable[[Config, Path], Result],
    files: Iterable[tuple[str, str]] = (),
    check: Callable[[Config], None] | None = None,
) -> int:
    """Run a stage unless it is up to date; return the exit code.

    stage : its folder under datasets/<name>/, a key of STAGES. uses : the settings that change what it makes.
    needs : the earlier stages it reads. files : (name, hash) of other inputs.
    check : called before the work, raises GlacierError for what cannot work: a mistake costs nothing of an earlier
    result, and a stage that is up to date reads nothing.
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
    if check is not None:
        check(cfg)
    log.info("Making %s (%s).", folder, reason)
    start = time.monotonic()
    with withdrawn_manifest(folder):
        result = work(cfg, folder)
    keep = set(result.files)
    # what an earlier run left, files before their folders
    for path in sorted(folder.rglob("*"), reverse=True):
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
    """Say which command comes after a stage."""
    log.info("Next: python %s --name=%s", NEXT[stage], cfg.name)
