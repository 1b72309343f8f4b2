"""The runner that makes a stage, or a folder of a run, unless it is up to date.

A stage whose manifest.yaml exists, with the present settings and inputs, is finished.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import config
from config import Config, GlacierError
from glacier.console import command, lines_of
from glacier.storage import disk, integrity, locks
from glacier.storage.integrity import (
    MANIFEST,
    WITHDRAWN,
    DamagedError,
    changed_output,
    read_manifest,
)
from glacier.storage.manifests import file_inputs, manifest_hash, used_settings, write_manifest

# What stages need of the manifests as well.
__all__ = [
    "DamagedError",
    "Result",
    "Stage",
    "file_inputs",
    "make",
    "manifest_hash",
    "need",
    "read_manifest",
    "run_stage",
    "used_settings",
    "why_stale",
    "write_manifest",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """One step of the run order.

    folder : under datasets/<name>/. script : what makes it. reads : the earlier stages it needs. next_script : what
    the user runs after it. A stage can stand for its folder in a path.
    """

    folder: str
    script: str
    reads: tuple[Stage, ...] = ()
    next_script: str = ""

    def __fspath__(self) -> str:
        return self.folder

    def __str__(self) -> str:
        return self.folder

    def command(self, cfg: Config) -> str:
        """Return what the user types to make the stage of a glacier."""
        return command(self.script, cfg.name)


@dataclass
class Result:
    """What a stage made: its files, what to count in the manifest, and the lines of the closing table."""

    files: list[Path]
    counts: dict = field(default_factory=dict)
    table: list[tuple] = field(default_factory=list)
    exit_code: int = 0


# ── What is there already ────────────────────────────────────────────────────────────────────────────────────────


def need(cfg: Config, stage: Stage) -> str:
    """Return the manifest hash of an earlier stage; GlacierError if it is not finished, changed or made otherwise.

    With the setting `verify` every byte of its files is compared with the manifest.
    """
    folder = cfg.folder / stage
    again = stage.command(cfg)
    manifest = read_manifest(folder)
    if manifest is None and (folder / MANIFEST).is_file():
        raise DamagedError(f"{folder / MANIFEST} is damaged; run again: {again}")
    if manifest is None and locks.is_held(folder):
        raise locks.BusyError(f"another run is making {folder}; wait for it, then run this again")
    if manifest is None:
        check_glacier(cfg)
        raise GlacierError(f"{folder} is not there or not finished; run first: {again}")
    reason = changed_output(folder, manifest, cfg.verify)
    if reason:
        raise DamagedError(f"{reason}; run again: {again} --force")
    present = used_settings(cfg, manifest["settings"])
    for name, value in manifest["settings"].items():
        if present[name] != value:
            raise GlacierError(
                f"{folder} was made with {name} = {value}, now it is {present[name]}; "
                f"set {name} back, or run first: {again}"
            )
    for earlier in stage.reads:
        if earlier.folder not in manifest["inputs"]:
            continue
        if need(cfg, earlier) != manifest["inputs"][earlier.folder]:
            raise GlacierError(
                f"{cfg.folder / earlier} changed after {folder} was made; run first: {again}"
            )
    return manifest_hash(manifest)


def check_glacier(cfg: Config) -> None:
    """Raise GlacierError, with the glaciers that there are, if there is none of this name."""
    names = sorted(path.name for path in cfg.folder.parent.glob("*") if path.is_dir())
    if cfg.folder.name in names or not names:
        return
    raise GlacierError(
        f"there is no glacier {cfg.name!r} under {cfg.folder.parent}{config.nearest(cfg.folder.name, names)}; "
        f"there is: {', '.join(names)}"
    )


def why_stale(folder: Path, settings: dict, inputs: dict) -> str | None:
    """Return why a stage must run, or None if what it made is up to date."""
    manifest = read_manifest(folder)
    if manifest is None:
        return "its manifest is damaged" if (folder / MANIFEST).is_file() else "first run"
    for name, value in settings.items():
        if name not in manifest["settings"]:
            return f"setting {name} is new"
        if manifest["settings"][name] != value:
            return f"{name} changed from {manifest['settings'][name]} to {value}"
    for name in [*inputs, *manifest["inputs"]]:
        if manifest["inputs"].get(name) != inputs.get(name):
            return f"input {name} changed"
    reason = changed_output(folder, manifest)
    if reason:
        return reason
    lost = manifest["counts"].get("lost")
    if lost:
        return f"{lost} scenes were lost to faults"
    return None


def verify(folder: Path) -> None:
    """Compare every byte of a finished folder with its manifest; DamagedError if one differs."""
    manifest = read_manifest(folder)
    if manifest is None:
        return
    reason = changed_output(folder, manifest, every_byte=True)
    if reason:
        raise DamagedError(f"{reason}; run again: {integrity.command_of(folder / MANIFEST)}")
    log.info("%s: %d files are as they were written.", folder, len(manifest["outputs"]))


# ── Making what is not ───────────────────────────────────────────────────────────────────────────────────────────


def make(
    cfg: Config,
    folder: Path,
    settings: dict,
    inputs: dict,
    work: Callable[[Path], Result],
    again: str,
    check: Callable[[], None] | None = None,
) -> int:
    """Make a folder by `work` unless it is up to date; return the exit code.

    settings, inputs : what decides whether it is up to date. again : the command that makes it again, for the manifest.
    check : called before the work, raises GlacierError for what cannot work: a mistake costs nothing of an earlier
    result, and what is up to date reads nothing.
    Files of an earlier run that are not in the Result are removed. The manifest goes first and comes back last: a
    folder whose work was killed in between is not finished. BusyError if another run works there.
    """
    if cfg.verify:
        verify(folder)
    reason: str | None = "--force"
    if not cfg.force:
        reason = why_stale(folder, settings, inputs)
    if reason is None:
        log.info("%s is up to date.", folder)
        return 0
    with locks.held(folder):
        if check is not None:
            check()
        log.info("Making %s (%s).", folder, reason)
        start = time.monotonic()
        disk.sweep(folder)
        with withdrawn_manifest(folder):
            result = work(folder)
        keep = set(result.files)
        remove_others(folder, keep)
        seconds = time.monotonic() - start
        write_manifest(folder, settings, inputs, keep, result.counts, seconds, again)
    if result.table:
        log.info("%s", "\n".join(lines_of(result.table)))
    files = "file" if len(keep) == 1 else "files"
    log.info("  %d %s in %.1f s", len(keep), files, seconds)
    return result.exit_code


def remove_others(folder: Path, keep: set[Path]) -> None:
    """Remove what an earlier run left in a folder, files before their folders."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            with suppress(OSError):  # not empty
                path.rmdir()
        elif path not in keep:
            path.unlink()


