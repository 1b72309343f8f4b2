"""A bit that flips on the disk is noticed before what stands there is used: one line, the file and the command."""

import contextlib
import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import config
import createPatches
from config import Config, GlacierError
from DeepLearning import evaluate
from demo import attacks
from glacier.aligned import read_aligned_scenes, read_composites
from glacier.patches.windows import load_tensor
from glacier.scenes import read_grid, read_scenes
from glacier.storage import disk, forms, integrity, pickles, runner
from glacier.velocity.fields import read_movement

SCENES = runner.Stage("rawData", "dataAPI.py", (), "alignment.py")


@pytest.fixture(autouse=True)
def fresh_run(monkeypatch):
    """As in a process of its own, nothing was compared yet."""
    monkeypatch.setattr(integrity, "_compared", {})


def flip(path: Path, seed: int = 0, keep_time: bool = True) -> None:
    """Flip one bit of a file, as a failing disk does: neither its size nor its time changes."""
    times = path.stat()
    path.write_bytes(attacks.one_bit_flipped(path.read_bytes(), seed))
    if keep_time:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def write_one_of_each(folder: Path) -> runner.Result:
    """Write a file of each format that stages write."""
    with disk.writing(folder / "2015.pkl") as file:
        file.write(pickles.pickled(attacks.honest_scene(np.random.default_rng(0))))
    with disk.writing_array(folder / "scenes.npy", (5, 6)) as array:
        array[:] = 7
    disk.write_json(folder / "scenes.json", {"scenes": [1, 2, 3]})
    with disk.writing(folder / "deep" / "window.pt") as file:
        torch.save(torch.arange(12.0), file)
    names = ("2015.pkl", "scenes.npy", "scenes.json", "deep/window.pt")
    return runner.Result([folder / name for name in names])


READERS = {
    "2015.pkl": lambda path: list(pickles.read_pickles(path)),
    "scenes.npy": disk.read_array,
    "scenes.json": disk.read_json,
    "deep/window.pt": load_tensor,
}


