"""Runs that meet each other, are stopped, or have no room: one line, the right exit code, and nothing left behind."""

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

import config
import createPatches
from config import Config, GlacierError
from DeepLearning.trainAttentionLSTM import Settings
from DeepLearning.training import run_folders, session
from glacier import console
from glacier.storage import disk, locks, runner

SCENES = runner.Stage("rawData", "dataAPI.py", (), "alignment.py")

# a script with a stage that works until it is told to end: workers, a scratch folder, a file half written
SCRIPT = """
import os, sys, time
from pathlib import Path
from glacier import console, workers
from glacier.storage import disk, runner

STAGE = runner.Stage("rawData", "dataAPI.py", (), "alignment.py")

def nap(seconds):
    time.sleep(seconds)
    return os.getpid()

def work(cfg, folder):
    with disk.scratch(folder) as scratch, workers.processes(2) as pool:
        (scratch / "large").write_bytes(b"x" * 1000)
        tasks = [pool.submit(nap, 0.01) for _ in range(8)]
        processes = sorted({task.result() for task in tasks})
        tasks = [pool.submit(nap, cfg.pixelSize) for _ in range(8)]
        with disk.writing(folder / "file") as file:
            file.write(b"half")
            print("workers", *processes, flush=True)
            tasks[0].result()
    return runner.Result([folder / "file"])

if __name__ == "__main__":
    sys.exit(console.main(lambda cfg: runner.run_stage(cfg, STAGE, ("years",), work)))
"""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    return tmp_path


def start(home: Path, seconds: float) -> subprocess.Popen:
    """Start the script in a session of its own."""
    path = home / "script.py"
    path.write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, str(path), "--name=ridge", f"--pixelSize={seconds}"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "GLACIER_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def workers_of(process: subprocess.Popen) -> list[int]:
    """Wait until the script works; return its worker processes."""
    for line in process.stdout:
        if line.startswith("workers"):
            return [int(word) for word in line.split()[1:]]
    raise AssertionError(process.stderr.read())


def wait_for_end(pids: list[int], seconds: float = 5) -> list[int]:
    """Return those of some processes that still run after a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        running = [pid for pid in pids if state_of(pid) not in ("", "Z")]
        if not running:
            return []
        time.sleep(0.05)
    return running


def state_of(pid: int) -> str:
    """Return the state of a process as /proc tells it, nothing if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
def test_however_a_run_ends_its_workers_end_too(home, number, code):
    process = start(home, 60)
    pids = workers_of(process)
    assert len(pids) == 2
    process.send_signal(number)
    _, complaint = process.communicate(timeout=20)
    assert process.returncode == code
    assert wait_for_end(pids) == []
    if number != signal.SIGKILL:
        assert complaint.count("\n") == 1
        assert "stopped" in complaint
        assert "go on" in complaint
        left = [path.name for path in (home / "datasets/ridge").rglob("*")]
        assert left == ["rawData"]
    again = start(home, 0.1)
    workers_of(again)
    assert again.communicate(timeout=20)[1] == ""
    assert again.returncode == 0
    left = sorted(path.name for path in (home / "datasets/ridge").rglob("*"))
    assert left == ["file", "manifest.yaml", "rawData"]


def test_a_second_run_says_who_works_there(home):
    process = start(home, 60)
    workers_of(process)
    second = start(home, 60)
    printed, complaint = second.communicate(timeout=20)
    assert second.returncode == 4
    assert complaint.count("\n") == 1
    assert f"process {process.pid} on {socket.gethostname()} works on" in complaint
    aligned = runner.Stage("aligned", "alignment.py", (SCENES,), "")
    with pytest.raises(locks.BusyError, match="another run is making"):
        runner.run_stage(config.load(Config, name="ridge"), aligned, (), lambda cfg, folder: None)
    process.kill()
    process.communicate()
    with locks.held(home / "datasets/ridge/rawData"):
        pass


def test_of_many_runs_at_once_one_works(home):
    """Started together, each either made the stage, found it made, or said who works there; none broke."""
    processes = [start(home, 0.3) for _ in range(4)]
    ends = [process.communicate(timeout=60) for process in processes]
    codes = [process.returncode for process in processes]
    assert set(codes) <= {0, 4}
    assert 0 in codes
    assert all("Traceback" not in complaint for _, complaint in ends)
    assert (home / "datasets/ridge/rawData/manifest.yaml").is_file()
    assert not list((home / "datasets/ridge").glob(".*"))


def write_lock(folder: Path, content: str) -> Path:
    """Write a lock file by hand."""
    path = locks.lock_file(folder)
    path.parent.mkdir(parents=True)
    path.write_text(content)
    return path


