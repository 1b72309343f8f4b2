"""Data, baselines, scores and forecasts on a small series whose statistics are known."""

import mmap
import shutil
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
import rasterio
import torch
import yaml
from conftest import mend_manifest
from toy import RUN, SIDE, YEARS, read, read_csv, settings

from config import GlacierError
from DeepLearning import evaluate, forecast
from DeepLearning.data.adjustment import adjust
from DeepLearning.data.base import Memory, rows_at_once
from DeepLearning.data.batches import Glaciers
from DeepLearning.data.glacier import Glacier
from DeepLearning.data.layers import age_of
from DeepLearning.trainAttentionLSTM import build
from DeepLearning.training import checkpoints, run_folders, session
from DeepLearning.training.networks import load_network
from DeepLearning.verification.regions import IN_DOUBT
from DeepLearning.verification.scoring import ALL_YEARS, COLUMNS, SEASONS
from glacier import distribution
from glacier.storage import disk

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
        assert glacier.base.worth_keeping_means() == (limit > 100_000)
    for name, layer in contexts[0].layers.items():
        alike = torch.allclose(layer, contexts[1][name], atol=2e-6, rtol=0, equal_nan=True)
        assert alike, name


def test_what_stays_in_memory_is_taken_from_the_budget(toy):
    """The bins of the past, a byte each: kept where they leave half of the budget, else worked out, and F alike."""
    functions = []
    for limit in (1_000_000, 20_000):
        glacier = Glacier(settings(), coarse=True, memory=Memory(limit))
        size = glacier.series.unclipped.size
        kept = glacier.base.climatology.bins is not None
        assert kept == (size <= limit / 2)
        assert glacier.memory.limit == limit - size * kept
        functions.append(glacier.base.distribution(9, None, slice(8), slice(8)))
    assert functions[0] == pytest.approx(functions[1], abs=2e-6)


def test_wide_scenes_are_worked_on_fewer_rows_at_once():
    assert [rows_at_once(width) for width in (48, 1024, 4096, 200_000)] == [64, 64, 16, 1]


def test_a_series_stays_on_disk(toy):
    """What is read of it is a copy, clipped at the floor; the rest takes no memory."""
    series = Glacier(settings()).series
    for array in (series.unclipped, series.observed):
        while array.base is not None and not isinstance(array.base, mmap.mmap):
            array = array.base
        assert isinstance(array.base, mmap.mmap)
    on_disk = np.array(series.unclipped[3])
    clipped = np.where(on_disk < np.float32(0.3), np.float32(0), on_disk)
    assert (clipped != on_disk).any()
    part = series.values[3]
    assert part.tobytes() == clipped.tobytes()
    part[:] = -1
    assert series.values[3].tobytes() == clipped.tobytes()
    assert np.asarray(series.values)[3].tobytes() == clipped.tobytes()


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


def test_ages_count_from_the_last_observation():
    observed = np.array([0, 1, 0, 0, 1, *[0] * 12], bool).reshape(-1, 1, 1)
    expected = [2, 0, 0.25, 0.5, 0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2, 2, 2, 2]
    ages = [age_of(observed[: step + 1], 4).item() for step in range(len(observed))]
    assert ages == expected


def test_further_layers_are_cut_like_the_frames(toy, monkeypatch):
    """Age and number of scenes at the input steps, elevation above the scene's mean; made once a glacier."""
    glacier = Glacier(settings(), coarse=True, further=("age", "scenes", "elevation"))
    random = np.random.default_rng(0)
    glacier.scene_counts = random.integers(0, 9, (28, 48, 48)).astype(np.uint16)
    glacier.elevation = random.uniform(4000, 6000, (48, 48))
    glacier.elevation[8, 24] = np.nan
    rows, columns = slice(8, 24), slice(24, 40)
    context = Glaciers([glacier]).batch(np.array([[0, 2, 1, 3]])).context
    observed = glacier.series.observed[:, rows, columns]
    expected = [age_of(observed[: step + 1], 4) for step in range(2, 6)]
    assert np.array_equal(context["age"][0, :, 0], expected)
    counts = glacier.scene_counts[2:6, rows, columns]
    assert context["scenes"][0, :, 0].numpy() == pytest.approx(np.log1p(counts), abs=1e-6)
    above = (glacier.elevation - np.nanmean(glacier.elevation)) / 1000
    assert context["elevation"][0, 0].numpy() == pytest.approx(
        np.nan_to_num(above[rows, columns]), abs=1e-5
    )
    plain = read().batch(np.array([[0, 2, 1, 3]])).context
    assert set(plain.layers) == set(context.layers) - {"age", "scenes", "elevation"}
    with pytest.raises(GlacierError, match="toy has no elevation, which context names"):
        Glaciers([Glacier(settings(), further=("elevation",))]).batch(np.array([[0, 2, 1, 3]]))
    with pytest.raises(GlacierError, match="context names 'elevaton'.*did you mean elevation"):
        settings(context=("elevaton",))


