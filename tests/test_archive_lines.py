"""Lines that help: what a new user gets wrong is named with its cause and the way out; commands can be pasted."""

import logging
import os
import shlex
import subprocess
import sys

import numpy as np
import pytest
from archives import Archive, box_around, landsat_layers
from conftest import ROOT

import config
import dataAPI
from config import Config, GlacierError
from glacier import console, stages
from glacier.storage import runner


def refused(*argv: str, **keywords) -> str:
    with pytest.raises(GlacierError) as caught:
        config.load(Config, list(argv), **keywords)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    monkeypatch.setattr(console, "_given", [])
    return tmp_path


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (
            ["--boundingBox=33,120,34,121"],
            "if latitude came first, give --boundingBox=120,33,121,34",
        ),
        (["--boundingBox=-53.4,-171.6,-53,-170.8"], "give --boundingBox=-171.6,-53.4,-170.8,-53"),
        (["--boundingBox=77.4 31.9 77.8 32.2"], "write --boundingBox=77.4,31.9,77.8,32.2"),
        (
            ["--boundingBox=77.4,", "31.9,", "77.8,", "32.2"],
            "write --boundingBox=77.4,31.9,77.8,32.2",
        ),
        (
            ["--boundingBox=-71.6", "-53.4", "-70.8", "-53.0"],
            "write --boundingBox=-71.6,-53.4,-70.8,-53.0",
        ),
        (["--boundingBox=77.4;31.9;77.8;32.2"], "write --boundingBox=77.4,31.9,77.8,32.2"),
        (["--years=2013-2022"], "write --years=2013,2022"),
        (["--years=2013 2022"], "write --years=2013,2022"),
        (["--years=2013:2022"], "write --years=2013,2022"),
        (["--years=2013..2022"], "write --years=2013,2022"),
        (["--patchSize=20", "--stride=30"], "lower stride or raise patchSize"),
    ],
)
def test_wrong_values_say_what_to_write(argv, says):
    assert says in refused(*argv)


def test_tabs_in_a_file_of_settings(home):
    folder = home / "datasets" / "tabs"
    folder.mkdir(parents=True)
    (folder / "glacier.yaml").write_text("years: [2013, 2014]\nboundingBox:\n\t- 77.1\n")
    line = refused("--name=tabs")
    assert "glacier.yaml" in line
    assert "line 3 holds a tab; YAML takes blanks only" in line


def test_a_box_of_a_few_pixels():
    cfg = config.load(Config, [], name="small", boundingBox=(77.5, 32.0, 77.501, 32.001))
    with pytest.raises(GlacierError, match=r"boundingBox is \d x \d px of 30 m: too small"):
        dataAPI.run(cfg)


def test_a_home_may_begin_with_a_tilde(monkeypatch, tmp_path):
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GLACIER_HOME", "~/data")
    assert config.home() == tmp_path / "data"
    monkeypatch.setenv("GLACIER_HOME", "")
    with pytest.raises(GlacierError, match="GLACIER_HOME"):
        config.home()


# ── Commands that can be pasted ──────────────────────────────────────────────────────────────────────────────────


def test_commands_are_quoted_and_repeat_the_flags_given():
    argv = ["--name=my glacier's", "--pixelSize=300", "--years", "2013,2014", "--force", "--dryRun"]
    console.remember_flags(Config, argv)
    words = shlex.split(console.command("alignment.py", "my glacier's"))
    assert words == [
        "python",
        "alignment.py",
        "--name=my glacier's",
        "--pixelSize=300",
        "--years=2013,2014",
    ]
    assert config.load(Config, words[2:]).years == (2013, 2014)


CRS, CORNER = "EPSG:32643", (500_025.0, 3_550_005.0)


@pytest.fixture
def glacier(home, monkeypatch) -> Archive:
    """An archive of one scene."""
    monkeypatch.setattr(dataAPI, "describe", lambda *arguments: [])  # no pictures here
    archive = Archive(home / "made")
    layers = landsat_layers(np.full((60, 60), 9000, np.uint16))
    thin = {key: layers[key] for key in ("green", "swir16", "qa_pixel")}
    archive.add("one", "landsat-8-9", "2020-05-01T05:00:00Z", thin, CRS, CORNER)
    return archive