def test_a_lock_of_another_machine_is_believed(home):
    folder = home / "datasets/ridge/rawData"
    holder = {"pid": 1, "host": "elsewhere", "since": "2026-01-01 00:00:00"}
    path = write_lock(folder, json.dumps(holder))
    with (
        pytest.raises(locks.BusyError, match=r"process 1 on elsewhere.*remove") as error,
        locks.held(folder),
    ):
        pass
    assert str(path) in str(error.value)
    assert error.value.exit_code == 4
    assert locks.is_held(folder)


def test_a_lock_that_nobody_touches_is_taken_over(home, monkeypatch):
    """Of another machine: its holder would have touched it. Our own is touched while we work."""
    folder = home / "datasets/ridge/rawData"
    holder = {"pid": 1, "host": "elsewhere", "since": "2026-01-01 00:00:00"}
    path = write_lock(folder, json.dumps(holder))
    long_ago = time.time() - locks.DEAD - 100
    os.utime(path, (long_ago, long_ago))
    assert not locks.is_held(folder)
    monkeypatch.setattr(locks, "BEAT", 0.01)
    with locks.held(folder):
        assert json.loads(path.read_text())["pid"] == os.getpid()
        os.utime(path, (long_ago, long_ago))
        end = time.monotonic() + 5
        while path.stat().st_mtime < long_ago + 50 and time.monotonic() < end:
            time.sleep(0.01)
        assert path.stat().st_mtime > long_ago + 50
    assert not path.exists()


def test_parts_of_files_that_several_stages_write_go_after_a_while(home):
    page = home / "report.html"
    old, young = home / ".report.html.123.part", home / ".report.html.124.part"
    for part in (old, young):
        part.write_text("half")
    long_ago = time.time() - disk.ABANDONED - 100
    os.utime(old, (long_ago, long_ago))
    disk.sweep_parts(page)
    assert not old.exists()
    assert young.exists()


@pytest.mark.parametrize("content", ["", "not json", "[]", '{"pid": 1}', '{"pid": "x", "host": 3}'])
def test_a_lock_that_says_nothing_is_taken_over(home, content):
    folder = home / "datasets/ridge/rawData"
    write_lock(folder, content)
    with locks.held(folder):
        assert json.loads(locks.lock_file(folder).read_text())["pid"] == os.getpid()
        assert locks.is_held(folder)
    assert not locks.lock_file(folder).exists()
    assert not locks.is_held(folder)


# ── The machine refuses ──────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def files_of_at_most(size: int):
    """Let no file of this process grow beyond a size [bytes], as on a disk that is nearly full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files of a stage, the manifest aside."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.yaml"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_no_room_is_one_line_and_the_rerun_ends_in_the_same_bytes(home, toy_home, monkeypatch):
    monkeypatch.setattr(createPatches, "draw", lambda *parts: [])  # pictures are not the point
    shutil.copytree(toy_home / "datasets", home / "datasets")
    folder = home / "datasets/toy/patches"
    expected = contents(folder)
    shutil.rmtree(folder)
    cfg = config.load(Config, name="toy")
    with files_of_at_most(10_000), pytest.raises(GlacierError) as error:
        createPatches.run(cfg)
    assert "\n" not in str(error.value)
    assert "could not be written" in str(error.value)
    assert "MB are free" in str(error.value)
    assert not (folder / "manifest.yaml").exists()
    assert createPatches.run(cfg) == 0
    written = contents(folder)
    assert written
    assert written == {name: expected[name] for name in written}
    assert {name for name in expected if name.endswith((".pt", ".yaml"))} == set(written)


def test_an_array_without_room_is_refused_before_anything_is_computed(home, monkeypatch):
    def full(descriptor, start, size):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "posix_fallocate", full)
    computed = []
    with pytest.raises(GlacierError, match=r"No space left.*needs 400 MB"):  # noqa: SIM117
        with disk.writing_array(home / "scenes.npy", (10, 10_000_000), "f4") as array:
            computed.append(array)
    assert not computed
    assert not list(home.iterdir())


def test_a_library_that_hides_why_it_could_not_write_does_not_hide_it_here(home):
    """PyTorch tells of a full disk as a RuntimeError of its own."""
    tensor = torch.zeros(100_000)
    with files_of_at_most(10_000), pytest.raises(GlacierError, match="File too large"):  # noqa: SIM117
        with disk.writing(home / "file") as file:
            torch.save(tensor, file)
    assert not list(home.iterdir())


def test_an_array_that_could_be_written_in_part_is_one_line(home):
    """NumPy writes past the file's own methods, and tells no reason."""
    with files_of_at_most(10_000), pytest.raises(GlacierError, match="could not be written"):  # noqa: SIM117
        with disk.writing(home / "array.npy") as file:
            np.save(file, np.zeros(100_000))
    assert not list(home.iterdir())