def test_a_network_with_further_layers_trains_and_forecasts(toy):
    session.train(settings(context=("age",), epochs=1), build)
    network = checkpoints.load_network(toy / RUN, torch.device("cpu"))
    assert network.context == ("age",)
    forecast = read(Glacier).forecast_scene(network, 12, torch.device("cpu"))
    assert forecast.isfinite().all()


def test_samples_keep_the_parts_apart(toy):
    glaciers = read()
    patches = glaciers.glaciers[0].patches
    for part in ("train", "validation", "test"):
        samples = glaciers.samples(part)
        assert len(samples)
        assert {patches.windows[window].part for _, window, _, _ in samples} == {part}
        assert {patches.patch_parts[row, column] for _, _, row, column in samples} == {"train"}


def test_covering_samples_lie_side_by_side(toy):
    """Of the patches that overlap every second is left, down and across: no pixel counts twice."""
    glaciers = read()
    samples = glaciers.samples_of(0, [0], covering=True)
    touched = np.zeros(glaciers.glaciers[0].shape, int)
    for _, _, row, column in samples:
        touched[8 * row : 8 * row + 16, 8 * column : 8 * column + 16] += 1
    assert touched.max() == 1
    assert len(glaciers.samples_of(0, [0], covering=False)) > len(samples) > 0


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


# ── Scores and forecasts ─────────────────────────────────────────────────────────────────────────────────────────


def test_scores(trained, caplog):
    """One sentence, ten lines, and the file with its columns; skills follow from the CRPS beside them."""
    caplog.set_level("INFO")
    evaluate.run(settings(evaluate.Settings, wandb="disabled"))
    rows = read_csv(trained / "evaluation" / "scores.csv")
    assert tuple(rows[0]) == COLUMNS
    methods = {row["method"] for row in rows}
    assert {"AttentionLSTM", "climatology", "kernel ensemble", "same-season mean"} <= methods
    assert {row["region"] for row in rows} == {"seen", "block", IN_DOUBT, ALL_YEARS}
    assert {row["lead"] for row in rows} == {"1", "2", "all"}
    assert {row["season"] for row in rows} == {"all", *SEASONS}
    for row in rows:
        peers = [peer for peer in rows if all(peer[name] == row[name] for name in COLUMNS[:3])]
        assert {peer["method"] for peer in peers} == methods or row["region"] == ALL_YEARS
        assert len({peer["dates"] for peer in peers}) == 1
        (usual,) = [peer for peer in peers if peer["method"] == "climatology"]
        skill = 1 - float(row["crps"]) / float(usual["crps"])
        assert float(row["crpss"]) == pytest.approx(skill, abs=1e-6)
    names = {path.name for path in (trained / "evaluation").iterdir()}
    pictures = {"skill.png", "reliability.png", "ranks.png", "bands.png", "patches.png"}
    assert {"scores.csv", "manifest.yaml", "section.html", *pictures} <= names
    printed = "\n".join(caplog.messages).splitlines()
    assert len(printed) <= 12  # and three of the settings
    assert max(len(line) for line in printed if line.startswith("  ")) <= 100
    (heads,) = [line for line in printed if line.startswith("  skill [%]")]
    assert heads.split()[-6:] == ["lead", "1", "lead", "2", "all", "leads"]
    (sentence,) = [text for text in caplog.messages if "clear-sky dates (n_eff" in text]
    assert sentence.startswith("On 6 clear-sky dates")
    assert sentence in (trained / "evaluation" / "section.html").read_text()
    evaluate.run(settings(evaluate.Settings))
    assert "evaluation is up to date" in caplog.text


@pytest.mark.usefixtures("scores_only")
def test_runs_side_by_side(trained):
    session.train(settings(learningRate=2e-3, epochs=1), build)
    names = [run.name for run in run_folders.list_runs()]
    evaluate.run(settings(evaluate.Settings, run=names, wandb="disabled"))
    rows = read_csv(run_folders.runs_folder() / "toy-comparison-001-002" / "scores.csv")
    assert {"AttentionLSTM 001", "AttentionLSTM 002"} < {row["method"] for row in rows}
    evaluate.run(settings(evaluate.Settings, run="all", wandb="disabled"))
    assert (run_folders.runs_folder() / names[1] / "evaluation" / "scores.csv").is_file()


def read_bands(path, **tags):
    """Return the bands of a GeoTIFF that carry some tags, (B, H, W)."""
    with rasterio.open(path) as dataset:
        wanted = []
        for number in dataset.indexes:
            if tags.items() <= dataset.tags(number).items():
                wanted.append(number)
        return dataset.read(wanted)


