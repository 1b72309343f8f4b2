"""Data, baselines, scores and forecasts on a small series whose statistics are known."""

import shutil
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
import rasterio
import torch
import yaml
from toy import CARRY, RUN, YEARS, read, read_csv, settings

from config import GlacierError

# EF
from DeepLearning.data.base import Memory
from DeepLearning.data.batches import Glaciers
from DeepLearning.data.glacier import Glacier
from DeepLearning.models.adjustment import adjust
from DeepLearning.trainAttentionLSTM import build
from DeepLearning.training import checkpoints, run_folders, session

# BASE
# SCORING from DeepLearning.verification.scoring import REFERENCES, SEASONS, region_masks, score
from glacier import distribution
from glacier.storage import disk, runner

pytestmark = pytest.mark.usefixtures("one_thread")


# ── Data ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_is_the_series_cut_out(toy):
    """Window 2 trains: its climatology is that of the other years of training, of each step's season."""
    glaciers = read()
    batch = glaciers.batch(np.array([[0, 2, 1, 3]]))
    glacier = glaciers.glaciers[0]
    series, rows, columns = glacier.series, slice(8, 24), slice(24, 40)
    assert np.array_equal(batch.inputs[0], series.values[2:6, :, rows, columns])
    assert np.array_equal(batch.targets[0], series.values[6:8, :, rows, columns])
    assert np.array_equal(batch.observed[0, :, 0], series.observed[6:8, rows, columns])
    assert np.array_equal(batch.context.year_ago[0], series.values[2:4, :, rows, columns])
    assert batch.context.target_time[0].tolist() == pytest.approx([2014.5, 2014.75], abs=0.01)
    climatology, days = glacier.base.climatology, [glacier.middle(step) for step in range(28)]
    training = np.arange(glacier.training_steps())
    for step, function in (
        (6, batch.context.climatology[0, 0]),
        (7, batch.context.climatology[0, 1]),
    ):
        years_off = training[np.abs(training - step) > 2]  # two quarters are half a year
        half = [
            other for other in (step - 2, step + 2) if abs((days[other] - days[step]).days) > 182
        ]
        past = sorted({*years_off, *half})
        expected = climatology.distribution(days[step], past, rows, columns)
        assert function.numpy() == pytest.approx(expected, abs=2e-6)
    mean = batch.context.input_mean[0, 3]
    past = glacier.base.past(5, None)
    function = climatology.distribution(days[5], past, rows, columns)
    assert mean.numpy() == pytest.approx(
        distribution.mean(function, glacier.thresholds, 0.3), abs=1e-6
    )


def test_windows_that_do_not_train_read_the_past_only(toy):
    glaciers = read()
    glacier = glaciers.glaciers[0]
    (first, *_) = glacier.windows("validation")
    batch = glaciers.batch(np.array([[0, first, 0, 0]]))
    target = first + 4
    patch = slice(0, 16)
    climatology = glacier.base.climatology
    for lead in range(2):
        day = glacier.middle(target + lead)
        expected = climatology.distribution(day, np.arange(target), patch, patch)
        function = batch.context.climatology[0, lead].numpy()
        assert function == pytest.approx(expected, abs=2e-6)
    function = climatology.distribution(
        glacier.middle(first + 1), np.arange(first + 1), patch, patch
    )
    expected = distribution.mean(function, glacier.thresholds, 0.3)
    assert batch.context.input_mean[0, 1].numpy() == pytest.approx(expected, abs=1e-6)


def test_memory_changes_nothing(toy):
    """Distribution functions of whole scenes kept, or worked out for each patch; and no more than the limit is kept."""
    samples = np.array([[0, 2, 1, 3], [0, 9, 0, 0], [0, 15, 2, 2]])
    contexts = []
    for limit in (1_000_000_000, 100_000):
        memory = Memory(limit)
        glacier = Glacier(settings(), coarse=True, memory=memory)
        contexts.append(Glaciers([glacier]).batch(samples).context)
        assert memory.size == sum(array.nbytes for array in memory.arrays.values()) <= limit
        assert glacier.base.worth_keeping() == (limit > 100_000)
    for name, layer in contexts[0].layers.items():
        alike = torch.allclose(layer, contexts[1][name], atol=2e-6, rtol=0, equal_nan=True)
        assert alike, name


