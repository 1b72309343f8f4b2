"""Files appear whole or not at all; pickles hold data and run nothing; stages run when they must and only then."""

import dataclasses
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import yaml

from config import Config, GlacierError, load
from glacier import console
from glacier.storage import disk, pickles, rebuild, runner


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    return tmp_path


def test_a_nameless_array_leaves_nothing(tmp_path):
    """It can be filled and read, and its room is taken at once; no file of it is ever seen."""
    array = disk.nameless_array(tmp_path / "runs", (3, 5), np.uint16)
    array[1] = 7
    assert array.sum() == 35
    assert not list((tmp_path / "runs").iterdir())
    assert disk.nameless_array(tmp_path, (0, 5)).shape == (0, 5)
    with pytest.raises(GlacierError, match="needs .* MB; .* MB are free there"):
        disk.nameless_array(tmp_path, (1 << 50,))


def test_a_broken_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "folder" / "file"
    with disk.writing(path) as file:
        file.write(b"old")

    def break_off():
        with disk.writing(path) as file:
            file.write(b"new, but n")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        break_off()
    assert path.read_bytes() == b"old"
    assert [found.name for found in path.parent.iterdir()] == ["file"]


def test_an_array_appears_only_when_it_is_full(tmp_path):
    path = tmp_path / "array.npy"
    with disk.writing_array(path, (3, 4)) as array:
        array[:] = 7
        assert not path.exists()
    assert (disk.read_array(path) == 7).all()
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(GlacierError, match="not a complete array"):
        disk.read_array(path)


CONTENT = {
    "text": "a",
    "list": [1, 2.5, None, True],
    "array": np.arange(6, dtype=np.uint16).reshape(2, 3),
    "turned": np.asfortranarray(np.eye(3, dtype=np.float32)),
    "scalar": np.float64(0.5),
}


@pytest.mark.parametrize("spelling", [b"cnumpy._core.", b"cnumpy.core."])
def test_pickles_of_both_numpy_generations_are_read(tmp_path, spelling):
    path = tmp_path / "2015.pkl"
    written = pickle.dumps(CONTENT, protocol=3)  # protocol 3 spells names as plain text
    assert b"cnumpy._core." in written
    path.write_bytes(written.replace(b"cnumpy._core.", spelling) + pickles.pickled(CONTENT))
    for content in pickles.read_pickles(path):
        assert content["list"] == CONTENT["list"]
        for name in ("array", "turned", "scalar"):
            np.testing.assert_array_equal(content[name], CONTENT[name])
    assert {
        (f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")
    } <= rebuild.NAMES.keys()


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "evil",
    [
        Evil(os.system, "touch harmed"),
        Evil(eval, "open('harmed', 'w')"),
        Evil(getattr, "a", "upper"),
        np.array([Evil(os.system, "touch harmed")], object),
        Path("harmed"),
    ],
)
def test_a_pickle_that_carries_code_is_refused_not_run(tmp_path, monkeypatch, evil):
    monkeypatch.chdir(tmp_path)
    Path("2015.pkl").write_bytes(pickles.pickled({"count": 1}) + pickle.dumps({"dn": evil}))
    stream = pickles.read_pickles(Path("2015.pkl"))
    next(stream)
    with pytest.raises(GlacierError, match="refused"):
        next(stream)
    assert not Path("harmed").exists()


@pytest.mark.parametrize("keep", [-1, -3, -200, 5])
def test_a_truncated_pickle_is_one_line(tmp_path, keep):
    path = tmp_path / "2015.pkl"
    path.write_bytes(pickles.pickled(CONTENT)[:keep])
    with pytest.raises(GlacierError, match="truncated or damaged") as error:
        list(pickles.read_pickles(path))
    assert "\n" not in str(error.value)


SCENES = runner.Stage("rawData", "dataAPI.py", (), "alignment.py")
SERIES = runner.Stage("aligned", "alignment.py", (SCENES,), "createPatches.py")
WINDOWS = runner.Stage("patches", "createPatches.py", (SERIES,), "movement.py")


def stage(cfg, made, name=SCENES, uses=("years",), code=0):
    def work(cfg, folder):
        made.append(str(name))
        with disk.writing(folder / "file") as file:
            file.write(str([getattr(cfg, use) for use in uses]).encode())
        return runner.Result([folder / "file"], {"files": 1}, exit_code=code)

    return runner.run_stage(cfg, name, uses, work)


