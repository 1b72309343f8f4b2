"""Several glaciers: the same command for each, some at a time, and one table at the end."""

from __future__ import annotations

import fnmatch
import logging
import os
import subprocess
import sys
import threading
import typing
from collections.abc import Sequence
from concurrent.futures import Future
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import config
from config import Config, GlacierError
from glacier import console, machine

log = logging.getLogger(__name__)
WILD = set("*?[")


class Outcome(NamedTuple):
    """How the command of one glacier ended."""

    name: str
    code: int
    last_line: str


# ── Which glaciers ───────────────────────────────────────────────────────────────────────────────────────────────


def glaciers() -> list[str]:
    """Return the names of all glaciers with a glacier.yaml, those of groups as group/name."""
    datasets = config.home() / "datasets"
    alone = datasets.glob("*/glacier.yaml")
    in_groups = datasets.glob("*/*/glacier.yaml")
    folders = [path.parent for path in chain(alone, in_groups)]
    return sorted(folder.relative_to(datasets).as_posix() for folder in folders)


def expand(text: str) -> list[str]:
    """Return the glaciers that a list with commas names, each once; * stands for any letters but the slash.

    GlacierError for a pattern that fits none.
    """
    names: dict[str, None] = {}
    for part in filter(None, text.split(",")):
        fitting = [part]
        if WILD & set(part):
            fitting = [name for name in glaciers() if fits(name, part)]
        if not fitting:
            there = ", ".join(glaciers()[:20]) or "none"
            raise GlacierError(
                f"no glacier with a glacier.yaml fits {part!r} under {config.home() / 'datasets'}; "
                f"there is: {there}"
            )
        names |= dict.fromkeys(fitting)
    return list(names)


def fits(name: str, pattern: str) -> bool:
    """Tell whether a name has as many parts as a pattern, each fitting its part."""
    parts = name.split("/")
    patterns = pattern.split("/")
    if len(parts) != len(patterns):
        return False
    return all(map(fnmatch.fnmatchcase, parts, patterns))


def is_several(text: str) -> bool:
    """Tell whether a name is a list or a pattern; a folder of that very name is one glacier."""
    if not ({",", *WILD} & set(text)):
        return False
    return not (config.home() / "datasets" / text).is_dir()


def flags_of(cls: type[Config], argv: Sequence[str]) -> dict[str, str]:
    """Return the flags of a command line."""
    return config.read_flags(list(argv), typing.get_type_hints(cls))


def with_names(cls: type[Config], argv: list[str]) -> list[str]:
    """Return a command line in which --names, of a training, lists the glaciers that fit its patterns today.

    Glaciers that are held out by name are left away.
    """
    flags = flags_of(cls, argv)
    if "names" not in cls.__dataclass_fields__ or not WILD & set(flags.get("names", "")):
        return argv
    names = expand(flags["names"].strip("[]()"))
    held_out = flags.get("holdout", "").split(",")
    flags["names"] = ",".join(name for name in names if name not in held_out)
    return words_of(flags)


def several(cls: type[Config], argv: list[str]) -> list[str]:
    """Return the glaciers that --name asks for where it is a list or a pattern; else nothing."""
    name = flags_of(cls, argv).get("name", "")
    if not is_several(name):
        return []
    if "names" in cls.__dataclass_fields__:
        raise GlacierError(
            f"one network is trained on several glaciers by --names={name!r}; --name is one glacier"
        )
    return expand(name)


# ── The same command for each ────────────────────────────────────────────────────────────────────────────────────


def at_once(count: int, most: int) -> int:
    """Return how many of `count` glaciers are worked on at once; most : the setting `workers`."""
    by_memory = int(min(machine.free_memory() / machine.STAGE, count))
    return max(1, min(count, most, machine.cores(), by_memory))