@pytest.fixture
def made(tmp_path, monkeypatch) -> Config:
    """The settings of a glacier whose first stage holds a file of each format."""
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    cfg = config.load(Config, name="ridge")
    runner.run_stage(cfg, SCENES, ("years",), lambda cfg, folder: write_one_of_each(folder))
    return cfg


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_is_noticed_by_whoever_reads_the_file(made, name, seed):
    path = made.folder / "rawData" / name
    READERS[name](path)
    integrity._compared.clear()
    flip(path, seed)
    with pytest.raises(runner.DamagedError, match="dataAPI.py --name=ridge --force") as error:
        READERS[name](path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_is_compared_once_a_run(made, monkeypatch):
    path = made.folder / "rawData" / "scenes.npy"
    compared = []
    monkeypatch.setattr(integrity, "file_hash", lambda path: compared.append(path) or "another")
    for _ in range(3):
        with pytest.raises(runner.DamagedError):
            disk.read_array(path)
    assert len(compared) == 3
    monkeypatch.undo()
    disk.read_array(path)
    monkeypatch.setattr(integrity, "file_hash", lambda path: "another")
    disk.read_array(path)


def test_up_to_date_looks_at_sizes_and_times_and_verify_at_every_byte(made, caplog):
    caplog.set_level("INFO")
    runs = []

    def again(**changes):
        cfg = dataclasses.replace(made, **changes)
        work = lambda cfg, folder: runs.append(1) or write_one_of_each(folder)  # noqa: E731
        return runner.run_stage(cfg, SCENES, ("years",), work)

    assert again(verify=True) == 0
    assert "4 files are as they were written" in caplog.text
    flip(made.folder / "rawData" / "scenes.json")
    assert again() == 0
    with pytest.raises(runner.DamagedError, match=r"scenes.json is not what was written"):
        again(verify=True)
    assert not runs
    flip(made.folder / "rawData" / "2015.pkl", keep_time=False)
    assert again() == 0
    assert runs == [1]
    assert again(verify=True) == 0


def test_a_file_that_was_copied_is_still_what_was_written(made):
    for path in (made.folder / "rawData").rglob("*.*"):
        os.utime(path)
    assert runner.why_stale(made.folder / "rawData", {"years": [2013, 2022]}, {}) is None


@pytest.mark.parametrize("seed", range(40))
def test_a_bit_flipped_in_a_manifest_makes_it_no_manifest(made, seed):
    path = made.folder / "rawData" / "manifest.yaml"
    lines = path.read_bytes().rpartition(integrity.CHECK)[0]
    position = np.random.default_rng(seed).integers(len(lines))
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << seed % 8
    path.write_bytes(content)
    assert runner.read_manifest(path.parent) is None
    with pytest.raises(runner.DamagedError, match="run again: python dataAPI.py --name=ridge"):
        runner.need(made, SCENES)
    assert "damaged" in runner.why_stale(path.parent, {"years": [2013, 2022]}, {})


def test_a_stage_at_work_takes_back_no_damaged_file_of_its_own(made):
    """While the stage works its manifest is withdrawn, yet what it finds of an earlier run is compared."""
    path = made.folder / "rawData" / "scenes.npy"
    flip(path, keep_time=False)

    def work(cfg, folder):
        with pytest.raises(runner.DamagedError):
            disk.read_array(path)
        result = write_one_of_each(folder)
        disk.read_array(path)
        return result

    integrity._written.clear()
    assert runner.run_stage(made, SCENES, ("years",), work) == 0


AIMED = [
    "datasets/toy/aligned/composites.npy",
    "datasets/toy/aligned/composites.json",
    "datasets/toy/patches/splits.yaml",
    "DeepLearning/runs/toy-AttentionLSTM-001/best.pt",
]


@pytest.fixture
def copied(toy_home, trained_home, tmp_path, monkeypatch) -> Path:
    """A home of its own with the toy glacier and its run."""
    import shutil

    home = tmp_path / "home"
    shutil.copytree(toy_home / "datasets", home / "datasets")
    shutil.copytree(trained_home / "DeepLearning", home / "DeepLearning")
    monkeypatch.setenv("GLACIER_HOME", str(home))
    return home


@pytest.mark.parametrize("name", AIMED)
def test_no_stage_goes_on_with_a_flipped_bit(copied, name):
    flip(copied / name, seed=5)
    with pytest.raises(GlacierError, match=Path(name).name) as error:
        evaluate.run(config.load(evaluate.Settings, name="toy", force=True, wandb="disabled"))
    assert "run" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_damaged_window_is_noticed_when_it_is_read(copied):
    for path in (copied / "datasets/toy/patches/targets").iterdir():
        flip(path)
    cfg = config.load(Config, name="toy")
    windows = createPatches.read_patches(cfg).windows
    with pytest.raises(runner.DamagedError, match="targets"):
        windows[-1].targets  # noqa: B018


def test_the_records_say_what_they_lack(made):
    path = disk.write_json(made.folder / "record.json", {"a": 1})
    with pytest.raises(GlacierError, match=r"record.json says nothing of 'dates'"):
        disk.read_json(path)["dates"]
    for content in ("[1]", '{"a": ', "[" * 100_000, "null", '"text"', "\x00"):
        path.write_text(content)
        with pytest.raises(GlacierError, match=r"record.json"):
            disk.read_json(path)


def year_of(home: Path, header: dict, scenes: list) -> Config:
    """Write a year's stream by hand; return the settings."""
    cfg = config.load(Config, name="ridge")
    stream = b"".join(pickles.pickled(part) for part in [header, *scenes])
    with disk.writing(cfg.folder / "rawData" / "2015.pkl") as file:
        file.write(stream)
    return cfg


HEADER = {
    "schema": 1,
    "crs": "EPSG:32643",
    "transform": [30.0, 0.0, 0.0, 0.0, -30.0, 0.0],
    "shape": [4, 5],
    "bands": ["green", "swir16"],
    "scale": 1.0,
    "offset": 0.0,
    "nodata": 0,
    "count": 1,
}
SCENE = {
    "id": "a",
    "datetime": "2015-01-01T10:00:00",
    "platform": "landsat-8",
    "cloud_percent": 0.0,
    "missing_fraction": 0.0,
    "sun_azimuth": 0.0,
    "sun_elevation": 45.0,
    "dn": np.ones((2, 4, 5), np.uint16),
    "mask": np.zeros((4, 5), np.uint8),
}


@pytest.mark.parametrize(
    ("header", "scene"),
    [
        ({}, {"dn": np.ones((2, 4, 6), np.uint16)}),
        ({}, {"dn": np.ones((2, 4, 5), np.float32)}),
        ({}, {"dn": [1, 2]}),
        ({}, {"mask": np.zeros((5, 4), np.uint8)}),
        ({}, {"mask": None}),
        ({}, {"datetime": "yesterday"}),
        ({}, {"datetime": 3}),
        ({}, {"colour": "red"}),
        ({"bands": ["green"]}, {}),
        ({"schema": 7}, {}),
        ({"count": 2}, {}),
    ],
)
def test_a_stream_whose_scenes_are_none_is_one_line(tmp_path, monkeypatch, header, scene):
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    (whole,) = read_scenes(year_of(tmp_path, HEADER, [SCENE]))
    assert (whole.dn == 1).all()
    cfg = year_of(tmp_path, HEADER | header, [SCENE | scene])
    with pytest.raises(GlacierError, match=r"2015.pkl .*dataAPI.py --name=ridge --force") as error:
        list(read_scenes(cfg))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", HEADER)
def test_a_header_that_lacks_something_is_one_line(tmp_path, monkeypatch, key):
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    cfg = year_of(tmp_path, {name: HEADER[name] for name in HEADER if name != key}, [SCENE])
    with pytest.raises(GlacierError, match=r"2015.pkl"):
        list(read_scenes(cfg))
    with pytest.raises(GlacierError, match=r"2015.pkl"):
        read_grid(cfg)


# ── Records forged and signed ────────────────────────────────────────────────────────────────────────────────────

PLACE = {
    "channels": ["ndsi"],
    "crs": "EPSG:32643",
    "transform": [30.0, 0.0, 600015.0, 0.0, -30.0, 3500025.0],
}
ALIGNED_SCENE = {
    "id": "scene",
    "date": "2015-05-01",
    "matrix": np.eye(3).tolist(),
    "quality": 0.8,
    "accepted": True,
    "reason": "",
    "in_composites": True,
}
RECORDS = {
    "aligned/scenes.json": (
        PLACE | {"scenes": [ALIGNED_SCENE, ALIGNED_SCENE]},
        read_aligned_scenes,
    ),
    "aligned/composites.json": (
        PLACE | {"dates": ["2015-05-01"], "counts": [2], "steps_per_year": 4},
        read_composites,
    ),
    "movement/movement.json": (
        PLACE
        | {
            "shape": [60, 60],
            "pairs": [{"first": 0, "second": 1, "years": 1.0}],
            "dates": ["2015-05-01", "2016-05-01"],
        },
        read_movement,
    ),
}


def signed_record(folder: Path, name: str, record: dict) -> None:
    """Write a record, its arrays and a manifest whose hashes fit."""
    path = folder / name
    disk.write_json(path, record)
    for array in ("scenes", "composites", "observed", "pairs", "stable"):
        with disk.writing_array(path.parent / f"{array}.npy", (1, 1, 6, 6)) as values:
            values[:] = 1
    runner.write_manifest(path.parent, {}, {}, path.parent.glob("*.*"), {}, 0)


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_forged_and_signed_is_read_or_refused_in_one_line(tmp_path, monkeypatch, name):
    """Members of another kind, or gone: no reader falls over them, whatever the hash says."""
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    cfg = config.load(Config, name="ridge")
    record, read = RECORDS[name]
    signed_record(cfg.folder, name, record)
    read(cfg)
    lines = []
    for seed in range(40):
        forged = attacks.with_strange_members(np.random.default_rng(seed), record)
        signed_record(cfg.folder, name, forged)
        try:
            read(cfg)
        except GlacierError as error:
            lines.append(str(error))
    assert len(lines) > 20
    assert all("run again: " in line and "\n" not in line for line in lines)


@pytest.mark.parametrize("seed", range(30))
def test_a_manifest_forged_and_signed_is_one_or_none(made, seed):
    path = made.folder / SCENES / "manifest.yaml"
    forged = attacks.with_strange_members(
        np.random.default_rng(seed), yaml.safe_load(path.read_text())
    )
    forged.pop("check", None)
    path.write_bytes(integrity.signed(yaml.safe_dump(forged).encode()))
    with contextlib.suppress(GlacierError):
        runner.need(made, SCENES)
    runner.why_stale(made.folder / SCENES, {}, {})
    integrity.command_of(made.folder / SCENES / "scenes.json")


@pytest.mark.parametrize(
    ("value", "form", "where"),
    [
        ({"a": [1, 2.5]}, {"a": [forms.is_number]}, ""),
        ({"a": [1, True]}, {"a": [forms.is_number]}, "a, 1"),
        ({"a": [{"b": "x"}]}, {"a": [{"b": forms.is_day}]}, "a, 0, b"),
        ({}, {"a": str}, "a"),
        ([], dict, "itself"),
        ([30, 0, 5, 0, -30, 7], forms.is_transform, ""),
        ([30, 60, 5, -15, -30, 7], forms.is_transform, "itself"),
        (float("nan"), forms.is_finite, "itself"),
        (10**400, forms.is_finite, "itself"),
        (-1, forms.is_count, "itself"),
        ([[1, 0, 0], [0, 1, 0], [0, 0, "1"]], forms.is_matrix, "itself"),
    ],
)
def test_forms_tell_the_first_place_that_does_not_fit(value, form, where):
    assert forms.misfit(value, form) == where
