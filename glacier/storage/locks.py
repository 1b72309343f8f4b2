"""One run at a time in a folder: a lock file beside it says which process works there, and on which machine."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from config import GlacierError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

BEAT = 30.0  # seconds between touches of a lock file
DEAD = 600.0  # seconds without one: its holder is dead
# what a file system answers that knows no locks
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class BusyError(GlacierError):
    """Another run works in the folder."""

    exit_code = 4


def lock_file(folder: Path) -> Path:
    """Return the file whose holder works in a folder: beside it, so that it outlives what the folder held."""
    return folder.with_name(f".{folder.name}.lock")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep all others out of a folder meanwhile; BusyError if another run works there.

    The system gives a lock back when its process ends, however it ends. The lock of another machine on a shared disk
    is believed as long as its file keeps being touched, which every holder does.
    """
    path = lock_file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = take(path, folder)
    ended = threading.Event()
    threading.Thread(target=keep_touching, args=(path, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


def keep_touching(path: Path, ended: threading.Event) -> None:
    """Touch a lock file every BEAT seconds, so that other machines see that its holder lives."""
    while not ended.wait(BEAT):
        with suppress(OSError):
            os.utime(path)


def take(path: Path, folder: Path) -> int:
    """Return the open lock file, ours now, with our process and machine in it; BusyError if another holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        holder = read_holder(descriptor)
        if not lock(descriptor, holder) or works_elsewhere(descriptor, path, holder):
            os.close(descriptor)
            raise BusyError(busy(folder, path, holder))
        if still_there(descriptor, path):
            break
        os.close(descriptor)  # its holder ended and removed it just now
    if holder:
        log.info("  taking over from process %s, which ended before it was done", holder["pid"])
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(ourselves()).encode(), 0)
    return descriptor


def ourselves() -> dict:
    """Return what a lock file says of its holder."""
    began = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": began}


def read_holder(descriptor: int) -> dict | None:
    """Return what an open lock file says of its holder, None if nothing that can be read."""
    try:
        holder = json.loads(os.pread(descriptor, 1000, 0))
    except (OSError, ValueError):
        return None
    complete = isinstance(holder, dict) and ourselves().keys() <= holder.keys()
    return holder if complete else None


def lock(descriptor: int, holder: dict | None) -> bool:
    """Return whether the lock is ours now; where the file system knows none, whether its holder has ended."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno not in NO_LOCKS:
                return False
    return holder is None or not alive(holder["pid"])


def alive(pid) -> bool:
    """Return whether a process of this machine runs."""
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, TypeError, OverflowError):
        return False
    return True


def of_another_machine(holder: dict | None) -> bool:
    """Return whether a lock file was written on another machine."""
    return holder is not None and holder["host"] != socket.gethostname()


def works_elsewhere(descriptor: int, path: Path, holder: dict | None) -> bool:
    """Return whether an open lock file belongs to a process of another machine that still touches it.

    Its age is told by the disk's own clock: machines' clocks differ.
    """
    if not of_another_machine(holder):
        return False
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name) as fresh:
        age = os.stat(fresh.name).st_mtime - os.fstat(descriptor).st_mtime
    return age < DEAD


def still_there(descriptor: int, path: Path) -> bool:
    """Return whether an open file still has its name."""
    try:
        return os.fstat(descriptor).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def busy(folder: Path, path: Path, holder: dict | None) -> str:
    """Return who works in a folder, and what to do."""
    if holder is None:
        return f"another run works on {folder}; wait for it, then run the same command again"
    text = (
        f"process {holder['pid']} on {holder['host']} works on {folder} since {holder['since']}; "
        "wait for it, then run the same command again"
    )
    if of_another_machine(holder):
        text += f" (if that process has ended, remove {path}, or wait {DEAD / 60:.0f} minutes)"
    return text


def is_held(folder: Path) -> bool:
    """Return whether another run works in a folder now."""
    path = lock_file(folder)
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        holder = read_holder(descriptor)
        return works_elsewhere(descriptor, path, holder) or not lock(descriptor, holder)
    finally:
        os.close(descriptor)