def test_training_reads_the_patch_tensors(toy, toy_home, tmp_path, monkeypatch):
    """One target tensor overwritten: the batch has its values, and other weights are learnt."""
    home = tmp_path / "changed"
    shutil.copytree(toy_home / "datasets" / "toy", home / "datasets" / "toy")
    monkeypatch.setenv("GLACIER_HOME", str(home))
    session.train(settings(), build)
    before = read_weights(home / RUN)
    path = home / "datasets" / "toy" / "patches" / "targets" / "2014-01-01.pt"
    changed = 1 - torch.load(path, weights_only=True)
    torch.save(changed, path)
    mend_manifest(home / "datasets" / "toy" / "patches")
    batch = read().batch(np.array([[0, 4, 1, 3]]))
    assert torch.equal(batch.targets[0], changed[1, 3])
    session.train(settings(force=True), build)
    after = read_weights(run_folders.list_runs()[-1])
    assert any(not torch.equal(before[name], after[name]) for name in before)


def mend_manifest(folder) -> None:
    """Write the manifest of a stage again, for its files as they are now."""
    manifest = runner.read_manifest(folder)
    files = [folder / name for name in manifest["outputs"]]
    runner.write_manifest(folder, manifest["settings"], manifest["inputs"], files, {}, 0)


def read_weights(run) -> dict:
    return checkpoints.read(run / "last.pt")["weights"]


def test_a_batch_of_two_glaciers_keeps_its_order(toy):
    glacier, other = read(Glacier), read(Glacier)
    other.series = replace(
        other.series, values=other.series.values[:, :, ::-1], unclipped=-other.series.unclipped
    )
    batch = Glaciers([glacier, other]).batch(np.array([[1, 2, 1, 3], [0, 2, 1, 3], [1, 2, 1, 3]]))
    assert torch.equal(batch.inputs[0], batch.inputs[2])
    functions = batch.context.climatology
    assert torch.equal(functions[0], functions[2])
    assert not torch.equal(functions[0], functions[1])
    assert torch.equal(batch.context.year_ago[0], batch.context.year_ago[2])


def test_turned_patches_turn_as_a_whole(toy):
    glaciers = read()
    plain, mirrored = (glaciers.batch(np.array([[0, 2, 1, 3]]), turns) for turns in (None, [4]))
    for name in ("inputs", "targets", "observed"):
        assert torch.equal(getattr(plain, name).flip(-1), getattr(mirrored, name))
    for name, layer in plain.context.layers.items():
        assert torch.equal(layer.flip(-1), mirrored.context[name])
    assert torch.equal(plain.context.target_time, mirrored.context.target_time)


def test_context_never_looks_ahead(toy):
    """Changing every step from the first target on changes nothing that a forecaster may know."""
    glacier, changed = read(Glacier), read(Glacier)
    series = glacier.series
    values, unclipped = series.values.copy(), np.array(series.unclipped)
    observed = series.observed.copy()
    values[14:], unclipped[14:], observed[14:] = 9, 9, True
    changed.series = replace(series, values=values, unclipped=unclipped, observed=observed)
    before, after = glacier.scene_context(10), changed.scene_context(10)
    for name in before.layers:
        assert torch.equal(before[name].nan_to_num(-1), after[name].nan_to_num(-1)), name
    assert torch.equal(glacier.scene_inputs(10), changed.scene_inputs(10))


def test_training_knows_nothing_of_validation_and_test(toy):
    """Every training window's context, with all steps after the last training step overwritten."""
    glacier, changed = read(Glacier), read(Glacier)
    series, end = glacier.series, glacier.training_steps()
    values, unclipped = series.values.copy(), np.array(series.unclipped)
    observed = series.observed.copy()
    values[end:], unclipped[end:], observed[end:] = 9, 9, False
    changed.series = replace(series, values=values, unclipped=unclipped, observed=observed)
    for window in (0, glacier.windows("train")[-1]):
        before = glacier.scene_context(window, trains=True)
        after = changed.scene_context(window, trains=True)
        for name in before.layers:
            assert torch.equal(before[name].nan_to_num(-1), after[name].nan_to_num(-1)), name


def test_a_target_is_not_part_of_its_climatology(toy):
    """Leave-one-year-out: what a training target is, and all within half a year of it, changes nothing in its F."""
    glacier, changed = read(Glacier), read(Glacier)
    unclipped = np.array(glacier.series.unclipped)
    unclipped[7:10] = 0.9  # around step 8
    changed.series = replace(glacier.series, unclipped=unclipped)
    for step, alike in ((8, True), (12, False)):
        functions = [one.base.distribution(step, None) for one in (glacier, changed)]
        assert np.array_equal(*functions) == alike


