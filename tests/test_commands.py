"""Every command that a line names works when it is pasted: quoted, with the glacier's name and the flags given."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest
from conftest import ROOT

import config
import dataAPI
import movement
from config import Config, GlacierError
from DeepLearning.training import checkpoints, run_folders
from demo import makeGlacier
from glacier import console, region, stages
from glacier.patches import windows
from glacier.patches.split import Split, prove
from glacier.storage import disk, integrity, runner

NAME = "my glacier's"
GIVEN = ["--stepsPerYear=12", "--source=/data of mine/catalog.json"]
BEFORE_COMMAND = r"(?:Next|run first|run again|train again|go on with|run): (python .*)"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A script that was started with some flags."""
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    monkeypatch.setattr(console, "_given", [])
    console.remember_flags(Config, [f"--name={NAME}", *GIVEN, "--force"])
    return tmp_path


def paste(line: str) -> tuple[str, Config]:
    """Return the script that a line names, and the settings that a shell would hand to it."""
    _, script, *flags = shlex.split(re.search(BEFORE_COMMAND, line)[1])
    module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
    return script, config.load(getattr(module, "Settings", Config), flags)


def check(line: str, script: str, name: str = NAME) -> Config:
    """Check that a line names a script for the glacier, with the flags that were given; return its settings."""
    assert "\n" not in line
    pasted, cfg = paste(line)
    assert (pasted, cfg.name) == (script, name)
    assert (cfg.stepsPerYear, cfg.source) == (12, "/data of mine/catalog.json")
    return cfg


def error_of(work, *arguments) -> str:
    with pytest.raises(GlacierError) as caught:
        work(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("stage", [stages.RAW_DATA, stages.ALIGNED, stages.PATCHES])
def test_a_stage_that_is_missing_or_was_made_otherwise(stage):
    cfg = config.load(Config, [f"--name={NAME}", *GIVEN])
    check(error_of(runner.need, cfg, stage), stage.script)
    folder = cfg.folder / stage
    folder.mkdir(parents=True)
    (folder / "file").write_text("made")
    runner.write_manifest(folder, {"stepsPerYear": 4}, {}, [folder / "file"], {}, 0)
    check(error_of(runner.need, cfg, stage), stage.script)
    (folder / "file").write_text("spoiled")
    assert check(error_of(runner.need, cfg, stage), stage.script).force


def test_the_stage_that_comes_next(caplog):
    cfg = config.load(Config, [f"--name={NAME}", *GIVEN])
    with caplog.at_level("INFO"):
        runner.run_stage(cfg, stages.RAW_DATA, (), lambda cfg, folder: runner.Result([]))
    check(caplog.messages[-1], "alignment.py")


def patches_of(home: Path) -> Path:
    """Return patches/ whose split is damaged though its manifest fits."""
    folder = home / "datasets" / NAME / "patches"
    disk.write_yaml(folder / "splits.yaml", {"windows": {}})
    command = console.command("createPatches.py", NAME)
    runner.write_manifest(folder, {}, {}, [folder / "splits.yaml"], {}, 0, command)
    return folder


def test_patches_that_cannot_be_used(home):
    folder = patches_of(home)
    lines = [
        error_of(windows.read_split, folder / "splits.yaml"),
        error_of(windows.load_tensor, folder / "images" / "2013-01-01.pt"),
        error_of(leaking_split, windows.advice(folder / "splits.yaml")),
    ]
    for line in lines:
        assert check(line, "createPatches.py").force


def leaking_split(advice: str) -> None:
    prove(Split(("train", "test", "test"), None), (48, 48), 16, 8, 4, 4, advice)


RECORD = {
    "format": run_folders.FORMAT,
    "network": "ConvLSTM",
    "names": [NAME],
    "holdout": None,
    "patches": {NAME: "0" * 16},
    "settings": {},
}


def run_of(**changes) -> Path:
    """Return a run's folder with a config.yaml and no checkpoint."""
    folder = run_folders.runs_folder() / f"{NAME}-ConvLSTM-001"
    disk.write_yaml(folder / "config.yaml", RECORD | changes)
    return folder


def test_runs_that_cannot_be_used():
    script = "DeepLearning/trainConvLSTM.py"
    folder = run_of()
    assert check(error_of(run_folders.find_run, folder.name), script).resume
    assert check(error_of(checkpoints.read, folder / "best.pt"), script).force
    check(error_of(run_folders.read_run, run_of(format=1)), script)
    runner.write_manifest(run_of(), {}, {}, [], {}, 0)
    cfg = config.load(Config, [f"--name={NAME}", *GIVEN])
    check(error_of(run_folders.runs_for, cfg, (), "another hash"), script)
    together = run_of(names=[NAME, "alps/aletsch"], format=1)
    assert check(error_of(run_folders.read_run, together), script).names == (NAME, "alps/aletsch")
    (folder / "config.yaml").write_text("network: [")
    check(error_of(run_folders.read_run, folder), script)
    nothing = config.load(Config, ["--name=unknown"])
    check(
        error_of(run_folders.runs_for, nothing, (), ""),
        "DeepLearning/trainAttentionLSTM.py",
        "unknown",
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"names": []},
        {"names": [3]},
        {"names": {"a": 1}},
        {"network": ["ConvLSTM"]},
        {"patches": {"a": 1}},
        {"patches": ["a"]},
        {"settings": {1: 2}},
        {"holdout": 3},
    ],
)
def test_a_record_of_other_types_is_no_run(changes):
    """Forged, and signed with the right hash: passed over where runs are listed, refused where it is named."""
    folder = run_of(**changes)
    runner.write_manifest(folder, {}, {}, [folder / "config.yaml"], {}, 0)
    assert run_folders.list_runs() == []
    check(error_of(run_folders.read_run, folder), "DeepLearning/trainConvLSTM.py")


