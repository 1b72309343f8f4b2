"""Data, training, scores and forecasts on a small series whose statistics are known."""
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import yaml
from conftest import ROOT

import alignment
import config
import createPatches
import store
from config import Config, GlacierError
from DeepLearning import data, evaluate, forecast, tracking, training
from DeepLearning.baselines import climatology, persistence
from DeepLearning.trainAttentionLSTM import Settings, build

YEARS, SIDE, CARRY = 7, 48, 0.8
RUN = Path("DeepLearning/runs/toy-AttentionLSTM-001")
QUICK = {"name": "toy", "wandb": "disabled", "epochs": 3, "samplesPerEpoch": 64, "hidden": 16, "layers": 1}


def toy_series() -> tuple[np.ndarray, np.ndarray]:
    """Return a seasonal cycle plus departures of which a part CARRY stays from step to step; values and observed."""
    random = np.random.default_rng(0)
    cycle = 0.5 + 0.2 * np.sin(2 * np.pi * np.arange(4 * YEARS) / 4)[:, None, None]
    slope = 0.1 * np.linspace(-1, 1, SIDE)[None, :, None] + np.zeros((1, 1, SIDE))
    departures = np.zeros((4 * YEARS, SIDE, SIDE))
    for step in range(1, 4 * YEARS):
        departures[step] = CARRY * departures[step - 1] + 0.05 * random.standard_normal((SIDE, SIDE))
    observed = random.random((4 * YEARS, SIDE, SIDE)) > 0.1
    return (cycle + slope + departures).astype(np.float32)[:, None], observed


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks this small are faster without threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def toy_home(tmp_path_factory) -> Path:
    """A folder with datasets/toy: aligned and patches."""
    home = tmp_path_factory.mktemp("toy")
    folder = home / "datasets" / "toy" / "aligned"
    values, observed = toy_series()
    for name, array in (("composites", values), ("observed", observed)):
        with store.writing_array(folder / f"{name}.npy", array.shape, array.dtype) as out:
            out[:] = array
    dates = [str(alignment.step_date(2013 * 4 + step, 4)) for step in range(4 * YEARS)]
    record = {"steps_per_year": 4, "dates": dates, "counts": [3] * len(dates), "channels": ["ndsi"],
              "crs": "EPSG:32643", "transform": [30.0, 0.0, 600015.0, 0.0, -30.0, 3500025.0]}  # fmt: skip
    alignment.write_json(folder / "composites.json", record)
    store.write_manifest(folder, {"stepsPerYear": 4}, {}, folder.glob("composites.*"), {}, 0)
    settings = {"patchSize": 16, "stride": 8, "sequenceLength": 4, "horizon": 2, "years": [2013, 2019]}
    store.write_yaml(home / "datasets" / "toy" / "glacier.yaml", settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLACIER_HOME", str(home))
        createPatches.run(config.load(Config, name="toy"))
    return home


@pytest.fixture
def toy(toy_home, tmp_path, monkeypatch) -> Path:
    """The toy glacier with no run yet."""
    (tmp_path / "datasets").symlink_to(toy_home / "datasets")
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    return tmp_path


def settings(cls=Settings, **more):
    return config.load(cls, **(QUICK | more if cls is Settings else {"name": "toy"} | more))


@pytest.fixture(scope="module")
def trained_home(toy_home, tmp_path_factory) -> Path:
    """A folder with a quick finished run on the toy glacier."""
    home = tmp_path_factory.mktemp("trained")
    (home / "datasets").symlink_to(toy_home / "datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLACIER_HOME", str(home))
        assert training.train(settings(), build) == 0
    return home


@pytest.fixture
def trained(trained_home, toy) -> Path:
    """The folder of a finished run, the only one of the toy glacier."""
    shutil.copytree(trained_home / "DeepLearning", toy / "DeepLearning")
    return toy / RUN


# ── Data ─────────────────────────────────────────────────────────────────────────────────────────────────────────

def test_a_batch_is_the_series_cut_out(toy):
    glacier = data.Glacier(settings())
    batch = glacier.batch(np.array([[2, 1, 3]]))
    series, crop = glacier.series, np.s_[..., 8:24, 24:40]
    assert np.array_equal(batch.inputs[0], series.values[2:6][crop])
    assert np.array_equal(batch.targets[0], series.values[6:8][crop])
    assert np.array_equal(batch.observed[0, :, 0], series.observed[6:8][crop])
    assert np.array_equal(batch.context.mean[0], createPatches.climatology(series, 6, 2)[0][crop])
    assert np.array_equal(batch.context.year_ago[0], series.values[2:4][crop])
    assert batch.context.input_mean[0, 3].numpy() == pytest.approx(createPatches.climatology(series, 5, 1)[0][0][crop])
    assert batch.context.target_time[0].tolist() == pytest.approx([2014.5, 2014.75], abs=0.01)


def test_context_never_looks_ahead(toy):
    """Changing every step from the first target on changes nothing that a forecaster may know."""
    glacier, changed = data.Glacier(settings()), data.Glacier(settings())
    values = glacier.series.values.copy()
    values[14:] = 9
    changed.series = replace(glacier.series, values=values)
    before, after = glacier.scene_context(10), changed.scene_context(10)
    for name in vars(before):
        assert torch.equal(getattr(before, name), getattr(after, name)), name
    assert torch.equal(glacier.scene_inputs(10), changed.scene_inputs(10))


def test_samples_keep_the_parts_apart(toy):
    glacier = data.Glacier(settings())
    seen = {part: set(map(tuple, glacier.samples(part).tolist())) for part in ("train", "validation", "test")}
    assert all(seen.values())
    for part, samples in seen.items():
        assert {glacier.patches.windows[window].part for window, _, _ in samples} == {part}
        assert {glacier.patches.patch_parts[row, column] for _, row, column in samples} == {"train"}


def test_epochs_draw_anew_and_repeatably():
    samples = np.arange(30).reshape(10, 3)
    first = data.epoch_samples(samples, 6, seed=1, epoch=1)
    assert len(np.unique(first, axis=0)) == 6
    assert np.array_equal(first, data.epoch_samples(samples, 6, 1, 1))
    assert not np.array_equal(first, data.epoch_samples(samples, 6, 1, 2))


def test_scene_from_patches_has_no_seams(toy):
    """An untrained network is climatology: so is the scene put together from its patches, to the border."""
    glacier = data.Glacier(settings())
    made = glacier.forecast_scene(build(settings(), 1).eval(), 12, torch.device("cpu"))
    assert made.numpy() == pytest.approx(glacier.scene_context(12).mean.numpy(), abs=1e-6)


# ── Training ─────────────────────────────────────────────────────────────────────────────────────────────────────

def test_loss_counts_observed_pixels_only():
    forecast, targets = torch.tensor([1.0, 2.0, 5.0]).view(1, 1, 1, 1, 3), torch.zeros(1, 1, 1, 1, 3)
    observed = torch.tensor([True, True, False]).view(1, 1, 1, 1, 3)
    assert training.masked_mse(forecast, targets, observed) == (1 + 4) / 2
    assert training.masked_mse(forecast, targets, observed & False) == 0


def test_training_finds_the_part_that_carries_over(toy):
    """Departures of the toy keep 0.8 a step: a network must beat climatology and persistence in validation."""
    training.train(settings(epochs=8, samplesPerEpoch=256, learningRate=5e-3, weightDecay=0.0), build)
    glacier, run = data.Glacier(settings()), tracking.list_runs("toy")[-1]
    model, device = training.load_network(run, torch.device("cpu")), torch.device("cpu")
    samples = glacier.samples("validation", covering=True)
    predictors = {"model": model, "climatology": climatology, "persistence": persistence}
    error = {name: training.pooled_mse(predict, glacier, samples, 16, device) for name, predict in predictors.items()}
    assert error["model"] < 0.9 * error["climatology"]
    assert error["model"] < 0.9 * error["persistence"]


def test_up_to_date_and_new_run_after_a_change(trained, caplog):
    caplog.set_level("INFO")
    training.train(settings(), build)
    assert "up to date" in caplog.text
    assert tracking.list_runs("toy") == [trained]
    training.train(settings(learningRate=2e-3), build)
    assert "learningRate changed from 0.001 to 0.002" in caplog.text
    assert [run.name for run in tracking.list_runs("toy")] == ["toy-AttentionLSTM-001", "toy-AttentionLSTM-002"]
    training.train(settings(), build)
    assert len(tracking.list_runs("toy")) == 2


def start(home: Path, *flags: str) -> subprocess.Popen:
    words = [str(ROOT / "DeepLearning" / "trainAttentionLSTM.py"), *(f"--{name}={QUICK[name]}" for name in QUICK)]
    environment = os.environ | {"GLACIER_HOME": str(home), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, *words, *flags], env=environment,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip


def finish(process: subprocess.Popen, run: Path) -> tuple[str, dict]:
    """Return what a training printed, and what it left: files as bytes, the last checkpoint's weights."""
    output = process.communicate()[0]
    assert process.returncode == 0, output
    left = {name: (run / name).read_bytes() for name in ("best.pt", "metrics.csv", "config.yaml")}
    return output, left | {"last": training.read_checkpoint(run / "last.pt")["weights"]}


@pytest.fixture(scope="module")
def unbroken(toy_home, tmp_path_factory) -> dict:
    """What a training leaves that nothing stopped."""
    home = tmp_path_factory.mktemp("unbroken")
    (home / "datasets").symlink_to(toy_home / "datasets")
    return finish(start(home, "--epochs=12"), home / RUN)[1]


@pytest.mark.parametrize("flag", ["--epochs=12", "--resume"])
def test_killed_training_ends_in_the_same_bytes(toy, unbroken, flag):
    """SIGKILL in the middle, then the same command or --resume: weights and metrics as if never stopped."""
    run, process = toy / RUN, start(toy, "--epochs=12")
    while not (run / "metrics.csv").is_file() or len((run / "metrics.csv").read_text().splitlines()) < 4:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (run / "manifest.yaml").exists()
    output, left = finish(start(toy, flag), run)
    assert "Going on with" in output
    weights, expected = left.pop("last"), unbroken["last"]
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert left == {name: unbroken[name] for name in left}


def test_checkpoint_describes_itself(trained):
    saved = training.read_checkpoint(trained / "best.pt")
    assert saved["network"] == "AttentionLSTM"
    assert saved["arguments"] == {"patch_size": 16, "channels": 1, "horizon": 2, "hidden": 16, "layers": 1, "heads": 4}
    assert saved["patches"] == yaml.safe_load((trained / "config.yaml").read_text())["patches"]
    (trained / "best.pt").write_bytes((trained / "best.pt").read_bytes()[:1000])
    with pytest.raises(GlacierError, match="damaged"):
        training.load_network(trained, torch.device("cpu"))


# ── Scores and forecasts ─────────────────────────────────────────────────────────────────────────────────────────

def test_scores(trained, caplog):
    caplog.set_level("INFO")
    evaluate.run(settings(evaluate.Settings))
    lines = (trained / "evaluation" / "scores.csv").read_text().splitlines()
    rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    assert {row["method"] for row in rows} == {"AttentionLSTM", "persistence", "seasonal persistence", "climatology"}
    assert {row["region"] for row in rows} == {"seen", "block"}
    assert {row["lead"] for row in rows} == {"1", "2", "all"}
    mse = {(row["region"], row["lead"], row["method"]): float(row["mse"]) for row in rows}
    for row in rows:
        skill = 1 - float(row["mse"]) / mse[row["region"], row["lead"], "climatology"]
        assert float(row["skill_vs_climatology"]) == pytest.approx(skill, abs=1e-6)
    evaluate.run(settings(evaluate.Settings))
    assert "evaluation is up to date" in caplog.text


def test_score_of_persistence_by_hand(trained):
    glacier = data.Glacier(settings())
    made = evaluate.forecasts(glacier, {}, torch.device("cpu"))
    rows = evaluate.score(made, evaluate.observed_pixels(glacier), evaluate.regions(glacier))
    row = next(row for row in rows if (row["region"], row["lead"], row["method"]) == ("block", 2, "persistence"))
    series, seen = glacier.series, evaluate.regions(glacier)["block"].numpy()
    errors = []
    for window in glacier.patches.windows:
        if window.part == "test":
            last, target = window.start + 3, window.start + 5
            errors.append((series.values[last] - series.values[target])[0][series.observed[target] & seen] ** 2)
    assert row["mse"] == pytest.approx(np.concatenate(errors).mean(), rel=1e-5)


def test_forecast_lies_at_the_right_place_and_time(trained, caplog):
    caplog.set_level("INFO")
    forecast.run(settings(forecast.Settings))
    with rasterio.open(trained / "forecast" / "forecast.tif") as dataset:
        assert dataset.crs.to_epsg() == 32643
        assert dataset.transform == rasterio.Affine(30, 0, 600015, 0, -30, 3500025)
        assert dataset.tags()["DATES"] == "2020-01-01,2020-04-01"
        assert dataset.tags()["RUN"] == trained.name
        assert dataset.descriptions == ("ndsi 2020-01-01", "ndsi 2020-04-01")
        assert np.isfinite(dataset.read()).all()
    assert {path.name for path in (trained / "forecast").iterdir()} == {
        "forecast.tif", "forecast.png", "forecast.gif", "lastTest.png", "manifest.yaml"}  # fmt: skip
    forecast.run(settings(forecast.Settings))
    assert "forecast is up to date" in caplog.text


def test_dates_go_on_after_the_last_composite(toy):
    assert data.Glacier(settings()).date(4 * YEARS) == date(2020, 1, 1)


# ── What a user can get wrong ────────────────────────────────────────────────────────────────────────────────────

def test_no_run_yet(toy):
    with pytest.raises(GlacierError, match="run first: python DeepLearning/trainAttentionLSTM.py --name=toy"):
        evaluate.run(settings(evaluate.Settings))


def test_unknown_run_names_the_nearest(trained):
    with pytest.raises(GlacierError, match="did you mean toy-AttentionLSTM-001"):
        forecast.run(settings(forecast.Settings, run="toy-AttentionLSTN-001"))


def test_run_of_other_patches_is_refused(trained):
    record = yaml.safe_load((trained / "config.yaml").read_text())
    store.write_yaml(trained / "config.yaml", record | {"patches": "0" * 16})
    with pytest.raises(GlacierError, match="trained on other patches"):
        evaluate.run(settings(evaluate.Settings))


def test_patches_made_with_other_settings(toy):
    with pytest.raises(GlacierError, match="patchSize = 16, now it is 20"):
        training.train(settings(patchSize=20), build)


def test_nothing_to_resume(trained):
    with pytest.raises(GlacierError, match="no unfinished AttentionLSTM run"):
        training.train(settings(resume=True), build)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_gpu_that_is_not_there(toy):
    with pytest.raises(GlacierError, match="device cuda is not on this machine"):
        training.choose_device("cuda")


def test_heads_must_divide_hidden():
    with pytest.raises(GlacierError, match="hidden must be a multiple of heads"):
        settings(hidden=10)
