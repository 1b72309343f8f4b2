"""What a run may use: the bounds of affinity and control groups are kept."""

import os
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from glacier import machine, workers
from glacier.satellites import fetching

MEMINFO = "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A machine with 8000 kB free, whose files say nothing of control groups yet."""
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    write(tmp_path / "proc" / "meminfo", MEMINFO)
    return tmp_path


def write(path, text) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_control_groups_the_machine_counts(root):
    assert machine.cores() == 8
    assert machine.free_memory() == 8000 * 1024


def test_second_version_bounds_cores_and_memory(root):
    group = root / "sys/fs/cgroup/jobs/one"
    write(root / "proc/self/cgroup", "0::/jobs/one\n")
    write(group / "cpu.max", "max 100000\n")
    write(
        group.parent / "cpu.max", "150000 100000\n"
    )  # one and a half cores, of the group around it
    write(group / "memory.max", "5000000\n")
    write(group / "memory.current", "3000000\n")
    write(group / "memory.stat", "anon 1000000\ninactive_file 500000\n")
    assert machine.cores() == 2
    assert machine.free_memory() == 5_000_000 - 3_000_000 + 500_000


def test_first_version_bounds_cores_and_memory(root):
    write(root / "proc/self/cgroup", "4:memory:/job\n3:cpu,cpuacct:/job\n0::/\n")
    write(root / "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "300000\n")
    write(root / "sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n")
    group = root / "sys/fs/cgroup/memory/job"
    write(group / "memory.limit_in_bytes", "6000000\n")
    write(group / "memory.usage_in_bytes", "4000000\n")
    write(group / "memory.stat", "inactive_file 1\ntotal_inactive_file 700000\n")
    assert machine.cores() == 3
    assert machine.free_memory() == 2_700_000


def test_group_named_as_seen_from_outside_a_container(root):
    """The path leads nowhere in here; the bound stands at the top of the tree."""
    write(root / "proc/self/cgroup", "0::/system.slice/docker-12ab.scope\n")
    top = root / "sys/fs/cgroup"
    write(top / "cpu.max", "100000 100000\n")
    write(top / "memory.max", "max\n")
    assert machine.cores() == 1
    assert machine.free_memory() == 8000 * 1024


def test_fewer_scenes_are_read_at_once_where_they_are_large(monkeypatch):
    """Seven bands: all at 1000 px, two at 4096, one of a full scene, and one where there is hardly any memory."""
    monkeypatch.setattr(machine, "free_memory", lambda: 64e9)

    def fitting(side):
        grid = SimpleNamespace(shape=(side, side))
        return fetching.fitting(SimpleNamespace(grid=grid, bands=("green",) * 7))

    assert fitting(1000) > 30
    assert fitting(4096) == 2
    assert fitting(7700) == 1
    monkeypatch.setattr(machine, "free_memory", lambda: 1e6)
    assert fitting(1000) == 1


def test_few_tasks_run_at_once_on_large_scenes(monkeypatch):
    """Together they take no more than a stage may, or the machine has: processes of 150 MB and 75 bytes a pixel."""
    monkeypatch.setattr(machine, "cores", lambda: 16)
    monkeypatch.setattr(machine, "free_memory", lambda: 64e9)
    each = (75, 150e6)
    assert machine.at_once(8, 256**2, *each) == 8
    assert machine.at_once(8, 2048**2, *each) == 4
    assert machine.at_once(8, 7700**2, *each) == 1
    assert machine.at_once(8, 7700**2, 130) == 1
    monkeypatch.setattr(machine, "free_memory", lambda: 1e9)
    assert machine.at_once(8, 256**2, *each) == 6
    monkeypatch.setattr(machine, "cores", lambda: 2)
    assert machine.at_once(8, 256**2, *each) == 2


def test_processes_are_forked_from_one_thread_of_opencv():
    """Forked while a thread of OpenCV's pool held its lock, alignment's processes once waited for it for ever."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        cv2.dilate(np.zeros((2048, 2048), np.uint8), np.ones((7, 7), np.uint8))  # makes the pool
        with workers.processes(1) as pool:
            assert cv2.getNumThreads() == 1
            assert pool.submit(abs, -3).result(timeout=60) == 3
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)