def test_what_is_written_is_on_the_disk_before_it_has_its_name(home, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(real(descriptor)))
    replaced = []
    replace = os.replace
    monkeypatch.setattr(
        os, "replace", lambda old, new: replaced.append(len(synced)) or replace(old, new)
    )
    disk.write_json(home / "record.json", {})
    with disk.writing_array(home / "array.npy", (2, 2)):
        pass
    assert replaced == [1, 2]


def run_main(monkeypatch, capsys, run) -> tuple[int, str]:
    """Return exit code and complaint of a script whose work is `run`."""
    monkeypatch.setattr(sys, "argv", ["script.py", "--name=ridge"])
    code = console.main(run)
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(28, "No space left on device", "/data/x"), "make room"),
        (OSError(24, "Too many open files"), "ulimit -n"),
        (OSError(30, "Read-only file system", "/data/x"), "/data/x"),
        (MemoryError(), "memory ran out"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "memory ran out"),
    ],
)
@pytest.mark.usefixtures("log_as_before")
def test_what_the_machine_refuses_is_one_line(monkeypatch, capsys, error, says):
    def run(cfg):
        raise error

    code, complaint = run_main(monkeypatch, capsys, run)
    assert code == 2
    assert says in complaint
    assert complaint.count("\n") == 1


@pytest.mark.usefixtures("log_as_before")
def test_a_fault_of_ours_shows_as_one(home, monkeypatch, capsys):
    def run(cfg):
        raise KeyError("https://user:geheim@host/")

    code, complaint = run_main(monkeypatch, capsys, run)
    assert code == 1
    assert "fault: KeyError" in complaint
    assert str(home / "fault.log") in complaint
    text = (home / "fault.log").read_text()
    assert "Traceback" in text
    assert "raise KeyError" in text
    assert "geheim" not in text + complaint


@pytest.mark.usefixtures("log_as_before")
def test_faults_come_one_after_the_other_in_a_log_that_stays_short(home, monkeypatch, capsys):
    def run(cfg):
        raise KeyError("x" * 40_000)

    monkeypatch.setattr(console, "FAULT_LOG_BYTES", 100_000)
    for _ in range(2):
        run_main(monkeypatch, capsys, run)
    assert (home / "fault.log").read_text().count("Traceback") == 2
    for _ in range(6):
        run_main(monkeypatch, capsys, run)
    sizes = {path.name: path.stat().st_size for path in home.glob("fault*")}
    assert set(sizes) == {"fault.log", "fault.old.log"}
    assert max(sizes.values()) < 300_000


def test_the_manifest_is_away_while_the_stage_works(home):
    seen = []

    def work(cfg, folder):
        seen.append((folder / "manifest.yaml").exists())
        with disk.writing(folder / "file") as file:
            file.write(b"content")
        return runner.Result([folder / "file"])

    cfg = config.load(Config, name="ridge")
    runner.run_stage(cfg, SCENES, (), work)
    runner.run_stage(config.load(Config, name="ridge", force=True), SCENES, (), work)
    assert seen == [False, False]


def test_a_stage_that_made_something_else_has_another_hash():
    parts = {"settings": {"years": [2013, 2014]}, "inputs": {"source": "a"}}
    outputs = {"file": {"bytes": 3, "sha256": "0" * 16}}
    before = runner.manifest_hash(parts | {"outputs": outputs})
    outputs = {"file": {"bytes": 3, "sha256": "1" * 16}}
    assert runner.manifest_hash(parts | {"outputs": outputs}) != before
    assert runner.manifest_hash(parts | {"outputs": {}}) != before


def test_trainings_at_once_have_folders_of_their_own(home, toy_home):
    """Alike in all settings; what was stopped, though, is gone on with."""
    (home / "datasets").symlink_to(toy_home / "datasets")
    cfg = config.load(Settings, name="toy", wandb="disabled")
    hashes = session.patch_hashes(cfg)
    with contextlib.ExitStack() as keys:
        folders = []
        for _ in range(3):
            choice = session.choose_run(cfg, hashes)
            folders.append(session.take_folder(cfg, hashes, choice, keys))
        assert len(set(folders)) == 3
        again = session.Choice(folders[0], cfg)
        with pytest.raises(locks.BusyError, match=f"process {os.getpid()}"):
            session.take_folder(cfg, hashes, again, keys)
    assert session.choose_run(cfg, hashes).folder == folders[-1]


def test_the_folder_of_a_training_on_many_glaciers_has_a_name_that_disks_take(home):
    names = "+".join(f"glacier{number:03d}" for number in range(60))
    folder = run_folders.new_run(names, "UNet")
    assert folder.is_dir()
    assert folder != run_folders.new_run(names.replace("059", "060"), "UNet")
