"""What a script says: settings, log, progress, tables, and its exit code."""

from __future__ import annotations

import dataclasses
import errno
import io
import logging
import os
import shlex
import signal
import sys
import threading
import time
import traceback
import typing
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import config
from config import Config, GlacierError
from glacier.tables import lines_of as lines_of

log = logging.getLogger(__name__)

# what a disk answers that cannot take a file
DISK_REFUSALS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EFBIG,
    errno.ENAMETOOLONG,
)
# what the machine or the user's rights refuse: the user's to mend, whichever library meets it
REFUSALS = (
    *DISK_REFUSALS,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EAGAIN,
    errno.EIO,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
)
FAULT = 1
BROKEN_PIPE = 141
FAULT_LOG_BYTES = 1 << 20  # of fault.log: then it is put aside, and the one before it goes
QUIET_S = 30  # between two lines of progress in a log
# what PyTorch, OpenCV and CUDA say of it
OUT_OF_MEMORY = ("allocate memory", "Failed to allocate", "out of memory")


class Terminated(KeyboardInterrupt):  # noqa: N818
    """The process was asked to end by SIGTERM, as a cluster or a container does."""


# flags of this script that the commands it names repeat; those that belong to one command only are left out
_given: list[str] = []
OWN_FLAGS = {"name", "force", "verify", "dryRun"}


def command(script: str, name: str, *more: str) -> str:
    """Return what a user types to run a script on a glacier, quoted, with the flags that this script was given.

    more : further flags, which take the place of those given.
    """
    named = {flag.partition("=")[0] for flag in more}
    given = [flag for flag in _given if flag.partition("=")[0] not in named]
    return shlex.join(["python", script, f"--name={name}", *given, *more])


def remember_flags(cls: type[Config], argv: list[str]) -> None:
    """Keep the flags of a command line that every script knows."""
    kinds = typing.get_type_hints(cls)
    shared = {field.name for field in dataclasses.fields(Config)} - OWN_FLAGS | {"config"}
    flags = config.read_flags(argv, kinds)
    _given[:] = [f"--{name}={value}" for name, value in flags.items() if name in shared]


def main(run: Callable[[Config], int], cls: type[Config] = Config) -> int:
    """Run a script: settings from the command line, log to the terminal; return the exit code.

    0 done; 2 and more: a GlacierError, told in one line; 130, 143 stopped by Ctrl-C, SIGTERM; 1 a fault of ours, whose
    traceback goes to a file.
    """
    start_output()
    argv = sys.argv[1:]
    try:
        if "--help" in argv or "-h" in argv:
            print(sys.modules["__main__"].__doc__, "\nSettings:\n" + config.usage(cls), sep="\n")
            sys.stdout.flush()
            return 0
        with terminated_by_signal():
            from glacier import groups  # imports this module

            argv = groups.with_names(cls, argv)
            remember_flags(cls, argv)
            names = groups.several(cls, argv)
            if names:
                return groups.run_each(cls, argv, names)
            cfg = config.load(cls, argv, say=log.info)
            return run(cfg)
    except GlacierError as error:
        complain(f"error: {error}")
        return error.exit_code
    except Terminated:
        complain("stopped by SIGTERM; run the same command again to go on")
        return leave(128 + signal.SIGTERM)
    except KeyboardInterrupt:
        complain("stopped; run the same command again to go on")
        return leave(128 + signal.SIGINT)
    except BrokenPipeError:  # as in `python alignment.py | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:  # the one place where every fault ends
        reason = refusal(error)
        if reason is None:
            complain(f"fault: {type(error).__name__}: {error}; {keep_traceback()}")
            return FAULT
        complain(f"error: {reason}")
        return GlacierError.exit_code


# ── Ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def terminated_by_signal() -> Iterator[None]:
    """Let SIGTERM end the script as Ctrl-C does: everything that is open is closed, and files half written go."""

    def end(number, frame):
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def leave(code: int) -> int:
    """Return an exit code; end at once if threads still wait for an archive, which may take minutes to answer."""
    waiting = [thread for thread in threading.enumerate() if not thread.daemon]
    if len(waiting) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def refusal(error: Exception) -> str | None:
    """Return, in one line, what the machine refused and what to do; None for any other error."""
    text = str(error)
    if isinstance(error, MemoryError) or any(words in text for words in OUT_OF_MEMORY):
        return (
            "memory ran out; take a smaller boundingBox, a larger pixelSize or fewer workers, or close other "
            "programs, then run the same command again"
        )
    if type(error).__name__ == "BrokenProcessPool":
        return (
            "a worker process was ended from outside, most likely for want of memory; give fewer --workers, "
            "then run the same command again"
        )
    if isinstance(error, OSError) and error.errno is None and "requested and" in str(error):
        error = OSError(errno.ENOSPC, f"only a part could be written ({error})")  # NumPy's
    if not isinstance(error, OSError) or error.errno not in REFUSALS:
        return None
    where = error.filename or "a file"
    advice = "check the disk and who may write there"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = "make room, or set GLACIER_HOME to another disk"
    elif error.errno in (errno.EMFILE, errno.ENFILE, errno.EAGAIN):
        advice = "allow more open files (ulimit -n 4096), or give fewer --workers"
    return f"{where}: {error.strerror}; {advice}, then run the same command again"


def keep_traceback() -> str:
    """Add the traceback of the present error to fault.log, which stays short; return where it is."""
    text = config.without_secrets(traceback.format_exc())
    moment = time.strftime("%Y-%m-%d %H:%M:%S")
    entry = f"── {moment}, process {os.getpid()}: {shlex.join(sys.argv)}\n{text}\n"
    try:
        path = config.home() / "fault.log"
        if path.is_file() and path.stat().st_size > FAULT_LOG_BYTES:
            os.replace(path, path.with_suffix(".old.log"))
        with open(path, "a", encoding="utf-8") as file:
            file.write(config.without_secrets(entry))
    except (OSError, GlacierError):
        print(text, file=sys.stderr)
        return "its traceback is above; please report it"
    return f"a fault of this program: please report it with {path}"


# ── Output ───────────────────────────────────────────────────────────────────────────────────────────────────────


# signs that steer a terminal, which names in an archive may hold, as they are printed
CONTROL = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160)) if code != 10}


class Careful(logging.Formatter):
    """Leaves out the secrets of addresses, and what would steer the terminal; names paths from the present folder."""

    def format(self, record: logging.LogRecord) -> str:
        return config.near(config.without_secrets(super().format(record)).translate(CONTROL))


def start_output() -> None:
    """Send the log to the terminal, whatever letters that knows."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not that of a notebook or a test
            stream.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(Careful("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its retries are not for the user


def complain(line: str) -> None:
    """Print one line on the error stream."""
    plain = config.without_secrets(" ".join(line.split("\n")))
    print(plain.translate(CONTROL), file=sys.stderr)


def progress(
    items: Iterable,
    what: str,
    total: int | None = None,
    megabytes: Callable[[Any], float] | None = None,
) -> Iterator:
    """Yield the items behind a progress bar with the time left: a bar on a terminal, plain lines in a log.

    A log has a line as soon as a tenth is done, and further ones at least QUIET_S apart, at most ten.

    megabytes : tells how many an item took; then their sum and MB/s are shown too.
    """
    if total is None:
        total = len(items)  # type: ignore[arg-type]
    bar = None
    if sys.stderr.isatty():
        from tqdm import tqdm

        bar = tqdm(desc=what, total=total)
    start = time.monotonic()
    told = float(-QUIET_S)  # when the last line was written, in seconds since the start
    size = 0.0
    for done, item in enumerate(items, 1):
        yield item
        spent = time.monotonic() - start
        amount = ""
        if megabytes:
            size += megabytes(item)
            amount = f", {size:.0f} MB, {size / max(spent, 1e-3):.1f} MB/s"
        tenths = done * 10 // total
        tenths_before = (done - 1) * 10 // total
        if bar is not None:
            bar.set_postfix_str(amount.lstrip(", "), refresh=False)
            bar.update()
        elif tenths > tenths_before and spent >= told + QUIET_S:
            left = spent / done * (total - done)
            log.info("  %s %d/%d%s, %.0f s, %.0f s left", what, done, total, amount, spent, left)
            told = spent
    if bar is not None:
        bar.close()
