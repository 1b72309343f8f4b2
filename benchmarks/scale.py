"""How time, memory and disk of every stage grow:  python benchmarks/scale.py

Runs all stages, from the archive to the forecast, on glaciers made for it: in turn more pixels, more scenes, and more
steps of the year. Memory is the proportional share (PSS) of all processes of a stage, looked at twice a second.

    python benchmarks/scale.py                          # small sizes, some minutes
    python benchmarks/scale.py --full=True              # to 2048 px, 800 scenes, 46 steps a year: hours
    python benchmarks/scale.py --largest=4096 --limit=4 # one run of that size; no process takes more than 4 GB
    python benchmarks/scale.py --glaciers=16            # many: a shell loop, a group with two workers, a Dask cluster

One tiny network is trained on few patches: a network's own time does not grow with the scene.
"""

from __future__ import annotations

import hashlib
import logging
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from config import Config, setting
from demo.archive import make_glacier
from glacier import console, machine

log = logging.getLogger("benchmark")

ROOT = Path(__file__).resolve().parents[1]
NAME = "benchmark"
YEARS = (2015, 2018)
SHORT = (2015, 2016)  # of one large glacier: as few steps as can be split
QUICK_SIZES = (128, 256)  # px
FULL_SIZES = (256, 512, 1024, 2048)
INTERVAL = 0.5  # seconds between two looks at the memory
WINDOWS = ("--sequenceLength=2", "--horizon=1")
TRAINING = ("--epochs=1", "--samplesPerEpoch=64", "--hidden=8", "--wandb=disabled")
STAGES = (
    ("dataAPI.py",),
    ("alignment.py",),
    ("createPatches.py", *WINDOWS),
    ("movement.py",),
    ("DeepLearning/trainConvLSTM.py", *WINDOWS, *TRAINING),
    ("DeepLearning/evaluate.py", *WINDOWS, "--wandb=disabled"),
    ("DeepLearning/forecast.py", *WINDOWS),
)


@dataclass(frozen=True)
class Settings(Config):
    name: str = setting(NAME, "not used")
    full: bool = setting(False, "the large sizes as well; takes hours")
    sizes: tuple[int, ...] = setting((), "sides of the scene [px]; empty: 128,256", low=64)
    largest: int = setting(0, "only one run of this size [px]", low=0)
    glaciers: int = setting(0, "only so many glaciers of the first size, in three ways", low=0)
    scenesPerYear: int = setting(12, "of the glacier from which the others differ", low=1)
    limit: float = setting(0.0, "memory of its own that a process may take [GB]; 0: all", low=0)
    keep: str | None = setting(None, "folder in which the glaciers stay", path=True)


@dataclass(frozen=True)
class Case:
    """A glacier to run on.

    size : side [px]. scenes_per_year : in the archive. steps : composites a year. years : first and last.
    """

    size: int
    scenes_per_year: int
    steps: int
    years: tuple[int, int] = YEARS

    @property
    def pixels(self) -> int:
        return self.size**2

    @property
    def scenes(self) -> int:
        return self.scenes_per_year * (self.years[1] - self.years[0] + 1)


class Usage(NamedTuple):
    """What a stage took: seconds, CPU seconds, peak memory and what of it is no mapped file [bytes], exit code."""

    seconds: float
    cpu: float
    memory: int
    anonymous: int
    code: int


# ── Measuring ────────────────────────────────────────────────────────────────────────────────────────────────────


