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
