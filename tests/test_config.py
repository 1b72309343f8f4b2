"""Settings: where each comes from, and what is said of a wrong one."""

import dataclasses
from pathlib import Path

import pytest

import config
from config import Config, GlacierError, load


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    return tmp_path


def overlay(home, text):
    path = home / "datasets" / "ridge" / "glacier.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_later_place_wins_and_is_named(home):
    overlay(home, "patchSize: 20\nstride: 5\nhorizon: 2\n")
    extra = home / "extra.yaml"
    extra.write_text("stride: 6\nhorizon: 3\n")
    said = []
    cfg = load(
        Config, ["--name=ridge", f"--config={extra}", "--horizon=1"], say=said.append, workers=2
    )
    assert (cfg.patchSize, cfg.stride, cfg.horizon, cfg.workers, cfg.sequenceLength) == (
        20,
        6,
        1,
        2,
        4,
    )
    words = " ".join(said).split()
    places = [number for number, word in enumerate(words) if word.endswith(":")]
    told = {}
    for start, end in zip(places, [*places[1:], len(words)], strict=True):
        told[Path(words[start]).name] = words[start + 1 : end]
    assert told == {
        "glacier.yaml:": ["patchSize=20"],
        "extra.yaml:": ["stride=6"],
        "flag:": ["name=ridge", "horizon=1"],
        "keyword:": ["workers=2"],
    }


def test_paths_below_the_present_folder_begin_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config.near(f"Wrote {tmp_path}/runs/a b.csv.") == "Wrote runs/a b.csv."
    assert config.near(f"in {tmp_path}") == f"in {tmp_path}"
    assert config.near(f"/disk{tmp_path}/x {tmp_path}2/x") == f"/disk{tmp_path}/x {tmp_path}2/x"
    monkeypatch.chdir("/")
    assert config.near("/etc/x") == "/etc/x"


def test_the_block_of_settings_is_short(home):
    """What equals the default is not told; long lines go on in the next; values can be pasted as flags."""
    overlay(
        home, "boundingBox: [-106.9251759, 40.279843, -106.9031935, 40.296677]\npatchSize: 50\n"
    )
    said = []
    platforms = ",".join(f"satellite-{number}" for number in range(9))
    flags = ["--name=ridge", f"--platforms={platforms}", "--snowThreshold=None", "--stride=8"]
    cfg = load(Config, flags, say=said.append)
    assert all(len(line) <= 100 or " " not in line.strip() for line in said)
    told = " ".join(said).split()
    assert "patchSize=50" not in told
    again = [f"--{word}" for word in told if "=" in word]
    assert load(Config, again) == cfg


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("years=2015,2016", (2015, 2016)),
        ("years=[2015, 2016]", (2015, 2016)),
        ("snowThreshold=None", None),
        ("stoppingCriterion=1e-3", 1e-3),
        ("extractNDSI=false", False),
        ("platforms=terra", ("terra",)),
        ("boundingBox=-71.6,-53.4,-70.8,-53", (-71.6, -53.4, -70.8, -53.0)),
        ("maxCloudPercent=100", 100.0),
    ],
)
def test_flags_are_read_as_the_type_of_their_setting(text, value):
    got = getattr(load(Config, [f"--{text}"]), text.split("=")[0])
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--boundingBox=78,32,77,33", "west < east"),
        ("--boundingBox=77,91,78,92", "degrees"),
        ("--boundingBox=1,2,3", "boundingBox"),
        ("--years=2022,2013", "first and the last"),
        ("--patchSze=3", "did you mean patchSize"),
        ("--patchSize=2.5", "whole number"),
        ("--patchSize=2", "at least 4"),
        ("--maxCloudPercent=120", "from 0 to 100"),
        ("--motionModel=afine", "did you mean affine"),
        ("--name=../x", "plain folder name"),
        ("--testFraction=0.6 --validationFraction=0.5", "leave steps to train"),
        ("--extractNDSI=maybe", "True or False"),
        ("--config=nowhere.yaml", "nowhere.yaml"),
        ("patchSize=3", "--setting=value"),
        ("--maxCloudPercent=nan", "number"),
    ],
)
def test_a_wrong_setting_is_one_line_that_says_the_rule(flag, says):
    with pytest.raises(GlacierError, match=says) as error:
        load(Config, flag.split())
    assert "\n" not in str(error.value)


def test_an_unknown_setting_of_a_file_names_the_file(home):
    path = overlay(home, "patchsize: 20\n")
    with pytest.raises(GlacierError, match="patchSize") as error:
        load(Config, ["--name=ridge"])
    assert str(path) in str(error.value)


def test_a_damaged_file_of_settings_is_one_line(home):
    overlay(home, "years: [2013, \n  : x")
    with pytest.raises(GlacierError, match="not valid YAML") as error:
        load(Config, ["--name=ridge"])
    assert "\n" not in str(error.value)


def test_paths_are_seen_from_the_file_they_stand_in(home, monkeypatch):
    overlay(home, "source: archive/catalog.json\n")
    assert load(Config, ["--name=ridge"]).source == str(
        home / "datasets" / "ridge" / "archive" / "catalog.json"
    )
    monkeypatch.chdir(home)
    assert load(Config, ["--source=catalog.json"]).source == str(home / "catalog.json")
    assert load(Config, ["--source=https://stac.test/v1"]).source == "https://stac.test/v1"
    assert load(Config, []).source == "planetary-computer"


def test_settings_do_not_change_and_help_names_each():
    cfg = load(Config, [])
    with pytest.raises(dataclasses.FrozenInstanceError):
        cfg.patchSize = 3
    page = config.usage(Config)
    assert all(f"--{field.name}=" in page for field in dataclasses.fields(Config))
