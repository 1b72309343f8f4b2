"""Settings of every kind of wrong: each is one line that says what is wrong, and nothing hangs or fills the memory."""

import logging
import os
import subprocess
import sys
import time

import pytest
from conftest import ROOT, environment

import config
from config import Config, GlacierError, load
from glacier import console
from glacier.storage import disk, runner


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    return tmp_path


def refused(*argv: str) -> str:
    """Return the one line with which flags are refused."""
    start = time.process_time()
    with pytest.raises(GlacierError) as error:
        load(Config, list(argv))
    assert time.process_time() - start < 2
    line = str(error.value)
    assert "\n" not in line
    assert len(line) < 1000
    return line


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--pixelSize=inf", "finite"),
        ("--pixelSize=-inf", "finite"),
        ("--maxVelocity=nan", "finite"),
        ("--pixelSize=1e999", "finite"),
        ("--patchSize=" + "9" * 6000, "whole number"),
        ("--patchSize=" + "9" * 20, "whole number"),
        ("--pixelSize=" + "9" * 6000, "number"),
        ("--years=2013,99999999999", "from 1900 to 2200"),
        ("--years=2013,1e400", "whole number"),
        ("--workers=100000000", "from 1 to 512"),
        ("--boundingBox=inf,1,2,3", "finite"),
        ("--name=" + "x" * 256, "bytes"),
        ("--name=" + "é" * 80, "bytes"),
        ("--name=a\tb", "control characters"),
        ("--name=..", "plain folder name"),
        ("--name=", "plain folder name"),
        ("--name=a\\b", "plain folder name"),
        ("--source=x\x1b[31mred", "control characters"),
        ("--collection=" + "x" * 100_000, "at most"),
        ("--patchSize=[1", "whole number"),
        ("--patchSize=1:30", "whole number"),
        ("--patchSize={a: 1}", "whole number"),
        ("--config=/dev/zero", "is no file"),
        ("--config=/", "is no file"),
        ("--config=/tmp/" + "x" * 300, "too long"),
    ],
)
def test_a_wrong_flag_is_one_line(flag, says):
    assert says in refused(flag)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("patchSize: 20\npatchSize: 30\n", "line 2: 'patchSize' is given twice"),
        ("years: [2013, 2014]\n? years\n: [2015, 2016]\n", "given twice"),
        ("name: &a x\ncollection: *a\n", "references"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "references"),
        ("years: " + "[" * 50_000, "deep"),
        ("- " * 30_000 + "x", "deep"),
        ("patchSize: " + "9" * 6000, "valid YAML|larger"),
        ("pixelSize: .inf\n", "finite"),
        ("pixelSize: .nan\n", "finite"),
        ("patchSize: {a: 1}\n", "a dict"),
        ("1: 2\n", "unknown setting"),
        ("[a, b]: 2\n", "valid YAML|unknown setting"),
        ("!!python/object/apply:os.system [touch harmed]\n", "valid YAML"),
        ("name: !!binary aGFybQ==\n", "text"),
        ("years: 2013-01-01\n", "whole number"),
        ("just text\n", "setting: value"),
        ("patchSize: 20\n" * 100_000, "too many"),
        ("\x00", "valid YAML"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(home, text, says):
    path = home / "settings.yaml"
    path.write_text(text)
    line = refused(f"--config={path}")
    assert "settings.yaml" in line
    assert any(part in line for part in says.split("|")), line
    assert not (home / "harmed").exists()


def test_files_that_are_no_text_are_refused(home):
    path = home / "settings.yaml"
    path.write_bytes(b"name: \xff\xfe")
    assert "settings.yaml" in refused(f"--config={path}")
    path.write_bytes(b"# " + b"x" * 10_000_000)
    assert "too many" in refused(f"--config={path}")
    path.unlink()
    os.mkfifo(path)
    assert "is no file" in refused(f"--config={path}")


@pytest.mark.parametrize("named", ["", " ", "/nowhere/at/all", "/dev/null", "/etc/hostname"])
def test_a_home_that_is_no_folder_is_one_line(monkeypatch, named):
    monkeypatch.setenv("GLACIER_HOME", named)
    assert "GLACIER_HOME" in refused("--name=ridge")


def test_without_a_home_the_project_is_it(monkeypatch):
    monkeypatch.delenv("GLACIER_HOME")
    assert config.home() == config.ROOT


@pytest.mark.parametrize(
    ("text", "value"),
    [("010", 10), ("1e2", 100), ("+17", 17), (" 17 ", 17), ("17.0", 17)],
)
def test_numbers_are_read_as_people_write_them(text, value):
    assert load(Config, [f"--patchSize={text}"]).patchSize == value


def test_secrets_of_addresses_are_left_out():
    for text, said in [
        ("https://user:word@host/a", "https://***@host/a"),
        (
            "see https://user:w@rd@host and s3://key@bucket!",
            "see https://***@host and s3://***@bucket!",
        ),
        ("https://host/a?mail=x@y.z", "https://host/a?mail=x@y.z"),
        ("mail x@y.z", "mail x@y.z"),
    ]:
        assert config.without_secrets(text) == said


def test_a_plain_terminal_and_a_strange_name_go_together(home):
    """With letters that the terminal does not know, the script still says what it has to say."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "createPatches.py"), "--name=Vedrétta"],
        env=environment(home) | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("log_as_before")
def test_the_password_of_an_address_reaches_no_line_and_no_file(home, monkeypatch, capsys):
    stage = runner.Stage("rawData", "dataAPI.py", (), "alignment.py")

    def work(cfg, folder):
        logging.getLogger("glacier.search").info("asking %s", cfg.source)
        return runner.Result([disk.write_json(folder / "record.json", {})])

    def run(cfg):
        runner.run_stage(cfg, stage, ("source",), work, runner.file_inputs(cfg, ["source"]))
        raise GlacierError(f"{cfg.source} did not answer")

    address = "--source=http://user:geheim@127.0.0.1:9/v1"
    monkeypatch.setattr(sys, "argv", ["script.py", "--name=ridge", address])
    assert console.main(run) == 2
    said = "".join(capsys.readouterr())
    assert said.count("http://***@127.0.0.1:9/v1") >= 3
    files = [path for path in home.rglob("*") if path.is_file()]
    assert files
    assert all(b"geheim" not in path.read_bytes() for path in files)
