"""Nothing imports to the right: settings, then glacier/, then the rooms of DeepLearning/, then the scripts."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

SCRIPTS = {
    path.stem for path in [*ROOT.glob("*.py"), *(ROOT / "DeepLearning").glob("[a-z]*.py")]
} - {"config"}


def imported(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it, as their last names and in full."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module)
            modules.update(f"{node.module}.{name.name}" for name in node.names)
    return modules


def scripts_in(modules: set[str]) -> set[str]:
    """Those of some modules that are scripts of the project."""
    return {name for name in modules if name.removeprefix("DeepLearning.") in SCRIPTS}


def test_scripts_are_known():
    assert {
        "dataAPI",
        "alignment",
        "createPatches",
        "movement",
        "evaluate",
        "forecast",
        "trainUNet",
    } <= SCRIPTS
    assert len(list(ROOT.glob("*.py"))) == 5
    assert scripts_in({"alignment", "DeepLearning.evaluate", "numpy"}) == {
        "alignment",
        "DeepLearning.evaluate",
    }


@pytest.mark.parametrize(
    "path", sorted((ROOT / "glacier").rglob("*.py")), ids=lambda path: path.stem
)
def test_a_module_of_the_library_imports_no_script_and_no_network(path):
    assert not scripts_in(imported(path))
    assert not [name for name in imported(path) if name.startswith("DeepLearning")]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "DeepLearning").glob("*/*.py")), ids=lambda path: path.stem
)
def test_a_room_of_the_networks_imports_no_script(path):
    assert not scripts_in(imported(path))


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_a_script_imports_no_other(name):
    path = (
        ROOT / f"{name}.py"
        if (ROOT / f"{name}.py").is_file()
        else ROOT / "DeepLearning" / f"{name}.py"
    )
    assert not scripts_in(imported(path))


def test_names_that_others_use_stay_importable():
    import alignment
    import createPatches
    import dataAPI

    for module, names in (
        (
            alignment,
            "ndsi fill_gaps estimate_transforms resample composite read_composites "
            "read_aligned_scenes",
        ),
        (dataAPI, "read_scenes read_grid"),
        (createPatches, "cut stitch read_patches read_series"),
    ):
        assert set(names.split()) <= set(module.__all__)
        assert all(callable(getattr(module, name)) for name in names.split())


def test_scripts_hide_no_library(tmp_path):
    """A script's folder comes first on Python's path; a library called evaluate is found all the same."""
    (tmp_path / "evaluate.py").write_text("LIBRARY = True")
    folder = ROOT / "DeepLearning"
    program = f"import sys; sys.path.insert(0, {str(folder)!r}); import DeepLearning, evaluate"
    subprocess.run(
        [sys.executable, "-c", program + "; assert evaluate.LIBRARY"],
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        check=True,
    )


# ── The house ────────────────────────────────────────────────────────────────────────────────────────────────────

ROOMS = [
    path for path in ROOT.glob("[!.]*") if path.is_dir() and path.name not in ("tests", "datasets")
]
FILES = [*ROOT.glob("*.py"), *(path for room in ROOMS for path in room.rglob("*.py"))]
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}


def arrows(room) -> set[tuple[str, str]]:
    """The imports between rooms, as (who, from whom). room : the room of a path below the root."""
    pairs = set()
    for path in FILES:
        for name in imported(path):
            target = MODULES.get(name) or MODULES.get(name.rpartition(".")[0])
            if target:
                pairs.add((room(path.relative_to(ROOT)), room(target.relative_to(ROOT))))
    return {(here, there) for here, there in pairs if here != there}


def without_order(pairs: set[tuple[str, str]]) -> set[str]:
    """The rooms that no order of building can serve: they import each other, or from such rooms."""
    rooms = {room for pair in pairs for room in pair}
    while True:
        waiting = {here for here, there in pairs if here in rooms and there in rooms}
        if waiting == rooms:
            return rooms
        rooms = waiting


def test_arrows_are_seen():
    pairs = arrows(lambda path: path.parts[0])
    assert {("glacier", "config.py"), ("alignment.py", "glacier"), ("demo", "glacier")} <= pairs
    assert without_order({("a", "b"), ("b", "c")}) == set()
    assert without_order({("a", "b"), ("b", "c"), ("c", "b")}) == {"a", "b", "c"}


def test_the_house_has_few_arrows_and_none_runs_back_up():
    pairs = arrows(lambda path: path.parts[0])
    assert len(pairs) <= 22
    assert without_order(pairs) == set()


def room_of(path: Path) -> str:
    """The room of a module: a folder of glacier/ or DeepLearning/, or a module beside those; else its first folder."""
    if path.parts[0] in ("glacier", "DeepLearning"):
        return "/".join(path.parts[:2])
    return path.parts[0]


def test_rooms_can_be_read_in_an_order():
    """No two import each other, nor in a circle; only a script's `main` hands several glaciers over to groups."""
    pairs = arrows(room_of) - {("glacier/console.py", "glacier/groups.py")}
    assert {
        ("glacier/velocity", "glacier/storage"),
        ("glacier/scenes.py", "glacier/grid.py"),
    } <= pairs
    assert without_order(pairs) == set()


