"""A small demo glacier and the means to run the project's commands on it, as a user types them."""

import atexit
import functools
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from forks import Command, Server
from layout import problems
from toy import no_pictures, one_thread, scores_only, toy, toy_home, trained, trained_home  # noqa: F401

from glacier.storage import runner

ROOT = Path(__file__).resolve().parents[1]
ARTEFACTS = ROOT / "tests" / "artefacts"  # screenshots to look at, not tracked

TRAINING = ("--epochs=2", "--samplesPerEpoch=64")  # enough to have a run


@pytest.fixture
def log_as_before():
    """Scripts that run within a test leave the log to those that follow."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def environment(home: Path) -> dict[str, str]:
    """The environment of a command whose datasets and runs are in `home`."""
    return os.environ | {
        "GLACIER_HOME": str(home),
        "WANDB_MODE": "disabled",
        "OMP_NUM_THREADS": "2",
    }


def typed(home: Path, *words: str) -> str:
    """Run `python <words>` as a user types it, with its datasets in `home`; return what it printed."""
    done = subprocess.run(
        [sys.executable, str(ROOT / words[0]), *words[1:]],
        capture_output=True,
        text=True,
        cwd=home,
        env=environment(home),
    )
    printed = done.stdout + done.stderr
    assert done.returncode == 0, f"{' '.join(words)} gave {done.returncode}:\n{printed[-4000:]}"
    return printed


@functools.cache
def server() -> Server:
    """Return the server that starts this session's commands."""
    process = Server()
    atexit.register(process.close)
    return process


def begin(home: Path, *words: str, folder: Path | None = None) -> Command:
    """Start a script with its datasets in `home`, in a process that need not load its libraries again."""
    script = [str(ROOT / words[0]), *words[1:]]
    return Command(server(), script, folder or home, environment(home))


def command(home: Path, *words: str, code: int = 0, folder: Path | None = None) -> str:
    """Run a script, as `begin`; return what it printed. Fails on another exit code."""
    process = begin(home, *words, folder=folder)
    returned = process.wait()
    printed = process.printed()
    assert returned == code, f"{' '.join(words)} gave {returned}:\n{printed[-4000:]}"
    return printed


def modules_loaded(home: Path, script: str, *flags: str) -> tuple[set[str], str]:
    """Run a script; return the names of all modules that it loads, as -X importtime tells, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(ROOT / script), *flags],
        capture_output=True,
        text=True,
        env=os.environ | {"GLACIER_HOME": str(home)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}, done.stdout


def mend_manifest(folder) -> None:
    """Write the manifest of a stage again, for its files as they are now."""
    manifest = runner.read_manifest(folder)
    files = [folder / name for name in manifest["outputs"]]
    runner.write_manifest(folder, manifest["settings"], manifest["inputs"], files, {}, 0)


def pytest_configure():
    """Take Ctrl-C back: a shell's background jobs ignore it, and with them the commands that tests stop by it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items):
    """Tests of one file run in one process, as do all that share the finished glacier, which come first."""
    for item in items:
        shared = "finished_home" in item.fixturenames
        item.add_marker(pytest.mark.xdist_group("finished" if shared else item.path.stem))
        if shared:
            item.add_marker(pytest.mark.finished)
    items.sort(key=lambda item: "finished_home" not in item.fixturenames)


@pytest.fixture(autouse=True)
def figures_are_laid_out_well(monkeypatch):
    """Every figure that a test draws is looked at: no text is cut, none lies over another, none is empty."""
    from matplotlib.figure import Figure

    save, faults = Figure.savefig, []

    def look_and_save(figure, *arguments, **options):
        faults.extend(problems(figure, whole="bbox_inches" in options))
        return save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", look_and_save)
    yield
    assert not faults


@pytest.fixture(scope="session")
def demo_home(tmp_path_factory) -> Path:
    """A folder with the archive of a small glacier, datasets/small: 5 years, 96 x 96 px. Do not change it: copy it."""
    home = tmp_path_factory.mktemp("home")
    command(
        home,
        "demo/makeGlacier.py",
        "--name=small",
        "--size=96",
        "--years=2013,2017",
        "--scenesPerYear=9",
    )
    with open(home / "datasets" / "small" / "glacier.yaml", "a") as file:
        file.write("stride: 16\n")
    return home


def copy_home(source: Path, target: Path) -> Path:
    """Copy a datasets folder; return the new home."""
    return shutil.copytree(source, target / "home")


def run_folder(home: Path) -> Path:
    """The only run in a home; a process that was killed leaves its lock file beside it."""
    return next((home / "DeepLearning" / "runs").glob("*/config.yaml")).parent


def readme_commands() -> list[list[str]]:
    """The commands of the README's real-glacier block, for the small glacier."""
    block = re.search(r"```bash\n(# a real glacier.*?)```", (ROOT / "README.md").read_text(), re.S)[
        1
    ]
    lines = [
        line.split("#")[0].split() for line in block.splitlines() if line.startswith("python ")
    ]
    return [[word.replace("parvati", "small") for word in line[1:]] for line in lines]


@pytest.fixture(scope="session")
def finished_home(demo_home, tmp_path_factory) -> Path:
    """The small glacier after every command of the README, run from another folder. Copy it."""
    home = copy_home(demo_home, tmp_path_factory.mktemp("finished"))
    for words in readme_commands():
        command(home, *words, *(TRAINING if "train" in words[0] else ()))
    return home


@pytest.fixture(scope="session")
def browser():
    """A real browser; tests that use it are skipped where there is none."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here; on Debian: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    ARTEFACTS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
            ],
        )
        yield browser
        browser.close()
