"""How time, memory and disk of every stage grow:  python benchmarks/scale.py

Runs all stages, from the archive to the forecast, on glaciers made for it: in turn more pixels, more scenes, and more
steps of the year. Memory is the proportional share (PSS) of all processes of a stage, looked at ten times a second.

    python benchmarks/scale.py                          # small sizes, some minutes
    python benchmarks/scale.py --full=True              # to 2048 px, 800 scenes, 46 steps a year: hours
    python benchmarks/scale.py --largest=4096 --limit=4 # one run of that size; no process takes more than 4 GB

One tiny network is trained on few patches: a network's own time does not grow with the scene.
"""

from __future__ import annotations

import logging
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from config import Config, setting
from demo.makeGlacier import make_glacier
from glacier import console, machine

log = logging.getLogger("benchmark")

ROOT = Path(__file__).resolve().parents[1]
NAME = "benchmark"
YEARS = (2015, 2018)
INTERVAL = 0.1  # seconds between two looks at the memory
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
    scenesPerYear: int = setting(12, "of the glacier from which the others differ", low=1)
    limit: float = setting(0.0, "memory of its own that a process may take [GB]; 0: all", low=0)
    keep: str | None = setting(None, "folder in which the glaciers stay", path=True)


@dataclass(frozen=True)
class Case:
    """A glacier to run on. size : side [px]. scenes_per_year : in the archive. steps : composites a year."""

    size: int
    scenes_per_year: int
    steps: int

    @property
    def pixels(self) -> int:
        return self.size**2

    @property
    def scenes(self) -> int:
        return self.scenes_per_year * (YEARS[1] - YEARS[0] + 1)


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
        files = [place] if place.is_file() else place.rglob("*")
        sizes[place.name] = sum(path.lstat().st_size for path in files)
    return sizes


# ── The glaciers ─────────────────────────────────────────────────────────────────────────────────────────────────


def make_archive(home: Path, case: Case) -> None:
    """Write the archive of a case and its glacier.yaml."""
    folder = home / "datasets" / NAME
    truth = make_glacier(
        folder / "archive", size=case.size, years=YEARS, scenes_per_year=case.scenes_per_year
    )
    box = ", ".join(map(str, truth.bounding_box))
    lines = [
        "source: archive/catalog.json",
        f"boundingBox: [{box}]",
        f"years: [{YEARS[0]}, {YEARS[1]}]",
        f"stepsPerYear: {case.steps}",
        "maxCloudPercent: 100.0",
        "workers: 2",
        "sequenceLength: 2",
        "horizon: 1",
    ]
    (folder / "glacier.yaml").write_text("\n".join(lines) + "\n")


def run_case(case: Case, home: Path, limit: float) -> dict[str, Usage]:
    """Run all stages on the glacier of a case; return what each took. Stops at the first that fails."""
    if not (home / "datasets" / NAME / "archive" / "catalog.json").is_file():
        make_archive(home, case)
    environment = os.environ | {"GLACIER_HOME": str(home), "OMP_NUM_THREADS": "1"}
    usages = {}
    with open(home / "log.txt", "w") as output:
        for script, *flags in STAGES:
            command = [sys.executable, str(ROOT / script), f"--name={NAME}", *flags]
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
    sizes = cfg.sizes or ((256, 512, 1024, 2048) if cfg.full else (128, 256))
    if cfg.largest:
        return {"pixels": [Case(cfg.largest, usual, 4)]}
    many_scenes = (usual, 50, 200) if cfg.full else (usual, 4 * usual)
    many_steps = (4, 12, 46) if cfg.full else (4, 12)
    side = sizes[0]
    return {
        "pixels": [Case(size, usual, 4) for size in sizes],
        "scenes": [Case(side, count, 4) for count in many_scenes],
        "steps": [Case(side, 50, steps) for steps in many_steps],
    }


def main(cfg: Settings) -> int:
    """Run all cases, print the tables; exit code 1 if a stage failed or took too much memory."""
    place = Path(cfg.keep or tempfile.mkdtemp(prefix="scale-"))
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
    log.info("%s", "\n".join([*lines, "", *faults]))
    if not cfg.keep:
        shutil.rmtree(place)
    return 1 if faults or failed else 0


if __name__ == "__main__":
    logging.getLogger("benchmark").setLevel(logging.INFO)
    sys.exit(console.main(main, Settings))