def test_benchmarks_and_tests_do_not_import_each_other():
    for path in (ROOT / "tests").glob("*.py"):
        assert not [name for name in imported(path) if name.split(".")[0] == "benchmarks"]
    tests = {path.stem for path in (ROOT / "tests").glob("*.py")} | {"tests"}
    for path in FILES:
        assert not tests & {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize(
    "name",
    ["dataAPI", "alignment", "createPatches", "movement", "evaluate", "forecast", "makeGlacier"],
)
def test_a_stage_is_told_on_a_few_pages(name):
    folders = (ROOT, ROOT / "DeepLearning", ROOT / "demo")
    (path,) = [folder / f"{name}.py" for folder in folders if (folder / f"{name}.py").is_file()]
    assert 100 <= len(path.read_text().splitlines()) <= 250


def test_a_module_of_the_library_is_short():
    long = [path for path in (ROOT / "glacier").rglob("*.py") if len(lines(path)) > 300]
    assert long == []


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


# readers and writers of a glacier's files, whose names say less than read_... or write_...
OF_FILES = {
    "Opened.__init__",
    "export.file_of",
    "export.write",
    "elevation.make_elevation",
    "scenes.year_files",
}


def takers_of_settings(path: Path) -> set[str]:
    """The functions of a file with a parameter that is the settings object."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{name}" for name in takers_among(node.body)}
    return names | {
        f"{path.stem}.{name}" for name in takers_among(ast.parse(path.read_text()).body)
    }


def takers_among(body: list[ast.stmt]) -> set[str]:
    names = set()
    for node in body:
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            kinds = {ast.unparse(part.annotation) for part in arguments if part.annotation}
            if {"Config", "config.Config", "Settings"} & kinds or "cfg" in {
                part.arg for part in arguments
            }:
                names.add(node.name)
    return names


def test_takers_of_settings_are_seen(tmp_path):
    text = "def one(cfg): pass\ndef two(a, *, b: Config): pass\ndef three(a: type[Config]): pass\n"
    (tmp_path / "some.py").write_text(text + "class Box:\n    def four(self, c: Config): pass\n")
    assert takers_of_settings(tmp_path / "some.py") == {"some.one", "some.two", "Box.four"}


def test_functions_of_the_library_take_what_they_need_not_the_settings():
    for path in (ROOT / "glacier").rglob("*.py"):
        if path.parent.name in ("storage", "report"):
            continue
        for name in takers_of_settings(path) - OF_FILES:
            assert name.rpartition(".")[2].startswith(("read_", "write_")), name


def test_statements_stay_unpacked():
    """In all files together: the middle logical line has at most 9 tokens, one in ten more than 24 at most."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "style.py")],
        capture_output=True,
        text=True,
        check=True,
    )
    name, _, _, median, ninety, packed = done.stdout.splitlines()[-1].split()
    assert name == "all"
    assert int(median) <= 9
    assert int(ninety) <= 24
    assert float(packed) <= 1.5
