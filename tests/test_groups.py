"""Several glaciers by one command: which, how their failures count, and what their summary says."""

import csv
import os
import re
import subprocess
import sys
from dataclasses import dataclass

import pytest
from conftest import ROOT, command

import config
from config import Config, GlacierError, setting
from DeepLearning.training import run_folders
from glacier import groups, machine
from glacier.report import group, pages
from glacier.storage import disk, runner

# a stage that fails for one glacier, with a code of its own for another, and does the rest once
STAGE = """
import sys
from config import Config, GlacierError
from glacier import console

def run(cfg):
    done = cfg.folder / "done"
    if cfg.name.endswith("lost"):
        return 3
    if cfg.name.endswith("bad") and not cfg.force:
        raise GlacierError(f"{cfg.name} is bad")
    print("up to date" if done.exists() else f"made with {cfg.stepsPerYear}, workers {cfg.workers}")
    done.touch()
    return 0

if __name__ == "__main__":
    sys.exit(console.main(run, Config))
"""


@dataclass(frozen=True)
class Training(Config):
    names: tuple[str, ...] = setting((), "glaciers")
    holdout: str | None = setting(None, "left out")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Glaciers a, b, and those of the group alps; a folder without a glacier.yaml is none."""
    for name in ("a", "b", "alps/one", "alps/two", "alps/bad"):
        disk.write_yaml(tmp_path / "datasets" / name / "glacier.yaml", {"name": name})
    (tmp_path / "datasets" / "alps" / "folder").mkdir()
    (tmp_path / "stage.py").write_text(STAGE)
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("alps/*", ["alps/bad", "alps/one", "alps/two"]),
        ("*", ["a", "b"]),
        ("b,alps/t*,b", ["b", "alps/two"]),
        ("a,new", ["a", "new"]),
        ("*/one", ["alps/one"]),
        ("alps/[ot]*", ["alps/one", "alps/two"]),
    ],
)
def test_names_are_expanded(home, text, names):
    assert groups.several(Config, [f"--name={text}"]) == names
    assert groups.several(Config, ["--name", text]) == names


def test_a_plain_name_is_one_glacier(home):
    for words in ([], ["--name=a"], ["--name=alps/one"], ["--stepsPerYear=12"]):
        assert groups.several(Config, words) == []
        assert groups.with_names(Config, words) == words
    (home / "datasets" / "c,d").mkdir()
    assert groups.several(Config, ["--name=c,d"]) == []


def test_a_pattern_that_fits_nothing_says_what_there_is(home):
    with pytest.raises(GlacierError, match="alps/one"):
        groups.several(Config, ["--name=andes/*"])


def test_training_takes_the_list_of_today_without_the_held_out(home):
    words = ["--names=alps/*,a", "--holdout=alps/two", "--wandb=disabled"]
    expanded = groups.with_names(Training, words)
    assert expanded == ["--names=alps/bad,alps/one,a", *words[1:]]
    words[1] = "--holdout=alps/two,a"
    assert groups.with_names(Training, words) == ["--names=alps/bad,alps/one", *words[1:]]
    assert groups.with_names(Config, ["--name=a"]) == ["--name=a"]
    with pytest.raises(GlacierError, match="--names"):
        groups.several(Training, ["--name=alps/*"])


def test_a_failure_stops_no_other_and_the_worst_code_is_returned(home):
    disk.write_yaml(home / "datasets/alps/lost/glacier.yaml", {"stepsPerYear": 4})
    script = home / "stage.py"
    words = (str(script), "--name=alps/*", "--stepsPerYear=7", "--workers=1")
    printed = command(home, *words, code=3)
    rows = [line.split(maxsplit=2) for line in printed.splitlines() if line.startswith("  alps/")]
    codes = {name: (int(code), *rest) for name, code, *rest in rows}
    assert codes["alps/bad"] == (2, "error: alps/bad is bad")
    assert codes["alps/one"] == codes["alps/two"] == (0, "made with 7, workers 1")
    assert codes["alps/lost"][0] == 3
    again = command(home, str(script), "--name=alps/one,alps/bad", "--force")
    assert "up to date" in again
    assert "made with 4" in again


def test_a_cluster_runs_each_glacier_as_a_task(home):
    """Two worker processes: the same rows and code as here, each glacier in one of them, where the flags say."""
    distributed = pytest.importorskip(
        "distributed", reason="distributed is not installed: requirements-cluster.txt"
    )
    script = home / "stage.py"
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        address = f"--executor={cluster.scheduler_address}"
        printed = command(
            home, str(script), "--name=alps/*", "--stepsPerYear=7", "--workers=3", address, code=2
        )
    assert "3 glaciers, 2 at once on the cluster" in printed
    rows = [line.split(maxsplit=2) for line in printed.splitlines() if line.startswith("  alps/")]
    expected = [
        ["alps/bad", "2", "error: alps/bad is bad"],
        ["alps/one", "0", "made with 7, workers 3"],
        ["alps/two", "0", "made with 7, workers 3"],
    ]
    assert rows == expected
    assert (home / "datasets/alps/two/done").exists()
    assert (home / "datasets/alps/summary.html").is_file()


def test_a_process_that_is_killed_counts_as_the_shell_counts_it(home):
    killed = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    (outcome,) = groups.run_processes(killed, ["a"], [], 1)
    assert outcome.code == 137


def test_so_many_at_once_as_workers_cores_and_memory_allow(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 6)
    monkeypatch.setattr(machine, "free_memory", lambda: 9e9)
    assert groups.at_once(20, 8) == 4  # memory
    assert groups.at_once(20, 3) == 3  # workers
    assert groups.at_once(2, 8) == 2  # glaciers
    monkeypatch.setattr(machine, "free_memory", lambda: float("inf"))
    assert groups.at_once(20, 8) == 6  # cores
    monkeypatch.setattr(machine, "free_memory", lambda: 0)
    assert groups.at_once(20, 8) == 1
    monkeypatch.undo()
    assert machine.free_memory() > 1e8


def test_a_name_has_at_most_one_slash(home):
    assert config.load(Config, name="alps/one").folder == home / "datasets/alps/one"
    for name in ("a/b/c", "/a", "a/", "../a", "a/..", "a/.b", "a//b"):
        with pytest.raises(GlacierError, match="plain folder name"):
            config.load(Config, name=name)


def test_a_run_of_a_group_is_one_folder_that_its_report_finds(home):
    folder = run_folders.new_run("alps/one", "UNet")
    assert folder == home / "DeepLearning/runs/alps@one-UNet-001"
    (folder / pages.SECTION).write_text("<h2>x</h2>")
    assert pages.with_sections(config.load(Config, name="alps/one")) == [folder]
    assert pages.with_sections(config.load(Config, name="alps/two")) == []
    assert pages.with_sections(Config(name="alps")) == []


def test_the_summary_of_a_group_has_its_figures_and_failures(home):
    movement = home / "datasets/alps/one/movement"
    movement.mkdir()
    (movement / pages.SECTION).write_text("<h2>Movement</h2>")
    counts = {"median_speed_m_per_yr": 12.34, "fastest_m_per_yr": 50.0}
    runner.write_manifest(movement, {}, {}, [movement / pages.SECTION], counts, 0)
    (home / "datasets/alps/one/report.html").write_text("")
    disk.write_yaml(home / "datasets/alps/<i>/glacier.yaml", {"stepsPerYear": "<b>"})
    failed = [groups.Outcome("alps/bad", 2, "error: <script>"), groups.Outcome("a", 0, "done")]
    (page,) = groups.summarise(failed)
    assert page == home / "datasets/alps/summary.html"
    with open(page.with_name("summary.csv"), newline="") as file:
        lines = {row["glacier"]: row for row in csv.DictReader(file)}
    assert list(lines) == ["alps/<i>", "alps/bad", "alps/one", "alps/two"]
    assert lines["alps/one"]["median_speed"] == "12.3 m/yr"
    assert lines["alps/one"]["report"] == "one/report.html"
    assert lines["alps/two"]["median_speed"] == "not yet"
    assert lines["alps/bad"]["failure"] == "error: <script>"
    assert "whole number" in lines["alps/<i>"]["failure"]
    text = page.read_text()
    assert '<a href="one/report.html">alps/one</a>' in text
    assert "2 of them failed" in text
    for tag in ("<script>", "<i>", "<b>"):
        assert tag not in text


def test_boxes_are_drawn_where_they_lie_in_the_colour_of_their_speed(home):
    """One in the north-west, fast; two south-east of it, slow and unknown; a degree east is half as long here."""
    boxes = {
        "one": (10.0, 60.5, 10.2, 60.6),
        "two": (11.0, 59.4, 11.2, 59.5),
        "bad": (10.0, 59.4, 10.2, 59.5),
    }
    for name, box in boxes.items():
        folder = home / "datasets/alps" / name
        disk.write_yaml(folder / "glacier.yaml", {"boundingBox": list(box)})
    lines = [
        group.Line("alps/one", median_speed="50.0 m/yr"),
        group.Line("alps/two", median_speed="-2.5 m/yr"),
        group.Line("alps/bad", median_speed="not yet"),
    ]
    (drawn,) = group.maps_of(lines)
    assert (drawn.low, drawn.high) == ("-2.5 m/yr", "50.0 m/yr")
    one, two, bad = drawn.marks
    assert (one.left, one.top) == (0, 0)
    assert bad.left == 0
    assert bad.top == two.top == pytest.approx(group.MAP_SIDE * 1.1 / 1.2, abs=0.1)
    assert two.left / two.top == pytest.approx(1 / 1.1 / 2, rel=0.01)
    assert one.height == pytest.approx(group.MAP_SIDE * 0.1 / 1.2, abs=0.1)
    assert [mark.colour for mark in drawn.marks] == [group.COLOURS[-1], group.COLOURS[0], "#cccccc"]
    assert bad.text == "alps/bad: not yet"
    assert group.maps_of([group.Line("alps/one")]) == []


def test_the_summary_tells_area_trend_and_verdict(home, monkeypatch):
    run = home / "DeepLearning/runs/alps@two-UNet-001"
    for stem, counts in (("forecast", {}), ("evaluation", {"verdict": "It wins."})):
        (run / stem).mkdir(parents=True)
        (run / stem / pages.SECTION).write_text("<h2>x</h2>")
        runner.write_manifest(run / stem, {}, {}, [run / stem / pages.SECTION], counts, 0)
    rows = ["quantity,part,observed_pixels,p50,first_day"]
    rows += [
        f"snow_covered_area,past,9,{10 - year / 2},{2010 + year}-0{month}-01"
        for year in range(8)
        for month in (1, 7)
    ]
    (run / "forecast/snow.csv").write_text("\n".join(rows))
    line = group.line_of("alps/two", "")
    assert line.snow_covered_area == "8.25 km²"
    assert line.trend.startswith("-0.5 [")
    assert line.forecast == "It wins."


@pytest.mark.parametrize(("task", "name"), [(1, "alps/bad"), (3, "alps/two")])
def test_a_task_of_the_array_in_the_docs_runs_one_glacier(home, tmp_path, task, name):
    """The batch script as it stands, with a `python` that only says what it was asked."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "docs/cluster.md").read_text(), re.S)
    (script,) = [block for block in blocks if "--array" in block]
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/activate").write_text('python() { echo "$@"; }')
    (tmp_path / "glacier").symlink_to(home)
    variables = {"SCRATCH": str(tmp_path), "SLURM_ARRAY_TASK_ID": str(task)}
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | variables,
    )
    scripts = ("dataAPI", "alignment", "createPatches", "movement")
    expected = [f"{stage}.py --name={name} --workers=4" for stage in scripts]
    assert done.stdout.splitlines() == expected, done.stderr