def run_stage(
    cfg: Config,
    stage: Stage,
    uses: Iterable[str],
    work: Callable[[Config, Path], Result],
    files: Iterable[tuple[str, str]] = (),
    check: Callable[[Config], None] | None = None,
    after: Callable[[], int] | None = None,
) -> int:
    """Make a stage of a glacier unless it is up to date; return the exit code.

    uses : the settings that change what it makes. files : (name, hash) of inputs that are no stage.
    work : called with the settings and the folder, returns a Result. check : see `make`. after : called then, makes
    what belongs to the stage, in a folder of its own.
    """
    inputs = {earlier.folder: need(cfg, earlier) for earlier in stage.reads}
    for name, content in files:
        inputs[name] = config.without_secrets(content)
    code = make(
        cfg,
        cfg.folder / stage,
        used_settings(cfg, uses),
        inputs,
        lambda folder: work(cfg, folder),
        stage.command(cfg),
        None if check is None else lambda: check(cfg),
    )
    if after is not None:
        code = max(code, after())
    log.info("Next: %s", command(stage.next_script, cfg.name))
    return code


@contextmanager
def withdrawn_manifest(folder: Path) -> Iterator[None]:
    """Hide the manifest while its stage works; put it back if the work is refused before it touched a file.

    Hidden, it still says what the files of the earlier run were.
    """
    path = folder / MANIFEST
    manifest = read_manifest(folder)
    since = time.time_ns()
    if path.is_file():
        os.replace(path, folder / WITHDRAWN)
    try:
        yield
    except GlacierError:
        if manifest and untouched(folder, manifest, since):
            os.replace(folder / WITHDRAWN, path)
        raise
    (folder / WITHDRAWN).unlink(missing_ok=True)


def untouched(folder: Path, manifest: dict, since: int) -> bool:
    """Return whether all files of a manifest are there and older than a time [ns]."""
    files = [folder / name for name in manifest["outputs"]]
    return bool(files) and all(file.is_file() and file.stat().st_mtime_ns < since for file in files)