def test_a_stage_made_otherwise_is_made_again_by_the_command_it_names(glacier):
    """Another pixel size: the command that is named makes the scenes anew, and the next one goes through."""
    box = box_around(CRS, *CORNER, 1800, 1800)
    made_before = glacier.settings(box, "landsat-8-9")
    assert dataAPI.run(made_before) == 0
    flags = [
        f"--source={made_before.source}",
        f"--boundingBox={','.join(map(str, box))}",
        "--years=2000,2024",
        "--maxMissingFraction=1",
        "--pixelSize=60",
    ]
    console.remember_flags(Config, ["--name=made", *flags])
    cfg = config.load(Config, ["--name=made", *flags])
    with pytest.raises(GlacierError) as caught:
        runner.need(cfg, stages.RAW_DATA)
    words = shlex.split(str(caught.value).split("run first: ")[1])
    assert words == ["python", "dataAPI.py", "--name=made", *flags]
    assert dataAPI.run(config.load(Config, words[2:])) == 0
    assert runner.need(cfg, stages.RAW_DATA)


def test_a_misspelt_name_lists_the_glaciers(glacier):
    assert dataAPI.run(glacier.settings(box_around(CRS, *CORNER, 1800, 1800), "landsat-8-9")) == 0
    with pytest.raises(
        GlacierError, match=r"no glacier 'mad' .*did you mean made\?; there is: made"
    ):
        runner.need(config.load(Config, [], name="mad"), stages.RAW_DATA)
    (config.home() / "datasets" / "made" / "glacier.yaml").write_text("boundingBox: [1, 2, 3, 4]")
    with pytest.raises(GlacierError, match=r"did you mean made\? \(glaciers with one: made\)"):
        dataAPI.run(config.load(Config, [], name="mad"))


def test_names_of_an_archive_do_not_steer_the_terminal(capsys):
    record = logging.LogRecord(
        "x", logging.INFO, "", 0, "scene \x1b[2J\x07 of\n%s", ("\x9b31m",), None
    )
    assert console.Careful("%(message)s").format(record) == "scene \\x1b[2J\\x07 of\n\\x9b31m"
    console.complain("error: \x1b[31m")
    assert capsys.readouterr().err == "error: \\x1b[31m\n"


# ── The environment ──────────────────────────────────────────────────────────────────────────────────────────────


def test_data_of_other_installations_and_an_ascii_locale_change_nothing(tmp_path):
    """QGIS or conda name their PROJ and GDAL data, the locale knows ASCII only: stage 1 works."""
    (tmp_path / "proj.db").write_bytes(b"of another version")
    names = ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH")
    environment = os.environ | dict.fromkeys(names, str(tmp_path))
    environment |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment |= {"GLACIER_HOME": str(tmp_path)}
    for words in (
        (
            "demo/makeGlacier.py",
            "--name=moell",
            "--size=64",
            "--years=2014,2014",
            "--scenesPerYear=2",
        ),
        ("dataAPI.py", "--name=moell", "--dryRun"),
    ):
        done = subprocess.run(
            [sys.executable, str(ROOT / words[0]), *words[1:]],
            capture_output=True,
            env=environment,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        with open(tmp_path / "datasets" / "moell" / "glacier.yaml", "ab") as file:
            file.write("# Mölltal\n".encode())
    assert b"32643" in done.stdout


SCRIPTS = [
    *(name for name in map(str, ROOT.glob("*.py")) if not name.endswith("config.py")),
    *map(str, (ROOT / "DeepLearning").glob("[a-z]*.py")),
    str(ROOT / "demo" / "makeGlacier.py"),
]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda name: name.rpartition("/")[2])
def test_a_python_without_the_packages_says_which_to_take(script, tmp_path):
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-S", script],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "source .venv/bin/activate" in done.stderr


@pytest.mark.parametrize(
    ("lack", "says"),
    [
        ("sys.version_info = (3, 9)", "Python 3.11 or newer is needed"),
        ("sys.modules['ensurepip'] = None", "lacks venv; on Debian or Ubuntu: sudo apt install"),
    ],
)
def test_make_refuses_a_python_that_cannot_do_it_before_anything_is_installed(tmp_path, lack, says):
    poor = tmp_path / "poorpython"
    poor.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; {lack}; exec(sys.argv[1])" "$2"\n'
    )
    poor.chmod(0o755)
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    for name in ("requirements.txt", "constraints.txt"):
        (tmp_path / name).touch()
    done = subprocess.run(
        ["make", "-C", str(tmp_path), ".venv/ready", f"PYTHON={poor}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert says in line
    assert "Setting up" not in done.stdout
    assert not (tmp_path / ".venv").exists()


def test_help_into_a_pipe_that_closes():
    done = subprocess.run(
        f"{sys.executable} {ROOT / 'dataAPI.py'} --help | head -1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.stdout.startswith("Stage 1")
    assert done.returncode in (0, 141)