def process_tree(root: int) -> list[int]:
    """Return the numbers of a process and of all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            status = Path("/proc", entry, "stat").read_text()
        except OSError:  # it has ended since
            continue
        parent = int(status.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(entry))
    tree = [root]
    for process in tree:
        tree += children.get(process, [])
    return tree


def memory_of(root: int) -> tuple[int, int]:
    """Return the proportional share of a process tree, and what of it is no mapped file [bytes]."""
    share = anonymous = 0
    for process in process_tree(root):
        try:
            lines = Path("/proc", str(process), "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        sizes = {line.split(":")[0]: line.split()[1] for line in lines[1:]}  # kB
        share += 1024 * int(sizes["Pss"])
        anonymous += 1024 * int(sizes["Pss_Anon"])
    return share, anonymous


def measure(command: Sequence[str], environment: dict[str, str], limit: float, output) -> Usage:
    """Run a command; return what it took. limit : of RLIMIT_DATA, per process [GB]."""

    def restrict() -> None:
        if limit:
            most = int(limit * 1e9)
            resource.setrlimit(resource.RLIMIT_DATA, (most, most))

    started = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=output, stderr=output, preexec_fn=restrict
    )
    peaks = [0, 0]
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(INTERVAL):
            peaks[:] = np.maximum(peaks, memory_of(process.pid)).tolist()

    watcher = threading.Thread(target=look)
    watcher.start()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    ended.set()
    watcher.join()
    seconds = time.perf_counter() - started
    return Usage(seconds, used.ru_utime + used.ru_stime, *peaks, process.returncode)


def size_on_disk(folder: Path) -> dict[str, int]:
    """Return the bytes of each folder of a glacier and of its runs; of single files by their name."""
    sizes = {}
    places = [*(folder / "datasets" / NAME).iterdir(), folder / "DeepLearning" / "runs"]
    for place in places:
        if place.is_file():
            files = [place]
        else:
            files = place.rglob("*")
        sizes[place.name] = sum(path.lstat().st_size for path in files)
    return sizes


# ── The glaciers ─────────────────────────────────────────────────────────────────────────────────────────────────


def make_archive(folder: Path, case: Case, seed: int = 0) -> None:
    """Write the archive of a case and its glacier.yaml into a glacier's folder."""
    truth = make_glacier(
        folder / "archive",
        size=case.size,
        years=case.years,
        scenes_per_year=case.scenes_per_year,
        seed=seed,
    )
    box = ", ".join(map(str, truth.bounding_box))
    lines = [
        "source: archive/catalog.json",
        f"boundingBox: [{box}]",
        f"years: [{case.years[0]}, {case.years[1]}]",
        f"stepsPerYear: {case.steps}",
        "maxCloudPercent: 100.0",
        "sequenceLength: 2",
        "horizon: 1",
    ]
    (folder / "glacier.yaml").write_text("\n".join(lines) + "\n")


def run_case(case: Case, home: Path, limit: float) -> dict[str, Usage]:
    """Run all stages on the glacier of a case; return what each took. Stops at the first that fails."""
    folder = home / "datasets" / NAME
    if not (folder / "archive" / "catalog.json").is_file():
        make_archive(folder, case)
    environment = os.environ | {"GLACIER_HOME": str(home), "OMP_NUM_THREADS": "1"}
    usages = {}
    with open(home / "log.txt", "w") as output:
        for script, *flags in STAGES:
            command = [sys.executable, str(ROOT / script), f"--name={NAME}", "--workers=2", *flags]
            usage = measure(command, environment, limit, output)
            usages[script] = usage
            log.info("  %s", line_of(case, script, usage))
            if usage.code:
                log.warning("  exit code %d; see %s", usage.code, output.name)
                break
    return usages


def line_of(case: Case, script: str, usage: Usage) -> str:
    """Return what a stage took in one line."""
    share = usage.memory / 1e6
    anonymous = usage.anonymous / 1e6
    return (
        f"{case.size:5d} px {case.scenes:4d} scenes {case.steps:3d} steps  {script:30s} "
        f"{usage.seconds:7.1f} s {usage.cpu:7.1f} CPU s {share:7.0f} MB ({anonymous:.0f} of its own)"
    )


# ── Many glaciers ────────────────────────────────────────────────────────────────────────────────────────────────

GROUP = "alps"
KINDS = (".npy", ".pkl", ".pt", ".tif", ".csv", ".png")
UNLIKE = ("metrics.csv", "best.pt", "last.pt")
TRAIN = "DeepLearning/trainConvLSTM.py"


def commands_of(names: Sequence[str], *further: str) -> list[list[str]]:
    """Return the command lines that bring glaciers from the archive to the summary.

    names : as --name takes them, each in turn; training takes all in one. further : flags of all others.
    """
    commands = []
    for script, *flags in STAGES:
        if script == TRAIN:
            commands.append([script, f"--names={GROUP}/*", *flags])
            continue
        for name in names:
            flags_of_all = [f"--name={name}", *flags]
            commands.append([script, *flags_of_all] + list(further))
    return commands