def test_a_stage_runs_once_then_only_after_a_change_that_concerns_it(caplog):
    caplog.set_level("INFO")
    made, cfg = [], load(Config, [], name="ridge")
    assert stage(cfg, made) == stage(cfg, made) == 0
    assert made == ["rawData"]
    assert "up to date" in caplog.text
    stage(dataclasses.replace(cfg, stride=3), made)
    assert made == ["rawData"]
    stage(dataclasses.replace(cfg, years=(2014, 2022)), made)
    assert made == ["rawData"] * 2
    assert "years changed from [2013, 2022] to [2014, 2022]" in caplog.text
    (cfg.folder / "rawData" / "file").write_text("")
    stage(dataclasses.replace(cfg, years=(2014, 2022)), made)
    assert made == ["rawData"] * 3
    stage(dataclasses.replace(cfg, years=(2014, 2022), force=True), made)
    assert made == ["rawData"] * 4


def test_what_a_run_before_left_behind_is_removed():
    made, cfg = [], load(Config, [], name="ridge")
    (cfg.folder / "rawData" / ".waiting").mkdir(parents=True)
    (cfg.folder / "rawData" / ".waiting" / "scene.pkl").write_text("x")
    stage(cfg, made)
    assert sorted(path.name for path in (cfg.folder / "rawData").iterdir()) == [
        "file",
        "manifest.yaml",
    ]


def test_a_stage_asks_for_the_one_before(caplog):
    made, cfg = [], load(Config, [], name="ridge")
    with pytest.raises(GlacierError, match=r"run first: python dataAPI.py --name=ridge"):
        stage(cfg, made, SERIES, ("stepsPerYear",))
    stage(cfg, made)
    stage(cfg, made, SERIES, ("stepsPerYear",))
    assert stage(cfg, made, SERIES, ("stepsPerYear",)) == 0
    other = dataclasses.replace(cfg, years=(2015, 2016))
    with pytest.raises(
        GlacierError, match=r"made with years = \[2013, 2022\], now it is \[2015, 2016\]"
    ):
        stage(other, made, SERIES, ("stepsPerYear",))
    stage(other, made)
    with pytest.raises(
        GlacierError, match=r"changed after .* was made; run first: python alignment.py"
    ):
        stage(other, made, WINDOWS, ())
    stage(other, made, SERIES, ("stepsPerYear",))
    assert made == ["rawData", "aligned", "rawData", "aligned"]
    (cfg.folder / "rawData" / "file").write_text("cut")
    with pytest.raises(GlacierError, match=r"truncated or damaged.*run again: python dataAPI.py"):
        stage(other, made, WINDOWS, ())


@pytest.mark.parametrize("touched", [False, True])
def test_a_refused_stage_stays_finished_unless_it_was_touched(touched):
    made, cfg = [], load(Config, [], name="ridge")
    stage(cfg, made)

    def work(cfg, folder):
        if touched:
            (folder / "file").write_text("half")
        raise GlacierError("too few")

    with pytest.raises(GlacierError, match="too few"):
        runner.run_stage(dataclasses.replace(cfg, years=(2014, 2015)), SCENES, ("years",), work)
    stage(cfg, made)
    assert len(made) == 1 + touched


def test_the_manifest_says_what_made_the_stage():
    cfg = load(Config, [], name="ridge")
    stage(cfg, [])
    manifest = yaml.safe_load((cfg.folder / "rawData" / "manifest.yaml").read_text())
    assert manifest["schema"] == 1
    assert manifest["settings"] == {"years": [2013, 2022]}
    assert manifest["outputs"]["file"]["bytes"] == len("[(2013, 2022)]")
    assert {"settings_hash", "inputs", "counts", "packages", "seconds"} <= manifest.keys()


def test_tables_line_up():
    assert console.lines_of([("scenes", 7), ("a longer name", 1234), ("dropped", "cloud")]) == [
        "  scenes             7",
        "  a longer name   1234",
        "  dropped        cloud",
    ]


def test_a_table_has_at_most_a_hundred_letters_a_line():
    """Long cells go on below; no word is lost; what fits is one line a row."""
    words = " ".join(f"word{number}" for number in range(40))
    rows = [("name", "number", "why"), ("a" * 30, 1234.5, words), ("short", 7, "b")]
    lines = console.lines_of(rows)
    assert max(map(len, lines)) <= 100
    assert " ".join(lines).split().count("1234") == 1
    assert [word for word in " ".join(lines).split() if word.startswith("word")] == words.split()
    assert lines[-1].split() == ["short", "7", "b"]
    wide = [tuple(f"column {number}" for number in range(12))]
    assert max(map(len, console.lines_of(wide))) <= 12 * (12 + 2)


def test_a_log_is_told_of_progress_at_most_twice_a_minute(monkeypatch, caplog):
    """200 items of a second each: a line after a tenth, then one each 30 seconds or more, with the time left."""
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(console.sys.stderr, "isatty", lambda: False)
    caplog.set_level("INFO")
    for _ in console.progress(range(200), "scenes"):
        now[0] += 1
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "  scenes 20/200, 20 s, 180 s left"
    assert len(lines) == 5
    caplog.clear()
    list(console.progress(range(7), "windows"))
    assert len(caplog.records) == 1
