"""Runs scripts in forks of one process that has loaded PyTorch and its like: loading is most of what a command costs.

Each command is still a process of its own, with its own arguments, folder, environment and exit code.
"""

import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("glacier", "DeepLearning.data", "DeepLearning.training", "DeepLearning.verification")
LIBRARIES = (
    "torch._inductor",
    "matplotlib.pyplot",
    "rasterio.warp",
    "cv2",
    "scipy.ndimage",
    "scipy.stats",
)


class Server:
    """The process that forks, one command at a time. rooms : whether it has loaded the project's modules as well."""

    def __init__(self, rooms: bool = True):
        flags = [] if rooms else ["--libraries"]
        self.process = subprocess.Popen(
            [sys.executable, __file__, *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            cwd=ROOT,
        )

    def ask(self, request: dict) -> int:
        """Start a command; return its process."""
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        return self.answer()

    def answer(self) -> int:
        """Wait for the next number that it tells."""
        return int(self.process.stdout.readline())

    def has_answered(self) -> bool:
        """Return whether a number can be read without waiting."""
        ready, _, _ = select.select([self.process.stdout], [], [], 0)
        return bool(ready)

    def close(self) -> None:
        """End it."""
        self.process.communicate()


class Command:
    """A script that was started, in the way of subprocess.Popen."""

    def __init__(self, server: Server, words: list[str], folder: Path, environment: dict[str, str]):
        self.server = server
        self.output = tempfile.NamedTemporaryFile()  # noqa: SIM115
        request = {
            "words": words,
            "folder": str(folder),
            "environment": environment,
            "output": self.output.name,
        }
        self.pid = server.ask(request)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        if self.returncode is None and self.server.has_answered():
            return self.wait()
        return self.returncode

    def wait(self) -> int:
        """Return the exit code, or less than 0 the signal that ended it."""
        if self.returncode is None:
            self.returncode = self.server.answer()
        return self.returncode

    def printed(self) -> str:
        """Return what it has printed so far, errors and all."""
        return Path(self.output.name).read_text()

    def communicate(self) -> tuple[str, str]:
        """Wait for its end; return what it printed."""
        self.wait()
        return self.printed(), ""

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)


# ── In the server ────────────────────────────────────────────────────────────────────────────────────────────────


def load(rooms: bool) -> None:
    """Load the libraries and, if asked for, all modules of the rooms."""
    for name in LIBRARIES:
        importlib.import_module(name)
    if not rooms:
        importlib.import_module("pytest")
        return
    sys.path.insert(0, str(ROOT))
    for room in ROOMS:
        package = importlib.import_module(room)
        for module in pkgutil.walk_packages(package.__path__, room + "."):
            importlib.import_module(module.name)


def serve() -> None:
    """Fork a process for each request, one after the other; tell its number, then its exit code."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            run(**json.loads(line))
            return
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def run(words: list[str], folder: str, environment: dict[str, str], output: str) -> None:
    """Become the process of a script."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    for descriptor, target in ((nothing, 0), (file, 1), (file, 2)):
        os.dup2(descriptor, target)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = words
    installed = [path for path in sys.path if not path.startswith(str(ROOT)) or ".venv" in path]
    named = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [str(Path(words[0]).parent), *filter(None, named), str(ROOT), *installed]
    runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    load("--libraries" not in sys.argv)
    serve()
