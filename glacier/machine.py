"""What a run may use of this machine: cores, and memory. Of the control groups, versions 1 and 2 are known."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/")  # of the files in which Linux tells
STAGE, STAGE_A_PIXEL = 2e9, 25  # bytes that a stage may take, and for each pixel of the scene


class MemoryFiles(NamedTuple):
    """The files of a control group that tell its memory; `reclaimable`: of memory.stat, what the kernel takes back."""

    limit: str
    use: str
    reclaimable: str


MEMORY_FILES = (
    MemoryFiles("memory.max", "memory.current", "inactive_file"),
    MemoryFiles("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def cores() -> int:
    """Return how many cores this process may use: by its affinity, and by the time of its control groups."""
    count = os.cpu_count() or 1
    with suppress(AttributeError):  # Linux tells; macOS does not
        count = len(os.sched_getaffinity(0))
    shares = [core_share(folder) for folder in control_groups("cpu")]
    return max(1, int(min([count, *shares])))


def free_memory() -> float:
    """Return the bytes that programs may still take, here and in the control groups; infinite where nothing tells."""
    rooms = [free_in_group(folder) for folder in control_groups("memory")]
    return min([free_on_machine(), *rooms])


def stage_memory(pixels: int) -> float:
    """Return the bytes that a stage may take which works on scenes of so many pixels: no more than there are."""
    return min(STAGE + STAGE_A_PIXEL * pixels, free_memory())


def at_once(most: int, pixels: int, a_pixel: float, fixed: float = 0.0) -> int:
    """Return how many tasks on scenes of so many pixels run at once: `most`, if cores and memory allow.

    a_pixel, fixed : bytes that a task takes, for each pixel and besides.
    """
    each = fixed + a_pixel * pixels
    by_memory = int(stage_memory(pixels) // each)
    return max(1, min(most, cores(), by_memory))


def free_on_machine() -> float:
    """Return the bytes that the machine still has; infinite where it does not tell."""
    with suppress(OSError), open(ROOT / "proc" / "meminfo") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return 1024 * float(line.split()[1])
    return math.inf


def control_groups(controller: str) -> list[Path]:
    """Return the folders of the control groups around this process, the innermost first.

    controller : cpu or memory. Within a container the path may be told as seen from outside, and lead nowhere; those
    above it do.
    """
    tree = ROOT / "sys" / "fs" / "cgroup"
    folders: list[Path] = []
    with suppress(OSError):
        for line in (ROOT / "proc" / "self" / "cgroup").read_text().splitlines():
            _, names, place = line.split(":", 2)
            if names == "":  # version 2 has one tree
                top = tree
            elif controller in names.split(","):
                top = tree / controller
            else:
                continue
            innermost = top / place.strip("/")
            inside = [folder for folder in innermost.parents if folder.is_relative_to(top)]
            folders += [innermost, *inside]
    return folders


def core_share(folder: Path) -> float:
    """Return for how many cores a control group gives time, rounded up; infinite where it sets no bound."""
    with suppress(OSError, ValueError):  # version 2: "max 100000" sets none
        quota, period = map(int, (folder / "cpu.max").read_text().split())
        return math.ceil(quota / period)
    with suppress(OSError, ValueError):
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        if quota > 0:
            return math.ceil(quota / period)
    return math.inf


def free_in_group(folder: Path) -> float:
    """Return the bytes that a control group may still take; infinite where it sets no bound."""
    for files in MEMORY_FILES:
        with suppress(OSError, ValueError):  # version 2: "max" sets none
            limit = int((folder / files.limit).read_text())
            used = int((folder / files.use).read_text())
            return limit - used + reclaimable(folder, files.reclaimable)
    return math.inf


def reclaimable(folder: Path, name: str) -> int:
    """Return how many bytes of files the kernel would take back before a control group is full."""
    for line in (folder / "memory.stat").read_text().splitlines():
        key, number = line.split()
        if key == name:
            return int(number)
    return 0
