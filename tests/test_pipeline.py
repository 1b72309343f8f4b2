"""The commands of the README, as a user types them, on a small demo glacier: they run, rerun, survive and refuse."""

import itertools
import json
import re
import resource
import shutil
import signal
import subprocess
import time
from datetime import date
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import xarray
import yaml
from conftest import (
    ARTEFACTS,
    ROOT,
    TRAINING,
    begin,
    command,
    copy_home,
    mend_manifest,
    readme_commands,
    run_folder,
    typed,
)
from rasterio import open as open_raster
from rasterio.warp import transform_bounds

import config
import glacier
from config import Config
from DeepLearning.models import MODELS
from glacier.report.glossary import GLOSSARY
from glacier.satellites.sensors import SENSORS
from glacier.storage import disk

STAGES = {
    "rawData": ("dataAPI.py",),
    "aligned": ("alignment.py",),
    "patches": ("createPatches.py",),
}


def outputs(home, stage) -> dict:
    """What the manifest of a stage says of its files, and that they are what it says."""
    folder = home / "datasets" / "small" / stage
    made = yaml.safe_load((folder / "manifest.yaml").read_text())["outputs"]
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {"manifest.yaml", *made}
    return made


def test_the_readmes_commands_make_a_table_and_a_forecast_at_the_right_place(finished_home):
    run = run_folder(finished_home)
    table = (run / "evaluation" / "scores.csv").read_text()
    for name in ("AttentionLSTM", "climatology", "persistence"):
        assert name in table
    forecast = next(run.rglob("forecast.tif"))
    with open_raster(forecast) as file:
        assert file.count == 4 * 7  # steps, and of each P(snow), median, mean and four quantiles
        assert file.crs.to_epsg() == 32643
        west, south, east, north = transform_bounds(file.crs, "EPSG:4326", *file.bounds)
        box = yaml.safe_load((finished_home / "datasets/small/glacier.yaml").read_text())[
            "boundingBox"
        ]
        assert (west, south, east, north) == pytest.approx(box, abs=0.002)
        spans = [file.tags(band)["DATES"] for band in (1, 8, 15, 22)]
        assert spans == [
            "2018-01-01/2018-03-31",
            "2018-04-01/2018-06-30",
            "2018-07-01/2018-09-30",
            "2018-10-01/2018-12-31",
        ]