def run_commands(home: Path, commands: Sequence[Sequence[str]]) -> float:
    """Run command lines one after the other; return their seconds. Ends the benchmark if one fails."""
    environment = os.environ | {"GLACIER_HOME": str(home), "OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    with open(home / "log.txt", "w") as output:
        for script, *flags in commands:
            command = [sys.executable, str(ROOT / script), *flags]
            done = subprocess.run(command, env=environment, stdout=output, stderr=output)
            if done.returncode:
                sys.exit(
                    f"error: {' '.join(command)} ended with {done.returncode}; see {output.name}"
                )
    return time.perf_counter() - started


def run_on_dask(home: Path) -> float:
    """Bring the group to the summary on a Dask cluster of two worker processes; return the seconds."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        address = f"--executor={cluster.scheduler_address}"
        return run_commands(home, commands_of([f"{GROUP}/*"], "--workers=1", address))


def bytes_of(home: Path) -> dict[str, bytes]:
    """Return a hash of each file that the stages made, by name; what tells times of day and seconds is left out.

    So are checkpoints: they hold the hash of the patches' manifest, which tells its seconds.
    """
    hashes = {}
    for folder in (home / "datasets", home / "DeepLearning"):
        for path in folder.rglob("*"):
            plain = path.is_file() and path.suffix in KINDS and "wandb" not in path.parts
            if plain and path.name not in UNLIKE:
                name = str(path.relative_to(home))
                hashes[name] = hashlib.sha256(path.read_bytes()).digest()
    return hashes


def many_glaciers(place: Path, case: Case, count: int) -> list[str]:
    """Return how long a group takes as a shell loop, as a group, on a cluster, and whether the bytes are the same."""
    source = place / "group"
    for number in range(count):
        make_archive(source / "datasets" / GROUP / f"g{number:02d}", case, number)
    names = sorted(path.parent.name for path in source.glob(f"datasets/{GROUP}/*/glacier.yaml"))
    in_turn = commands_of([f"{GROUP}/{name}" for name in names], "--workers=2")
    together = commands_of([f"{GROUP}/*"], "--workers=2")
    ways: dict[str, Callable[[Path], float]] = {
        "shell loop": partial(run_commands, commands=in_turn),
        "group, --workers=2": partial(run_commands, commands=together),
        "Dask, two processes": run_on_dask,
    }
    lines = ["", f"## {count} glaciers of {case.size} px", ""]
    lines += ["| way | seconds | ratio | same bytes |", "|---|---|---|---|"]
    seconds: dict[str, float] = {}
    expected: dict[str, bytes] = {}
    for way, run in ways.items():
        home = place / way.replace(" ", "-")
        shutil.copytree(source, home)
        seconds[way] = run(home)
        hashes = bytes_of(home)
        expected = expected or hashes
        differing = set(dict(hashes.items() ^ expected.items()))  # names in one only, or unlike
        ratio = seconds[way] / seconds["shell loop"]
        same = "yes"
        if differing:
            same = f"no: {len(differing)} of {len(expected)}, as {min(differing)}"
        lines.append(f"| {way} | {seconds[way]:.0f} | {ratio:.2f} | {same} |")
        log.info("%s", lines[-1])
    return lines


# ── Tables ───────────────────────────────────────────────────────────────────────────────────────────────────────


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the power of the sizes by which costs grow, by least squares of the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def growth_table(title: str, sizes: Sequence[int], runs: list[dict[str, Usage]]) -> list[str]:
    """Return a line a stage: CPU seconds and MB at each size, and the powers of the last doubling and of all."""
    lines = ["", f"## {title}: {', '.join(map(str, sizes))}", ""]
    lines += ["| stage | CPU s | exponent | MB | exit |", "|---|---|---|---|---|"]
    for script, *_ in STAGES:
        usages = [run[script] for run in runs if script in run]
        times = " ".join(f"{usage.cpu:.1f}" for usage in usages)
        memory = " ".join(f"{usage.memory / 1e6:.0f}" for usage in usages)
        codes = " ".join(str(usage.code) for usage in usages)
        power = "-"
        if len(usages) > 1:
            last = exponent(sizes[len(usages) - 2 : len(usages)], [u.cpu for u in usages[-2:]])
            power = (
                f"{exponent(sizes[: len(usages)], [u.cpu for u in usages]):.2f} (last {last:.2f})"
            )
        lines.append(f"| {script} | {times} | {power} | {memory} | {codes} |")
    return lines


def disk_table(case: Case, sizes: dict[str, int]) -> list[str]:
    """Return the bytes a pixel of each folder."""
    lines = ["", f"## Disk, {case.size} px, {case.scenes} scenes, {case.steps} steps a year", ""]
    lines += ["| folder | bytes a pixel |", "|---|---|"]
    for name, size in sorted(sizes.items()):
        lines.append(f"| {name} | {size / case.pixels:.0f} |")
    total = sum(size for name, size in sizes.items() if name != "archive")
    lines.append(f"| all but the archive | {total / case.pixels:.0f} |")
    return lines


def over_budget(case: Case, usages: dict[str, Usage]) -> list[str]:
    """Return the stages that took more memory than 2 GB and 25 bytes a pixel."""
    allowed = machine.STAGE + machine.STAGE_A_PIXEL * case.pixels
    lines = []
    for script, usage in usages.items():
        if usage.memory > allowed:
            lines.append(f"{script} took {usage.memory / 1e9:.2f} GB, allowed {allowed / 1e9:.2f}")
    return lines


# ── The run ──────────────────────────────────────────────────────────────────────────────────────────────────────


def series_of_cases(cfg: Settings) -> dict[str, list[Case]]:
    """Return the cases to compare: by pixels, by scenes, by steps."""
    usual = cfg.scenesPerYear
    sizes = cfg.sizes or (FULL_SIZES if cfg.full else QUICK_SIZES)
    if cfg.largest:
        return {"pixels": [Case(cfg.largest, usual, 4, SHORT)]}
    many_scenes = (usual, 4 * usual)
    many_steps = (4, 12)
    if cfg.full:
        many_scenes = (usual, 50, 200)
        many_steps = (4, 12, 46)
    side = sizes[0]
    by_pixels = [Case(size, usual, 4) for size in sizes]
    by_scenes = [Case(side, count, 4) for count in many_scenes]
    by_steps = [Case(side, 50, steps) for steps in many_steps]
    return {"pixels": by_pixels, "scenes": by_scenes, "steps": by_steps}


def main(cfg: Settings) -> int:
    """Run all cases, print the tables; exit code 1 if a stage failed or took too much memory."""
    place = Path(cfg.keep or tempfile.mkdtemp(prefix="scale-"))
    if cfg.glaciers:
        case = Case((cfg.sizes or (256,))[0], cfg.scenesPerYear, 4)
        log.info("%s", "\n".join(many_glaciers(place, case, cfg.glaciers)))
        return 0
    done: dict[Case, dict[str, Usage]] = {}
    disks: dict[Case, dict[str, int]] = {}
    lines = []
    for title, cases in series_of_cases(cfg).items():
        for case in cases:
            home = place / f"{case.size}px-{case.scenes_per_year}-{case.steps}"
            if case not in done:
                home.mkdir(parents=True, exist_ok=True)
                done[case] = run_case(case, home, cfg.limit)
                disks[case] = size_on_disk(home)
        sizes = [{"pixels": c.pixels, "scenes": c.scenes, "steps": c.steps}[title] for c in cases]
        lines += growth_table(title, sizes, [done[case] for case in cases])
    for case, sizes_of_case in disks.items():
        lines += disk_table(case, sizes_of_case)
    faults = [line for case, usages in done.items() for line in over_budget(case, usages)]
    failed = [usage for usages in done.values() for usage in usages.values() if usage.code]
    lines += ["", *faults]
    log.info("%s", "\n".join(lines))
    if not cfg.keep:
        shutil.rmtree(place)
    return int(bool(faults or failed))


if __name__ == "__main__":
    logging.getLogger("benchmark").setLevel(logging.INFO)
    sys.exit(console.main(main, Settings))