def test_flags_that_a_line_changes_are_not_said_twice():
    console.remember_flags(Config, ["--extractNDSI=False", *GIVEN])
    aligned = type("Aligned", (), {"channels": ("red", "green", "blue")})
    cfg = config.load(Config, [f"--name={NAME}"])
    line = error_of(movement.ice_mask, cfg, aligned, None)
    assert line.count("extractNDSI") == 1
    assert check(line, "alignment.py").extractNDSI


def test_too_few_pairs_name_the_first_stage(monkeypatch):
    lines = []
    monkeypatch.setattr(movement.preparation, "find_pairs", lambda *words: lines.append(words[-1]))
    aligned = type("Aligned", (), {"transform": (30,), "dates": (), "accepted": 0, "quality": 0})
    movement.find_pairs(config.load(Config, [f"--name={NAME}"]), aligned)
    check(lines[0], "dataAPI.py")


def test_a_group_and_valleys_are_named_as_one(monkeypatch, caplog):
    monkeypatch.setattr(region, "write_region", lambda *words: [("glaciers", 3)])
    monkeypatch.setattr(makeGlacier, "make_archive", lambda *words: None)
    with caplog.at_level("INFO"):
        dataAPI.make_region(config.load(dataAPI.Settings, ["--name=alps", "--outlines=x"]))
        makeGlacier.run(config.load(makeGlacier.Settings, ["--name=valley", "--glaciers=2"]))
        makeGlacier.run(config.load(makeGlacier.Settings, [f"--name={NAME}"]))
    lines = [line for line in caplog.messages if line.startswith("Next: ")]
    pasted = [paste(line) for line in lines]
    scripts = ["dataAPI.py", "dataAPI.py", "alignment.py", "createPatches.py"]
    assert [script for script, _ in pasted] == [
        *scripts,
        "DeepLearning/trainConvLSTM.py",
        scripts[0],
    ]
    names = ["alps/*", *["valley1,valley2"] * 3, "valley1", NAME]
    assert [cfg.name for _, cfg in pasted] == names
    assert pasted[4][1].names == ("valley1", "valley2")


def test_a_damaged_file_names_the_command_that_made_it(home):
    folder = patches_of(home)
    (folder / "splits.yaml").write_text("windows: {}\nblocks: []\n")
    assert check(error_of(integrity.check, folder / "splits.yaml"), "createPatches.py").force


# ── One place makes commands ─────────────────────────────────────────────────────────────────────────────────────


def texts_of(path: Path) -> list[str]:
    """Return the texts of a module that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return [
        node.value for node in constants if isinstance(node.value, str) and id(node) not in bare
    ]


def test_no_line_is_written_by_hand():
    paths = [*ROOT.glob("*.py"), *(ROOT / "glacier").rglob("*.py")]
    paths += [*(ROOT / "DeepLearning").rglob("*.py"), *(ROOT / "demo").glob("*.py")]
    by_hand = {}
    for path in paths:
        lines = [text for text in texts_of(path) if re.search(r"python \S*\.py|\w\.py --", text)]
        if lines and path.name != "config.py":
            by_hand[path.name] = lines
    assert by_hand == {}
