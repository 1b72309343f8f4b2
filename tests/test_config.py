"""Settings: where each comes from, and what is said of a wrong one."""

import dataclasses

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
    lines = {line.split()[0]: line for line in said}
    assert "glacier.yaml" in lines["patchSize"]
    assert "extra.yaml" in lines["stride"]
    assert "flag" in lines["horizon"]
    assert "sequenceLength" not in lines


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