def seconds_of_children() -> float:
    """The processor time of finished child processes, which other programs do not lengthen."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_run_again_each_command_is_up_to_date_within_five_seconds_and_names_the_next(finished_home):
    """As typed; 1 to 3 seconds on a machine of its own, twice as many where others share its cores."""
    commands = readme_commands()
    for words, following in itertools.zip_longest(commands, commands[1:]):
        start = seconds_of_children()
        printed = typed(finished_home, *words, *(TRAINING if "train" in words[0] else ()))
        assert seconds_of_children() - start < 5 * 2
        assert "up to date" in printed
        named = re.search("^Next: python (.*)$", printed, re.M)
        if following is not None:
            assert named[1].split() == following


def test_the_readme_names_only_commands_that_a_test_runs():
    text = (ROOT / "README.md").read_text()
    fenced = [
        line.split(" #")[0].strip()
        for block in re.findall(r"```bash\n(?!#!)(.*?)```", text, re.S)
        for line in block.splitlines()
        if not line.startswith("#")
    ]  # but the batch script, for want of a cluster
    run = {"python " + " ".join(words).replace("small", "parvati") for words in readme_commands()}
    assert set(fenced) - run == {
        "git clone ADDRESS glacier",
        "cd glacier",
        "make demo",
        "make test",
        "jupyter lab getCoordinatesFromMap.ipynb",
        "torchrun --nproc_per_node=2 DeepLearning/trainConvLSTM.py --name=parvati",
    }
    assert set(re.findall("`(python [^`]*)`", text)) <= {
        "python dataAPI.py --name=parvati --dryRun=True",
        "python DeepLearning/evaluate.py --name=parvati --run=all",
    }
    for link in re.findall(r"\]\(([^)]+)\)", text) + re.findall('src="([^"]+)"', text):
        heading = f"## {link[1:].capitalize()}\n"
        assert (ROOT / link).is_file() or (link.startswith("#") and heading in text), link


def test_the_readmes_glossary_is_the_reports():
    lines = (ROOT / "README.md").read_text().partition("## Glossary\n\n")[2].partition("\n\n")[0]
    words = [f"- **{word}**: {meaning}" for word, meaning in GLOSSARY.items()]
    assert lines.splitlines() == words
    assert len(words) == 10


def test_the_readmes_example_is_a_glacier_yaml(tmp_path, monkeypatch):
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    folder = tmp_path / "datasets" / "parvati"
    folder.mkdir(parents=True)
    (folder / "glacier.yaml").write_text(block)
    assert config.load(Config, name="parvati") == Config()
    (folder / "glacier.yaml").write_text(block.replace("# iceOutline", "iceOutline"))
    assert config.load(Config, name="parvati").iceOutline == f"{folder}/rgi.shp:ID"


def test_the_readme_names_every_setting_satellite_and_network():
    text = (ROOT / "README.md").read_text()
    for name in (
        *Config.__dataclass_fields__,
        *SENSORS,
        *(f"train{network}.py" for network in MODELS),
    ):
        assert f"`{name}`" in text or f"`--{name}" in text, name


def test_make_demo_runs_the_readmes_commands():
    steps = subprocess.run(
        ["make", "-n", "demo"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    scripts = re.findall(r"python (\S+\.py) --name=demo", steps)
    assert scripts == ["demo/makeGlacier.py", *(words[0] for words in readme_commands())]


def test_the_report_shows_every_stage(finished_home):
    page = (finished_home / "datasets" / "small" / "report.html").read_text()
    run = run_folder(finished_home).name
    assert re.findall("<h2>(.*?)</h2>", page) == [
        "Look around",
        "Scenes",
        "Co-registration and composites",
        "Patches and split",
        "Movement",
        f"Training: {run}",
        f"Scores: {run}",
        f"Forecast: {run}",
        "Glossary",
    ]
    for told in (
        "dropped: ",
        "shared pixel times",
        "skill vs climatology",
        "[m/yr]",
        "numpy: ",
        "LC08_",
        "Median speed of the ice",
    ):
        assert told in page, told


@pytest.mark.parametrize(("device", "width"), [("desktop", 1200), ("phone", 390)])
def test_the_report_is_whole_on_a_screen_and_on_a_phone(finished_home, browser, device, width):
    page = browser.new_page(viewport={"width": width, "height": 850})
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((finished_home / "datasets" / "small" / "report.html").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    page.screenshot(path=ARTEFACTS / f"report-{device}.png", full_page=True)
    pictures = page.evaluate(
        "[...document.images].map(image => [image.naturalWidth, image.clientWidth, image.alt])"
    )
    assert len(pictures) >= 10
    assert all(own > 0 and shown <= width and alt for own, shown, alt in pictures)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert [address for address in asked if not address.startswith(("file:", "data:"))] == []
    page.close()


def test_map_programs_find_what_the_stages_made(finished_home, monkeypatch):
    """composites.tif and small.nc hold the arrays of the stages, by date."""
    folder = finished_home / "datasets" / "small"
    composites = np.load(folder / "aligned" / "composites.npy")
    dates = json.loads((folder / "aligned" / "composites.json").read_text())["dates"]
    with rasterio.open(folder / "aligned" / "composites.tif") as file:
        assert np.array_equal(file.read(), composites[:, 0])
        assert [file.tags(band)["DATES"][:10] for band in file.indexes] == dates
    monkeypatch.setenv("GLACIER_HOME", str(finished_home))
    opened = glacier.open("small")
    assert np.array_equal(opened.composites.ndsi, composites[:, 0])
    with rasterio.open(folder / "movement" / "velocity.tif") as file:
        speed = file.read(file.descriptions.index("speed") + 1)
    assert np.array_equal(opened.velocity.speed, speed, equal_nan=True)


def test_gdal_and_xarray_open_every_file(finished_home):
    """Each says where it lies, what its bands are, their unit and their dates; QGIS has colours for the main ones."""
    maps = [path for path in finished_home.rglob("*.tif") if "archive" not in path.parts]
    styled = {path.name for path in maps if path.with_suffix(".qml").is_file()}
    assert styled == {"velocity.tif", "composites.tif", "forecast.tif"}
    for path in maps:
        with rasterio.open(path) as file:
            assert file.crs.is_projected
            assert np.isnan(file.nodata)
            assert all(file.descriptions)
            assert all(file.units)
            tags = [file.tags()] + [file.tags(band) for band in file.indexes]
        texts = [tag.get("DATES", tag.get("PERIOD", "")) for tag in tags]
        spans = [text.split("/") for text in texts if text]
        assert spans, path.name
        assert all(date.fromisoformat(first) <= date.fromisoformat(last) for first, last in spans)
        if path.with_suffix(".qml").is_file():
            style = ElementTree.parse(path.with_suffix(".qml")).getroot()
            renderer = style.find("pipe/rasterrenderer")
            assert renderer.get("type") == "singlebandpseudocolor"
            assert 1 <= int(renderer.get("band")) <= len(tags) - 1
    arrays = [path for path in finished_home.rglob("*.nc") if "archive" not in path.parts]
    assert {path.name for path in arrays} == {"small.nc", "velocity_series.nc"}
    for path in arrays:
        with xarray.open_dataset(path, decode_coords="all") as dataset:
            assert dataset.data_vars
            assert any("bounds" in name or "bnds" in name for name in dataset.variables)
            for values in dataset.data_vars.values():
                assert "units" in values.attrs


def test_the_report_prints_on_twelve_pages_and_can_be_sent(finished_home, browser):
    path = finished_home / "datasets" / "small" / "report.html"
    assert path.stat().st_size < 8_000_000
    page = browser.new_page()
    page.goto(path.as_uri())
    printed = page.pdf(format="A4")
    page.close()
    assert len(re.findall(rb"/Type\s*/Page[^s]", printed)) <= 12


def test_another_learning_rate_trains_and_reads_nothing_again(finished_home, tmp_path):
    home = copy_home(finished_home, tmp_path)
    before = {
        stage: (home / "datasets/small" / stage / "manifest.yaml").stat().st_mtime_ns
        for stage in STAGES
    }
    for words in readme_commands()[:5]:
        printed = command(
            home, *words, *((*TRAINING, "--learningRate=0.002") if "train" in words[0] else ())
        )
        assert ("up to date" in printed) == ("train" not in words[0])
    assert before == {
        stage: (home / "datasets/small" / stage / "manifest.yaml").stat().st_mtime_ns
        for stage in STAGES
    }
    assert len(list((home / "DeepLearning" / "runs").iterdir())) == 2


def test_other_steps_a_year_align_again_and_say_why(finished_home, tmp_path):
    home = copy_home(finished_home, tmp_path)
    with open(home / "datasets" / "small" / "glacier.yaml", "a") as file:
        file.write("stepsPerYear: 6\n")
    says = refused(home, "createPatches.py", "--name=small")
    assert "now it is 6; set stepsPerYear back, or run first: python alignment.py" in says
    assert "up to date" in command(home, "dataAPI.py", "--name=small")
    assert "stepsPerYear changed from 4 to 6" in command(home, "alignment.py", "--name=small")
    assert "input aligned changed" in command(home, "createPatches.py", "--name=small")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_killed_in_the_middle_and_run_again_ends_in_the_same_bytes(
    finished_home, tmp_path, stage
):
    expected = outputs(finished_home, stage)
    home = copy_home(finished_home, tmp_path)
    shutil.rmtree(home / "datasets" / "small" / stage)
    kill_after_progress(home, STAGES[stage])
    assert not (home / "datasets" / "small" / stage / "manifest.yaml").exists()
    command(home, *STAGES[stage], "--name=small")
    assert outputs(home, stage) == expected


def test_a_training_killed_in_the_middle_and_run_again_ends_in_the_same_bytes(
    finished_home, tmp_path
):
    home = copy_home(finished_home, tmp_path)
    shutil.rmtree(home / "DeepLearning")
    kill_after_progress(home, ("DeepLearning/trainAttentionLSTM.py", *TRAINING), r"epoch +1")
    run = run_folder(home)
    assert not (run / "manifest.yaml").exists()
    command(home, "DeepLearning/trainAttentionLSTM.py", "--name=small", *TRAINING)
    for name in ("metrics.csv", "best.pt", "last.pt"):
        assert (run / name).read_bytes() == (run_folder(finished_home) / name).read_bytes(), name


def kill_after_progress(home, words, pattern=r"\d+/\d+, "):
    """Start a command and SIGKILL it at its first line of progress."""
    process = begin(home, words[0], "--name=small", *words[1:])
    end = time.monotonic() + 120
    while not re.search(pattern, process.printed()) and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, process.printed()


def refused(home, *words) -> str:
    """Run a command that must be refused: exit code 2 and one line of error, which is returned."""
    printed = command(home, *words, code=2)
    assert "Traceback" not in printed
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert printed.splitlines()[-1:] == errors
    return errors[0]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("dataAPI.py", "--boundingBox=77.8,32.2,77.4,31.9"), "west < east"),
        (
            ("dataAPI.py", "--boundingBox=77,91,78,92"),
            "boundingBox is west, south, east, north in degrees",
        ),
        (("alignment.py", "--years=2017,2013"), "the first and the last year"),
        (("createPatches.py", "--patchsize=32"), "did you mean patchSize"),
        (("DeepLearning/trainAttentionLSTM.py", "--learningrate=1"), "did you mean learningRate"),
        (("alignment.py",), "run first: python dataAPI.py --name=small"),
        (("createPatches.py",), "run first: python alignment.py --name=small"),
        (
            ("DeepLearning/trainAttentionLSTM.py",),
            "run first: python createPatches.py --name=small",
        ),
        (("DeepLearning/evaluate.py",), "python"),
        (("DeepLearning/forecast.py",), "python"),
        (("dataAPI.py", "--years=1990,1991"), "no scene found"),
        (("dataAPI.py", "--boundingBox=10,50,10.1,50.1"), "no scene found"),
        (("dataAPI.py", "--source=nowhere/catalog.json"), "does not exist"),
        (("dataAPI.py", "--sensor=landsat-89"), "did you mean landsat-8-9"),
    ],
)
def test_bad_input_is_one_line(demo_home, tmp_path, words, says):
    assert says in refused(copy_settings(demo_home, tmp_path), words[0], "--name=small", *words[1:])


def copy_settings(demo_home, tmp_path):
    """A home that shares the archive of the demo but has settings of its own."""
    folder = tmp_path / "datasets" / "small"
    folder.mkdir(parents=True)
    settings = yaml.safe_load((demo_home / "datasets/small/glacier.yaml").read_text())
    settings["source"] = str(demo_home / "datasets/small/archive/catalog.json")
    (folder / "glacier.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--patchSize=500",), "larger than the scene of 96 x 96 px"),
        (("--sequenceLength=12",), r"has 20 composites, too few: .* need 24"),
    ],
)
def test_patches_that_do_not_fit_are_refused_and_nothing_is_lost(
    finished_home, tmp_path, flags, says
):
    home = copy_home(finished_home, tmp_path)
    assert re.search(says, refused(home, "createPatches.py", "--name=small", *flags))
    assert "up to date" in command(home, "createPatches.py", "--name=small")


def test_a_truncated_or_evil_pickle_is_refused(finished_home, tmp_path):
    home = copy_home(finished_home, tmp_path)
    path = home / "datasets" / "small" / "rawData" / "2014.pkl"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "truncated" in refused(home, "alignment.py", "--name=small", "--force")
    manifest = path.with_name("manifest.yaml").read_text()
    evil = b"cos\nsystem\n(S'touch " + str(tmp_path).encode() + b"/harmed'\ntR."
    path.write_bytes(evil + b"." * (len(whole) - len(evil)))
    assert "is not what was written" in refused(home, "alignment.py", "--name=small", "--force")
    mend_manifest(path.parent)  # so that it is opened
    assert "refused" in refused(home, "alignment.py", "--name=small", "--force")
    assert not (tmp_path / "harmed").exists()
    path.write_bytes(whole)
    path.with_name("manifest.yaml").write_text(manifest)
    assert "up to date" in command(home, "dataAPI.py", "--name=small")


def test_a_split_of_another_length_is_caught_before_training(finished_home, tmp_path):
    home = copy_home(finished_home, tmp_path)
    path = home / "datasets" / "small" / "patches" / "splits.yaml"
    length = path.stat().st_size
    path.write_text(path.read_text() + "\n")
    printed = refused(home, "DeepLearning/trainAttentionLSTM.py", "--name=small", *TRAINING)
    assert f"splits.yaml has {length + 1} bytes instead of {length}" in printed


def test_a_split_changed_by_hand_is_proved_again_before_training(finished_home, tmp_path):
    """A training and a test window trade places, and the manifest agrees: only the proof can tell."""
    home = copy_home(finished_home, tmp_path)
    path = home / "datasets" / "small" / "patches" / "splits.yaml"
    length, content = path.stat().st_size, yaml.safe_load(path.read_text())
    parts = {part: window for window, part in content["windows"].items()}
    content["windows"] |= {parts["train"]: "test", parts["test"]: "train"}
    disk.write_yaml(path, content)
    assert path.stat().st_size == length
    mend_manifest(path.parent)
    printed = refused(home, "DeepLearning/trainAttentionLSTM.py", "--name=small", *TRAINING)
    assert "lets test or validation pixels into training" in printed


def test_dry_run_counts_and_reads_nothing(demo_home, tmp_path):
    home = copy_settings(demo_home, tmp_path)
    printed = command(home, "dataAPI.py", "--name=small", "--dryRun=True")
    assert re.search(r"2015 +\d+ +\d+ +[\d.]+", printed)
    assert "Nothing was read" in printed
    assert not (home / "datasets" / "small" / "rawData").exists()