def test_samples_keep_the_parts_apart(toy):
    glaciers = read()
    patches = glaciers.glaciers[0].patches
    for part in ("train", "validation", "test"):
        samples = glaciers.samples(part)
        assert len(samples)
        assert {patches.windows[window].part for _, window, _, _ in samples} == {part}
        assert {patches.patch_parts[row, column] for _, _, row, column in samples} == {"train"}


def test_epochs_draw_anew_and_repeatably(toy):
    glaciers = read()
    samples = glaciers.samples("train")
    first = glaciers.draw(samples, 6, seed=1, epoch=1)
    assert len(np.unique(first, axis=0)) == 6
    assert np.array_equal(first, glaciers.draw(samples, 6, 1, 1))
    assert not np.array_equal(first, glaciers.draw(samples, 6, 1, 2))


@pytest.mark.parametrize(("few", "each"), [(100, 30), (20, 20)])
def test_glaciers_are_drawn_equally(toy, few, each):
    """Of a glacier with few samples as many as of one with all of them; no more than the few if those run out."""
    glacier = read(Glacier)
    glaciers = Glaciers([glacier, glacier])
    samples = glaciers.samples("train")
    uneven = np.concatenate([samples[samples[:, 0] == 0][:few], samples[samples[:, 0] == 1]])
    assert np.bincount(uneven[:, 0])[1] > 2 * few
    drawn = glaciers.draw(uneven, 60, seed=0, epoch=1)
    assert np.bincount(drawn[:, 0]).tolist() == [each, each]
    assert len(set(drawn[:10, 0])) == 2


def test_scene_from_patches_has_no_seams(toy):
    """An untrained network is climatology: so is the scene put together from its patches, to the border."""
    glacier = read(Glacier)
    forecast = glacier.forecast_scene(build(settings(), 1).eval(), 12, torch.device("cpu"))
    assert torch.equal(forecast, glacier.scene_context(12).climatology)


def test_bands_are_the_scene(toy):
    """A network that shifts every pixel alike, with its factor: band by band, or written out for the whole scene."""
    glacier = read(Glacier)
    network = build(settings(), 1).eval()
    torch.nn.init.constant_(network.project.bias, 0.8)
    network.factor.copy_(torch.tensor([0.5, 0.0]))
    bands = list(glacier.forecast_bands(network, 12, torch.device("cpu"), rows=20))
    assert [(band.start, band.stop) for band, _ in bands] == [(0, 20), (20, 40), (40, 48)]
    base = glacier.scene_context(12).climatology[0]
    number = torch.full_like(base[0, 0], 0.4)
    whole = torch.cat([function for _, function in bands], dim=-2)
    assert torch.allclose(whole[0], adjust(base[0], number, number), atol=1e-6)
    assert torch.equal(whole[1], base[1])

    def bar(inputs, context):
        assert (
            inputs.shape[-2]
            == context.climatology.shape[-2]
            == context.place.rows.stop - context.place.rows.start
        )
        return context.climatology

    assert torch.equal(glacier.forecast_scene(bar, 12, torch.device("cpu"))[0], base)


# ── Baselines ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_damped_persistence_is_a_least_squares_fit(toy):
    """The factors of the second lead time, from a list of all training pixels; less is kept than of the first."""
    glacier = read(Glacier)
    seen = region_masks(glacier)["seen"]
    damped, rows, wanted = DampedPersistence(glacier, seen), [], []
    for inputs, context, departures, observed in training_windows(glacier):
        last = (inputs - context.input_mean)[0, -1, 0].nan_to_num()
        counted = observed[0, 1, 0] & seen
        rows.append(
            torch.stack(
                [(last - last.mean())[counted], last.mean().expand(int(counted.sum()))], dim=1
            )
        )
        wanted.append(departures[0, 1, 0][counted])
    expected = np.linalg.lstsq(
        torch.cat(rows).double().numpy(), torch.cat(wanted).double().numpy()
    )[0]
    assert damped.factors[1].numpy() == pytest.approx(expected, abs=1e-4)
    assert 0 < damped.factors[1, 0] < damped.factors[0, 0] < CARRY
    inputs, context = glacier.scene_inputs(10), glacier.scene_context(10)
    last = (inputs - context.input_mean)[:, -1]
    local, mean = damped.factors[1]
    expected = context.mean[:, 1] + local * (last - last.mean()) + mean * last.mean()
    assert damped(inputs, context)[:, 1].numpy() == pytest.approx(expected.numpy(), abs=1e-6)