@pytest.fixture(scope="module")
def forecast_home(toy_home, trained_home, tmp_path_factory):
    """A folder with a finished run and its forecast. Do not change it."""
    home = tmp_path_factory.mktemp("forecast")
    (home / "datasets").symlink_to(toy_home / "datasets")
    shutil.copytree(trained_home / "DeepLearning", home / "DeepLearning")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLACIER_HOME", str(home))
        forecast.run(settings(forecast.Settings))
    return home


@pytest.fixture
def forecast_run(forecast_home, monkeypatch):
    """The folder of the run that has a forecast."""
    monkeypatch.setenv("GLACIER_HOME", str(forecast_home))
    return forecast_home / RUN


def test_forecast_lies_at_the_right_place_and_time(forecast_run, caplog):
    caplog.set_level("INFO")
    trained = forecast_run
    spans = ("2020-01-01/2020-03-31", "2020-04-01/2020-06-30")
    with rasterio.open(trained / "forecast" / "forecast.tif") as dataset:
        assert dataset.crs.to_epsg() == 32643
        assert dataset.transform == rasterio.Affine(30, 0, 600015, 0, -30, 3500025)
        assert dataset.tags()["RUN"] == trained.name
        assert dataset.descriptions[0] == f"P(snow) ndsi {spans[0]}"
        assert dataset.count == 2 * 7
        assert set(dataset.units) == {"1"}
        assert {dataset.tags(number)["DATES"] for number in dataset.indexes} == set(spans)
        assert np.isfinite(dataset.read()).all()
    names = {path.name for path in (trained / "forecast").iterdir()}
    files = {"forecast.tif", "members.tif", "snow.csv", "forecast.png", "forecast.gif"}
    files.add("forecast.qml")
    assert {"lastTest.png", "snow.png", "manifest.yaml", *files} <= names
    forecast.run(settings(forecast.Settings))
    assert f"Forecasting with {trained.name}: the best of 1 by validation" in caplog.text
    assert "forecast is up to date" in caplog.text


def test_forecast_is_what_the_network_says_after_the_last_composite(forecast_run):
    """Each quantity of each step, from F of the last inputs, not of a step earlier. Members agree with F."""
    glacier = Glacier(settings(), whole=True)  # nothing is kept out any more
    network = load_network(forecast_run, torch.device("cpu"))
    last = 4 * YEARS - glacier.sequence_length
    F = glacier.forecast_scene(network, last, torch.device("cpu"))[0].numpy()
    earlier = glacier.forecast_scene(network, last - 1, torch.device("cpu"))[0].numpy()
    path = forecast_run / "forecast" / "forecast.tif"
    for name, level in {"median": 0.5, "q05": 0.05, "q95": 0.95}.items():
        expected = distribution.quantile(F, level, glacier.x, 0.3)[:, 0]
        assert read_bands(path, QUANTITY=name) == pytest.approx(expected, abs=1e-5)
    probability = distribution.exceedance(F, 0.4, glacier.x)[:, 0]
    snow = read_bands(path, QUANTITY="p_snow")
    assert snow == pytest.approx(probability, abs=1e-5)
    assert np.abs(snow - distribution.exceedance(earlier, 0.4, glacier.x)[:, 0]).max() > 0.1
    members = read_bands(forecast_run / "forecast" / "members.tif", DATES="2020-01-01/2020-03-31")
    assert members.shape == (20, SIDE, SIDE)
    share = (members > 0.4).mean(axis=0)
    assert np.abs(share - probability[0]).mean() < 0.1
    assert share.mean() == pytest.approx(probability[0].mean(), abs=0.05)


def test_snow_covered_area_of_past_and_forecast(forecast_run):
    """A past area lies between what was seen as snow and that with all gaps; the forecast's is that of P(snow)."""
    rows = read_csv(forecast_run / "forecast" / "snow.csv")
    areas = [row for row in rows if row["quantity"] == "snow_covered_area"]
    glacier = read(Glacier)
    assert len(areas) == 4 * YEARS - 4 + 2
    for step, row in enumerate(areas[:-2], 4):
        assert (row["part"], row["first_day"]) == ("past", glacier.series.dates[step])
        observed = glacier.series.observed[step]
        snow = (glacier.series.unclipped[step, 0] > 0.4) & observed
        assert int(row["observed_pixels"]) == observed.sum()
        least, most = snow.sum() * 9e-4, (snow.sum() + (~observed).sum()) * 9e-4
        assert least <= float(row["p5"]) <= float(row["p95"]) <= most + 1e-9
    snow = read_bands(forecast_run / "forecast" / "forecast.tif", QUANTITY="p_snow")
    for probability, row in zip(snow, areas[-2:], strict=True):
        area = probability.sum() * 9e-4
        assert row["part"] == "forecast"
        assert float(row["p5"]) <= area <= float(row["p95"])


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
    mend_manifest(trained)
    with pytest.raises(GlacierError, match="trained on other patches"):
        evaluate.run(settings(evaluate.Settings))
