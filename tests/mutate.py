"""Do the tests notice a mistake?  python tests/mutate.py [--tenth] [--jobs=2] [WORD ...]

Puts the mistakes of mutants.py in, one at a time, in a copy of the tree, and runs the tests that should notice: those
the list names, then those that import the mutated module. Prints those that pass. Without mistakes all have to pass.
Tests on the finished glacier, which takes a minute to make, are left out.
--tenth: every tenth, another one each day. WORD: those whose file or sentence holds a word.
"""

import ast
import datetime as dt
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tokenize
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import pytest.__main__
from forks import Command, Server
from mutants import MUTANTS, UNNOTICED, Mutant

ROOT = Path(__file__).resolve().parents[1]
PYTEST = pytest.__main__.__file__
LIMIT = 240  # seconds that the tests of a mutant may take; a mutant that hangs is noticed
PASSED, FAILED, TIMEOUT = 0, 1, 124  # exit codes of pytest, and ours
LAYOUT = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT}


# ── Text ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def tokens_of(text: str) -> list[tuple[str, tuple[int, int], tuple[int, int]]]:
    """Return the tokens of a piece of code, with where they begin and end; how it is laid out does not matter."""
    tokens = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type not in LAYOUT and token.string:
                tokens.append((token.string, token.start, token.end))
    except (tokenize.TokenError, IndentationError):  # a piece may open brackets and not close them
        pass
    kept = []
    for place, token in enumerate(tokens):
        following = tokens[place + 1][0] if place + 1 < len(tokens) else ""
        if token[0] != "," or following not in (")", "]", "}"):  # the formatter's own comma
            kept.append(token)
    return kept


def places(source: str, text: str) -> list[tuple[int, int]]:
    """Return where a piece of code stands in a source, as first and last character."""
    offsets = [0]
    for line in source.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    whole, piece = tokens_of(source), [token[0] for token in tokens_of(text)]
    strings = [token[0] for token in whole]
    spans = []
    for start in range(len(whole) - len(piece) + 1):
        if strings[start : start + len(piece)] == piece:
            (row, column), (last_row, last_column) = (
                whole[start][1],
                whole[start + len(piece) - 1][2],
            )
            spans.append((offsets[row - 1] + column, offsets[last_row - 1] + last_column))
    return spans


def mutated(source: str, mutant: Mutant) -> str:
    """Return a source with a mistake in it; ValueError if its text is not there exactly once."""
    spans = places(source, mutant.text)
    if len(spans) != 1:
        raise ValueError(f"{mutant.file} holds {mutant.text!r} {len(spans)} times, not once")
    (start, end), *_ = spans
    return source[:start] + mutant.replacement + source[end:]


# ── Tests ────────────────────────────────────────────────────────────────────────────────────────────────────────


def importers(file: str) -> list[str]:
    """Return the test files that import a module themselves, the short ones first."""
    module = file.removesuffix(".py").replace("/", ".")
    found = []
    for path in (ROOT / "tests").glob("test_*.py"):
        names = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        if module in names:
            found.append(path)
    found.sort(key=lambda path: path.stat().st_size)
    return [f"tests/{path.name}" for path in found]


def copy_tree(target: Path) -> Path:
    """Copy what is tracked or new, with the real data and the environment beside it; return the copy."""
    tree = target / "tree"
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    (tree / ".venv").symlink_to(ROOT / ".venv")
    if (ROOT.parent / "shared").is_dir():
        (target / "shared").symlink_to((ROOT.parent / "shared").resolve())
    return tree


class Bench:
    """A copy of the tree to put mistakes in, and the process from which its tests are forked."""

    def __init__(self, folder: Path):
        self.tree = copy_tree(folder)
        self.server = Server(rooms=False)

    def run(self, targets: list[str]) -> int:
        """Run tests until one fails; return pytest's exit code, TIMEOUT if they take too long."""
        words = [
            PYTEST,
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            "-m",
            "not slow and not peers and not finished",
        ]
        words += ["-o", "addopts=", *targets]
        environment = os.environ | {"PYTHONPATH": str(self.tree), "OMP_NUM_THREADS": "1"}
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        tests = Command(self.server, words, self.tree, environment)
        end = time.monotonic() + LIMIT
        while tests.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        if tests.returncode is None:
            tests.send_signal(signal.SIGKILL)
            tests.wait()
            return TIMEOUT
        return tests.returncode

    def judge(self, mutant: Mutant) -> str:
        """Return which tests notice a mutant, nothing if none does."""
        path = self.tree / mutant.file
        source = path.read_text()
        path.write_text(mutated(source, mutant))
        files = [*mutant.tests]
        files += [name for name in importers(mutant.file) if name not in files]
        try:
            for targets in filter(None, ([mutant.first] if mutant.first else [], files)):
                code = self.run(targets)
                if code in (FAILED, TIMEOUT):
                    return " ".join(targets)
                if code != PASSED:
                    raise RuntimeError(f"{mutant.file}: pytest ended with {code} for {targets}")
        finally:
            path.write_text(source)
        return ""


def chosen(words: list[str], day: dt.date) -> list[Mutant]:
    """Return the mutants that the command line asks for."""
    mutants = list(MUTANTS)
    if "--tenth" in words:
        mutants = mutants[day.toordinal() % 10 :: 10]
    asked_for = [word for word in words if not word.startswith("--")]
    if asked_for:
        mutants = [mutant for mutant in mutants if holds_one(mutant, asked_for)]
    return mutants


def holds_one(mutant: Mutant, words: list[str]) -> bool:
    """Return whether the file or the sentence of a mutant holds one of some words."""
    text = f"{mutant.file} {mutant.breaks}"
    return any(word in text for word in words)


def main(words: list[str]) -> int:
    """Try the mutants; return 1 if one that should be noticed is not."""
    mutants = chosen(words, dt.date.today())
    jobs = next((int(word[7:]) for word in words if word.startswith("--jobs=")), 2)
    start = time.monotonic()
    passed = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        benches: Queue[Bench] = Queue()
        for number in range(jobs):
            benches.put(Bench(Path(folder) / str(number)))

        def attempt(mutant: Mutant) -> str:
            bench = benches.get()
            try:
                return bench.judge(mutant)
            finally:
                benches.put(bench)

        for mutant, noticed in zip(mutants, pool.map(attempt, mutants), strict=True):
            verdict = "noticed" if noticed else "PASSES"
            print(f"{verdict:8}{mutant.file}: {mutant.breaks}", flush=True)
            if not noticed:
                passed.append(mutant)
        while not benches.empty():
            benches.get().server.close()
    seconds = time.monotonic() - start
    print(f"{len(mutants) - len(passed)} of {len(mutants)} noticed in {seconds:.0f} s")
    unknown = [mutant for mutant in passed if mutant.breaks not in UNNOTICED]
    for mutant in passed:
        reason = UNNOTICED.get(mutant.breaks, "no test notices")
        print(f"  {mutant.file}: {mutant.text}  ->  {mutant.replacement}: {reason}")
    return int(bool(unknown))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