def test_ridge_beats_climatology_and_leaves_the_block_common(toy):
    glacier = read(Glacier)
    masks = region_masks(glacier)
    ridge = Ridge(glacier, masks["seen"])
    inside = ridge.coefficients[0, 0][masks["block"] & ~masks["seen"]]
    assert inside.std(dim=0).max() < 1e-6
    error = {name: 0.0 for name in ("ridge", "climatology")}
    for inputs, context, wanted, observed in training_windows(glacier, "test"):
        error["ridge"] += ((ridge(inputs, context) - context.mean - wanted)[observed] ** 2).sum()
        error["climatology"] += (wanted[observed] ** 2).sum()
    assert error["ridge"] < 0.9 * error["climatology"]


# ── Scores and forecasts ─────────────────────────────────────────────────────────────────────────────────────────


def test_scores(trained, caplog):
    caplog.set_level("INFO")
    evaluate.run(settings(evaluate.Settings, wandb="disabled"))
    rows = read_csv(trained / "evaluation" / "scores.csv")
    assert {row["method"] for row in rows} == {"AttentionLSTM", *REFERENCES}
    assert {row["region"] for row in rows} == {"seen", "block"}
    assert {row["lead"] for row in rows} == {"1", "2", "all"}
    assert {row["season"] for row in rows} == {"all", *SEASONS}
    mse = {
        (row["region"], row["lead"], row["season"], row["method"]): float(row["mse"])
        for row in rows
    }
    for row in rows:
        skill = (
            1 - float(row["mse"]) / mse[row["region"], row["lead"], row["season"], "climatology"]
        )
        assert float(row["skill_vs_climatology"]) == pytest.approx(skill, abs=1e-6)
    files = {"scores.csv", "scores.png", "patches.png", "manifest.yaml"}
    assert files <= {path.name for path in (trained / "evaluation").iterdir()}
    evaluate.run(settings(evaluate.Settings))
    assert "evaluation is up to date" in caplog.text


def test_runs_side_by_side(trained, caplog):
    caplog.set_level("INFO")
    session.train(settings(learningRate=2e-3), build)
    names = [run.name for run in run_folders.list_runs()]
    evaluate.run(settings(evaluate.Settings, run=names, wandb="disabled"))
    rows = read_csv(run_folders.runs_folder() / "toy-comparison-001-002" / "scores.csv")
    assert {"AttentionLSTM 001", "AttentionLSTM 002"} < {row["method"] for row in rows}
    evaluate.run(settings(evaluate.Settings, run="all", wandb="disabled"))
    assert (run_folders.runs_folder() / names[1] / "evaluation" / "scores.csv").is_file()


def test_score_of_persistence_by_hand(toy):
    glacier = read(Glacier)
    rows = score(glacier, {}, torch.device("cpu"))
    wanted = {"region": "block", "lead": 2, "season": "all", "method": "persistence"}
    (row,) = [row for row in rows if wanted.items() <= row.items()]
    series, seen = glacier.series, region_masks(glacier)["block"].numpy()
    errors = []
    for window in glacier.patches.windows:
        if window.part == "test":
            last, target = window.start + 3, window.start + 5
            errors.append(
                (series.values[last] - series.values[target])[0][series.observed[target] & seen]
                ** 2
            )
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
    files = {"forecast.tif", "forecast.png", "forecast.gif", "lastTest.png", "manifest.yaml"}
    assert files <= {path.name for path in (trained / "forecast").iterdir()}
    forecast.run(settings(forecast.Settings))
    assert "forecast is up to date" in caplog.text


def test_dates_go_on_after_the_last_composite(toy):
    assert read(Glacier).date(4 * YEARS) == date(2020, 1, 1)


# ── What a user can get wrong ────────────────────────────────────────────────────────────────────────────────────


def test_no_run_yet(toy):
    with pytest.raises(
        GlacierError, match="run first: python DeepLearning/trainAttentionLSTM.py --name=toy"
    ):
        evaluate.run(settings(evaluate.Settings))


def test_unknown_run_names_the_nearest(trained):
    with pytest.raises(GlacierError, match="did you mean toy-AttentionLSTM-001"):
        forecast.run(settings(forecast.Settings, run="toy-AttentionLSTN-001"))


def test_run_of_other_patches_is_refused(trained):
    record = yaml.safe_load((trained / "config.yaml").read_text())
    disk.write_yaml(trained / "config.yaml", record | {"patches": {"toy": "0" * 16}})
    with pytest.raises(GlacierError, match="trained on other patches"):
        evaluate.run(settings(evaluate.Settings))