def run_each(cls: type[Config], argv: list[str], names: list[str]) -> int:
    """Run this script for each glacier in a process of its own; return the worst exit code.

    With an `executor` each is a task of the cluster; here each has its share of the workers and cores. A failure stops
    no other. A glacier that is up to date says so at once, so the same command again does what is missing.
    """
    flags = flags_of(cls, argv)
    flags.pop("name")
    scheduler = flags.pop("executor", cls.executor)
    if scheduler == cls.executor:
        total = config.convert("workers", flags.pop("workers", cls.workers), int, "flag")
        config.check_rule(cls.__dataclass_fields__["workers"], total)
        slots = at_once(len(names), total)
        flags["workers"] = str(max(1, total // slots))
        log.info("%d glaciers, %d at once", len(names), slots)
        outcomes = run_processes([sys.executable, sys.argv[0]], names, words_of(flags), slots)
    else:
        script = str(Path(sys.argv[0]).resolve())
        outcomes = run_on_cluster(scheduler, script, names, words_of(flags))
    rows = [("glacier", "exit code", "last line"), *outcomes]
    log.info("%s", "\n".join(console.lines_of(rows)))
    for page in summarise(outcomes):
        log.info("Summary of the group: %s", page)
    return max(outcome.code for outcome in outcomes)


def words_of(flags: dict[str, str]) -> list[str]:
    """Return flags as words of a command line."""
    return [f"--{name}={value}" for name, value in flags.items()]


def summarise(outcomes: list[Outcome]) -> list[Path]:
    """Write the summary of each group that some glaciers belong to; return the pages."""
    from glacier.report import group

    failures = {outcome.name: outcome.last_line for outcome in outcomes if outcome.code}
    groups = {outcome.name.rpartition("/")[0] for outcome in outcomes} - {""}
    pages = []
    for name in sorted(groups):
        members = [glacier for glacier in glaciers() if glacier.startswith(f"{name}/")]
        if members:
            pages.append(group.write_summary(name, members, failures))
    return pages


def run_processes(
    script: list[str], names: list[str], words: list[str], slots: int
) -> list[Outcome]:
    """Run a script for each glacier, `slots` at once; when this process is stopped, so are they."""
    from glacier import workers  # loads slowly, and one glacier needs it not

    threads_each = str(max(1, machine.cores() // slots))
    environment = {"OMP_NUM_THREADS": threads_each, **os.environ}
    running: set[subprocess.Popen] = set()
    stopped = threading.Event()

    def run_one(name: str) -> Outcome:
        if stopped.is_set():
            return Outcome(name, console.FAULT, "stopped")
        command = script + [f"--name={name}"] + words
        process = start(command, environment)
        running.add(process)
        output = process.communicate()[0]
        running.discard(process)
        return outcome_of(name, process.returncode, output)

    with workers.threads(slots) as pool:
        try:
            return list(pool.map(run_one, names))
        finally:
            stopped.set()
            for process in list(running):
                process.terminate()


def run_on_cluster(
    scheduler: str, script: str, names: list[str], words: list[str]
) -> list[Outcome]:
    """Run a script for each glacier, each a task of the workers of a Dask scheduler, with their Python.

    They see this folder and the glaciers' under the same paths. What has begun there goes on when this process is
    stopped.
    """
    from glacier import workers

    home = str(config.home())
    with workers.workplace(scheduler, 1) as (pool, slots):
        log.info("%d glaciers, %d at once on the cluster", len(names), slots)
        tasks = {}
        for name in names:
            arguments = [script, f"--name={name}", *words]
            tasks[name] = pool.submit(run_there, arguments, home)
        outcomes = []
        for name, task in tasks.items():
            code, output = result_of(task)
            outcomes.append(outcome_of(name, code, output))
        return outcomes


def result_of(task: Future) -> tuple[int, str]:
    """Return exit code and output of a task; a fault where its worker ended, however often it was tried."""
    from distributed.scheduler import KilledWorker

    try:
        return task.result()
    except KilledWorker as error:
        return console.FAULT, f"its worker ended: {error}"


def run_there(arguments: list[str], home: str) -> tuple[int, str]:
    """Run a script with this Python; return its exit code and what it printed."""
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "GLACIER_HOME": home}
    process = start([sys.executable, *arguments], environment)
    output = process.communicate()[0]
    return process.returncode, output


def start(command: list[str], environment: dict[str, str]) -> subprocess.Popen:
    """Start a command whose output and errors are read together, as text."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        env=environment,
    )


def outcome_of(name: str, code: int, output: str) -> Outcome:
    """Return how the command of a glacier ended, and say what it printed."""
    output = output.rstrip()
    log.info("── %s ──\n%s", name, output)
    last_line = output.rpartition("\n")[2].strip()
    return Outcome(name, code if code >= 0 else 128 - code, last_line)
