"""Training on a small series whose statistics are known: the loop, going on after a stop, processes, tracking."""

import importlib
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import requests
import torch
import wandb
import yaml
from conftest import ROOT, modules_loaded, server
from forks import Command
from toy import QUICK, RUN, read, read_csv, settings
from wandb.proto import wandb_internal_pb2
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args
from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

import config
from config import GlacierError
from DeepLearning import evaluate
from DeepLearning.data.batches import Glaciers
from DeepLearning.models import MODELS
from DeepLearning.trainAttentionLSTM import PRESETS, build
from DeepLearning.training import (
    checkpoints,
    earning,
    interrupts,
    loop,
    run_folders,
    session,
)
from DeepLearning.training.mirror import Mirror, key_known
from DeepLearning.training.networks import choose_device, load_network
from DeepLearning.training.settings import held_out, knobs, with_held_out
from glacier.storage import runner

pytestmark = pytest.mark.usefixtures("one_thread")


# ── Training ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_learning_rate_rises_then_falls():
    rates = [loop.learning_rate(step, 100, 9, 2.0) for step in range(101)]
    assert rates[:3] == pytest.approx([0.2, 0.4, 0.6])
    assert rates[9] == 2
    assert np.all(np.diff(rates[9:]) < 0)
    assert rates[100] == pytest.approx(0)


def test_training_finds_the_part_that_carries_over(toy):
    """Departures of the toy keep 0.8 a step: a network must beat climatology in the years kept to show it."""
    session.train(settings(epochs=10, learningRate=4e-3), build)
    counts = runner.read_manifest(toy / RUN)["counts"]
    scores = counts["crps"]["validation"]
    assert scores["network"] < 0.97 * scores["climatology"]
    assert counts["factor"][0] > 0.5
    assert not counts["stayed_at_start"]
    saved = checkpoints.read(toy / RUN / "best.pt")["weights"]["factor"]
    assert saved.tolist() == pytest.approx(counts["factor"], abs=1e-4)


# ── Which weights are kept ───────────────────────────────────────────────────────────────────────────────────────


class Silent:
    """A mirror on Weights & Biases that is not there."""

    def log(self, row, step=None):
        pass

    def picture(self, draw, step):
        pass


def course(toy, **more) -> loop.Fit:
    """Return a training of the toy that has not begun, a few steps an epoch."""
    cfg = settings(**({"samplesPerEpoch": 32, "batchSize": 16} | more))
    torch.manual_seed(cfg.seed)
    folder = toy / RUN
    folder.mkdir(parents=True, exist_ok=True)
    return loop.Fit(build(cfg, 1), read(), cfg, torch.device("cpu"), folder, Silent(), {})


def plain(weights: dict) -> torch.Tensor:
    """All weights in one row, without the factor, which is earned afterwards."""
    return torch.cat([part.flatten() for name, part in weights.items() if name != "factor"])


def test_the_averaged_network_is_validated_and_kept(toy):
    fit = course(toy, epochs=2, averaging=0.95)
    fit.run()
    best, last = checkpoints.read(toy / RUN / "best.pt"), checkpoints.read(toy / RUN / "last.pt")
    assert torch.equal(plain(best["weights"]), plain(last["average"]))
    assert not torch.equal(plain(last["weights"]), plain(last["average"]))
    row = read_csv(toy / RUN / "metrics.csv")[-1]
    steps = [fit.years[0].reported]
    size, device = fit.cfg.batchSize, fit.device
    of_average = earning.score(fit.average, fit.glaciers, steps, size, device, factor=False).mean()
    of_raw = earning.score(fit.model, fit.glaciers, steps, size, device, factor=False).mean()
    assert float(row["validation_crps"]) == pytest.approx(of_average, rel=1e-6)
    assert of_raw != pytest.approx(of_average, rel=1e-6)


def test_years_that_stop_the_training_keep_their_best_epoch(toy, monkeypatch):
    """Scores as given, best after epoch 2; patience 2: epoch 4 is the last, and best.pt is that of epoch 2."""
    given = iter([1.0, 0.9, 0.8, 0.85, 0.8, 0.1])
    fit = course(toy, epochs=9, patience=2)
    fit.years = [earning.Years(4, frozenset({18, 19}), frozenset({20, 21}), frozenset({18, 19}))]
    averages = []

    def score(steps, factor=False):
        assert steps == [frozenset({18, 19})]
        averages.append(plain(fit.average.state_dict()))
        one = np.ones((1, 1))
        return earning.Scores(np.zeros(1), next(given) * one, one, one, one)

    monkeypatch.setattr(fit, "score", score)
    assert fit.run()["epoch"] == 4
    best = checkpoints.read(toy / RUN / "best.pt")
    assert best["epoch"] == 2
    assert torch.equal(plain(best["weights"]), averages[2])


def test_the_factor_is_earned_in_years_that_did_not_stop_the_training(toy, monkeypatch):
    fit = course(toy, epochs=1)
    fit.run()
    asked = []

    def score(steps, factor=False):
        asked.append((steps, factor))
        one = np.ones((1, 1))
        return earning.Scores(np.zeros(1), one, one, one, one)

    monkeypatch.setattr(fit, "score", score)
    fit.earn()
    (years,) = fit.years
    assert years.earning != years.reported
    assert asked == [([years.earning], False), ([years.earning], True)]


def test_the_loss_is_a_mean_over_pixels(toy):
    """So that neither the batch nor the patch changes what a learning rate means: it is near the validation score."""
    fit = course(toy, epochs=1, learningRate=1e-6)
    fit.run()
    (_, row) = read_csv(toy / RUN / "metrics.csv")
    assert float(row["training_crps"]) == pytest.approx(float(row["validation_crps"]), rel=0.5)


def test_without_such_years_all_epochs_are_made(toy, monkeypatch):
    """Scores get worse and worse: they decide nothing, and the last epoch is kept."""
    given = itertools.count(1.0)
    fit = course(toy, epochs=3, patience=1)
    fit.years = [earning.Years(0, frozenset(), frozenset(), frozenset({18, 19}))]

    def score(steps, factor=False):
        one = np.ones((1, 1))
        return earning.Scores(np.zeros(1), next(given) * one, one, one, one)

    monkeypatch.setattr(fit, "score", score)
    assert fit.run()["epoch"] == 3
    assert checkpoints.read(toy / RUN / "best.pt")["epoch"] == 3


def test_steps_held_back_take_no_part_in_the_loss(toy):
    """The last year of the training steps, 14 to 17: not one observed pixel of them is in a batch of the loss."""
    fit = course(toy)
    assert sorted(fit.years[0].held_back) == [14, 15, 16, 17]
    starts = np.unique(fit.training[:, 1])
    assert starts.max() == 9  # targets 13 and 14
    samples = np.concatenate([fit.training[fit.training[:, 1] == start][:8] for start in (8, 9)])
    ((batch, _),) = fit.share_batches(samples)
    whole = fit.glaciers.batch(samples)
    early = torch.from_numpy(samples[:, 1] == 8)
    assert torch.equal(batch.observed[early], whole.observed[early])
    assert torch.equal(batch.observed[~early, 0], whole.observed[~early, 0])
    assert not batch.observed[~early, 1].any()
    assert whole.observed[~early, 1].any()


def test_teacher_forcing_falls_to_nothing_by_half_time(toy):
    """Of the target frames shown, in epochs 1, 3 and 6 of 10: all, six tenths, none; unobserved pixels never."""
    fit = course(toy, epochs=10, teacherForcing=1.0)
    fit.model.feeds_back = True
    batch = fit.glaciers.batch(fit.training[:8])
    chance = np.linspace(0.01, 0.99, 16).reshape(8, 2)
    for epoch, share in ((1, 1.0), (3, 0.6), (6, 0.0)):
        fit.state["epoch"] = epoch
        hints = fit.hints(batch, chance)
        if share == 0:
            assert hints is None
            continue
        read = torch.from_numpy(chance < share)[:, :, None, None, None] & batch.observed
        assert torch.equal(hints.isnan(), ~read)
        assert torch.equal(hints[read], batch.targets[read])


def test_another_seed_trains_on_other_samples(toy):
    glaciers = read()
    samples = glaciers.samples("train")
    assert not np.array_equal(glaciers.draw(samples, 20, 1, 1), glaciers.draw(samples, 20, 2, 1))
    weights = [plain(trained_weights(toy, epochs=1, seed=seed)) for seed in (1, 2)]
    assert not torch.equal(*weights)


def test_a_training_draws_its_samples_by_its_seed(toy, monkeypatch):
    drawn = []
    draw = Glaciers.draw

    def recorded(glaciers, samples, count, seed, epoch):
        drawn.append((seed, epoch))
        return draw(glaciers, samples, count, seed, epoch)

    monkeypatch.setattr(Glaciers, "draw", recorded)
    session.train(settings(epochs=2, seed=7), build)
    assert {(7, 1), (7, 2)} <= set(drawn)
    assert all(seed == 7 for seed, epoch in drawn if epoch)


def test_a_stopped_run_of_other_patches_is_not_taken_up(toy):
    session.train(settings(epochs=1), build)
    (toy / RUN / "manifest.yaml").unlink()
    hashes = session.patch_hashes(settings(epochs=1))
    assert session.choose_run(settings(epochs=1), hashes).folder == toy / RUN
    assert session.choose_run(settings(epochs=1), {"toy": "0" * 16}).folder is None
    with pytest.raises(GlacierError, match="no unfinished AttentionLSTM run"):
        session.choose_run(settings(resume=True), {"toy": "0" * 16})


# ── Settings ─────────────────────────────────────────────────────────────────────────────────────────────────────


def trained_weights(toy, **more) -> dict:
    """Return the last weights of a training on the toy glacier."""
    session.train(settings(**more), build)
    return checkpoints.read(run_folders.list_runs()[-1] / "last.pt")["weights"]


def test_accumulated_batches_are_one_large_batch(toy):
    whole = trained_weights(toy, epochs=1, batchSize=16)
    parts = trained_weights(toy, epochs=1, batchSize=4, accumulate=4)
    assert all(torch.allclose(whole[name], parts[name], atol=1e-5) for name in whole)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="torch.compile needs a C compiler")
def test_a_compiled_network_trains_alike(toy):
    plain = trained_weights(toy, epochs=1)
    run = toy / "DeepLearning/runs/toy-AttentionLSTM-002"
    compiled = finish(start(toy, "--epochs=1", "--compile=True"), run)[1]["last"]
    assert all(torch.allclose(plain[name], compiled[name], atol=1e-3) for name in plain)


def test_every_setting_of_the_loop_trains(toy):
    """bfloat16, augmentation, teacher forcing, no averaging: no two give the same weights, and all stay finite."""
    from DeepLearning.trainLSTM import Settings as LSTMSettings
    from DeepLearning.trainLSTM import build as build_lstm

    seen = {}
    for more in (
        {},
        {"precision": "bfloat16"},
        {"augment": True},
        {"teacherForcing": 1.0},
        {"averaging": 0.0},
    ):
        quick = QUICK | {"epochs": 1, "samplesPerEpoch": 32}
        session.train(config.load(LSTMSettings, **quick, **more), build_lstm)
        weights = checkpoints.read(run_folders.list_runs()[-1] / "last.pt")["average"]
        seen[str(more)] = torch.cat([part.flatten() for part in weights.values()])
        assert seen[str(more)].isfinite().all()
    for one, other in itertools.combinations(seen, 2):
        assert not torch.equal(seen[one], seen[other]), f"{one} trains as {other} does"


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_epoch(toy):
    with pytest.raises(GlacierError, match="train with a smaller learningRate than 1e\\+30"):
        session.train(settings(learningRate=1e30, warmupEpochs=0.0), build)
    saved = checkpoints.read(toy / RUN / "best.pt")["weights"]
    assert all(part.isfinite().all() for part in saved.values())
    assert not (toy / RUN / "manifest.yaml").exists()


def test_a_full_disk_keeps_the_old_checkpoint(toy):
    """No file may grow beyond 8 kB: the checkpoint of the next epoch does not fit, the one before survives."""
    session.train(settings(epochs=1), build)
    before = (toy / RUN / "best.pt").read_bytes()
    (toy / RUN / "manifest.yaml").unlink()
    saved = checkpoints.read(toy / RUN / "last.pt")
    glaciers = read()
    model = build(settings(), 1)
    run = loop.Fit(model, glaciers, settings(), torch.device("cpu"), toy / RUN, None, {})
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limit[1]))
    try:
        with pytest.raises(GlacierError, match="best.pt could not be written .*make room"):
            run.save_best(1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert (toy / RUN / "best.pt").read_bytes() == before
    assert saved["state"]["epoch"] == 1
    assert not list((toy / RUN).glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize("network", MODELS)
def test_every_small_network_learns_a_batch_by_heart(toy, network):
    """To less than a third of climatology's score."""
    script = importlib.import_module(f"DeepLearning.train{network}")
    cfg = config.load(script.Settings, name="toy")
    glaciers = read()
    batch = glaciers.batch(glaciers.draw(glaciers.samples("train"), 3, 0, 1))
    torch.manual_seed(0)
    model = script.build(cfg, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0)
    scores = []
    for _ in range(1500):
        score = loop.loss_sum(model.numbers(batch.inputs, batch.context), batch)
        scores.append(score.item())
        if scores[-1] < scores[0] / 3:
            break
        optimizer.zero_grad()
        (score / batch.observed.sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert scores[-1] < scores[0] / 3


def test_fine_tuning_starts_from_a_run(trained):
    before = checkpoints.read(trained / "best.pt")["weights"]
    session.train(settings(start=trained.name, epochs=1, learningRate=1e-9), build)
    after = checkpoints.read(run_folders.list_runs()[-1] / "last.pt")["weights"]
    assert after.pop("factor").tolist() == [1, 1]  # it is earned anew, not trained
    assert all(torch.allclose(before[name], after[name], atol=1e-5) for name in after)
    with pytest.raises(
        GlacierError, match="holds AttentionLSTM .*'hidden': 16.* not AttentionLSTM .*'hidden': 32"
    ):
        session.train(settings(start=trained.name, hidden=32), build)
    with pytest.raises(GlacierError, match="did you mean toy-AttentionLSTM-00"):
        session.train(settings(start="toy-AttentionLTSM-001"), build)
    assert len(run_folders.list_runs()) == 2


@pytest.mark.usefixtures("scores_only", "no_pictures")
def test_several_glaciers_and_one_held_out(toy, toy_home, tmp_path_factory, monkeypatch):
    """Two glaciers trained on together, a third scored without having been seen."""
    home = tmp_path_factory.mktemp("several")
    for name in ("toy", "twin", "other"):
        shutil.copytree(toy_home / "datasets" / "toy", home / "datasets" / name)
    monkeypatch.setenv("GLACIER_HOME", str(home))
    session.train(settings(names=("toy", "twin"), holdout="other", epochs=1), build)
    (run,) = run_folders.list_runs()
    assert run.name == "toy+twin-AttentionLSTM-001"
    assert run_folders.read_run(run)["names"] == ["toy", "twin"]
    assert set(runner.read_manifest(run)["counts"]["crps"]) == {"validation", "holdout other"}
    evaluate.run(config.load(evaluate.Settings, name="other", run=(run.name,), wandb="disabled"))
    assert (run / "evaluation-other" / "scores.csv").is_file()
    with pytest.raises(GlacierError, match="take it out of names"):
        session.train(settings(names=("toy", "twin"), holdout="twin"), build)


def test_glaciers_held_out_by_share_by_file_or_by_names(tmp_path):
    """They leave the names; a share draws as many as it says, alike again, and one more glacier moves few."""
    names = tuple(f"alps/{number}" for number in range(10))
    by_share = with_held_out(settings(names=names, holdout="0.2"))
    drawn = held_out(by_share)
    assert len(drawn) == 2
    assert {*drawn, *by_share.names} == set(names)
    assert not {*drawn} & {*by_share.names}
    assert with_held_out(settings(names=names[::-1], holdout="0.2")).holdout == by_share.holdout
    assert with_held_out(settings(names=names, holdout="0.2", seed=3)).holdout != by_share.holdout
    more = held_out(with_held_out(settings(names=(*names, "alps/new"), holdout="0.2")))
    assert {*more} & {*drawn}
    assert len(held_out(with_held_out(settings(names=names[:2], holdout="0.9")))) == 1
    (tmp_path / "test.txt").write_text("alps/3\nalps/9\n")
    by_file = with_held_out(settings(names=names, holdout=str(tmp_path / "test.txt")))
    assert by_file.holdout == "alps/3,alps/9"
    assert len(by_file.names) == 8
    assert with_held_out(settings(names=names, holdout="a,b")).holdout == "a,b"
    with pytest.raises(GlacierError, match="give two or more"):
        with_held_out(settings(holdout="0.2"))


def start(
    home: Path, *flags: str, processes: int = 0, **variables: str
) -> subprocess.Popen | Command:
    """Start a training; processes : how many of them, by torchrun; 0 for one without it."""
    words = [
        str(ROOT / "DeepLearning" / "trainAttentionLSTM.py"),
        *(f"--{name}={QUICK[name]}" for name in QUICK),
        *flags,
    ]
    environment = os.environ | {"GLACIER_HOME": str(home), "OMP_NUM_THREADS": "1"} | variables
    if processes == 0:
        return Command(server(), words, home, environment)
    torchrun = ["-m", "torch.distributed.run", f"--nproc_per_node={processes}", "--standalone"]
    return subprocess.Popen(
        [sys.executable, *torchrun, *words],
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen, run: Path) -> tuple[str, dict]:
    """Return what a training printed, and what it left: files as bytes, the last checkpoint's weights."""
    output = process.communicate()[0]
    assert process.returncode == 0, output
    left = files_of(run)
    assert {"best.pt", "metrics.csv", "config.yaml", "pictures/epoch000.png"} <= set(left)
    return output, left | {"last": checkpoints.read(run / "last.pt")["weights"]}


def files_of(run: Path) -> dict[str, bytes]:
    """All files of a run that hold no times of day, as bytes."""
    files = {}
    for path in sorted(run.rglob("*")):
        if path.is_file() and path.name not in ("last.pt", "manifest.yaml"):
            files[str(path.relative_to(run))] = path.read_bytes()
    return files


def wait_for_epochs(process: subprocess.Popen, run: Path, count: int) -> None:
    """Wait until a training has written so many epochs; it is made to yield, so that it is not over before we look."""
    os.setpriority(os.PRIO_PROCESS, process.pid, 15)
    while (
        not (run / "metrics.csv").is_file()
        or len((run / "metrics.csv").read_text().splitlines()) < count + 2
    ):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


def fresh_home(toy_home: Path, home: Path) -> Path:
    """Return a new folder with the toy glacier and no run."""
    home.mkdir()
    (home / "datasets").symlink_to(toy_home / "datasets")
    return home


def losses_of(run: Path) -> np.ndarray:
    """The rows of metrics.csv after the first, which is of the untrained network."""
    return np.genfromtxt(run / "metrics.csv", delimiter=",", skip_header=2)


def test_two_processes_do_what_one_does_with_the_doubled_batch(toy, toy_home, tmp_path):
    session.train(settings(epochs=2, batchSize=16, augment=True), build)
    home = fresh_home(toy_home, tmp_path / "two")
    flags = ("--epochs=2", "--batchSize=8", "--augment=True")
    output, _ = finish(start(home, *flags, processes=2), home / RUN)
    assert output.count("Training toy-AttentionLSTM-001") == 1
    assert losses_of(home / RUN) == pytest.approx(losses_of(toy / RUN), rel=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes of torchrun in /proc")
def test_two_killed_processes_go_on_to_the_same_bytes(toy_home, tmp_path):
    """All killed at once, as a cluster does; then --resume: weights and metrics as if never stopped."""
    whole, broken = (fresh_home(toy_home, tmp_path / name) for name in ("whole", "broken"))
    _, expected = finish(start(whole, "--epochs=12", processes=2), whole / RUN)
    process = start(broken, "--epochs=12", processes=2)
    wait_for_epochs(process, broken / RUN, 2)
    for child in children(process.pid):
        os.kill(child, signal.SIGKILL)
    process.kill()
    process.communicate()
    assert not (broken / RUN / "manifest.yaml").exists()
    output, left = finish(start(broken, "--resume", processes=2), broken / RUN)
    assert "Going on with" in output
    weights, known = left.pop("last"), expected.pop("last")
    assert all(torch.equal(weights[name], known[name]) for name in known)
    assert left == expected


def children(number: int) -> list[int]:
    """Return the processes that a process has started."""
    return [
        int(word) for word in Path(f"/proc/{number}/task/{number}/children").read_text().split()
    ]


def test_up_to_date_and_new_run_after_a_change(trained, caplog):
    caplog.set_level("INFO")
    session.train(settings(), build)
    assert "up to date" in caplog.text
    assert run_folders.list_runs() == [trained]
    session.train(settings(learningRate=2e-3), build)
    assert "learningRate changed from 0.001 to 0.002" in caplog.text
    assert [run.name for run in run_folders.list_runs()] == [
        "toy-AttentionLSTM-001",
        "toy-AttentionLSTM-002",
    ]
    session.train(settings(), build)
    assert len(run_folders.list_runs()) == 2


@pytest.fixture(scope="module")
def unbroken(toy_home, tmp_path_factory) -> dict:
    """What a training leaves that nothing stopped."""
    home = fresh_home(toy_home, tmp_path_factory.mktemp("unbroken") / "home")
    return finish(start(home, "--epochs=12"), home / RUN)[1]


@pytest.mark.parametrize(
    ("stop", "flag"), [(signal.SIGKILL, "--epochs=12"), (signal.SIGINT, "--resume")]
)
def test_stopped_training_ends_in_the_same_bytes(toy, unbroken, stop, flag):
    """Killed or Ctrl-C, then the same command or --resume: weights and metrics as if never stopped."""
    run, process = toy / RUN, start(toy, "--epochs=12")
    wait_for_epochs(process, run, 2)
    process.send_signal(stop)
    output = process.communicate()[0]
    if stop == signal.SIGINT:
        assert process.returncode == 130
        assert "The same command, or --resume, goes on from the last epoch" in output
    assert not (run / "manifest.yaml").exists()
    output, left = finish(start(toy, flag), run)
    assert "Going on with" in output
    weights, expected = left.pop("last"), unbroken["last"]
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert left == {name: unbroken[name] for name in left}


def test_killed_before_its_picture_it_draws_it_afterwards(toy, unbroken_toy, monkeypatch):
    """Ended between the checkpoint of an epoch and the picture of it: the same command comes to the same files."""
    draw = loop.draw_sample

    def killed(path, *more):
        if path.stem == "epoch002":
            raise SystemExit("killed")
        draw(path, *more)

    monkeypatch.setattr(loop, "draw_sample", killed)
    with pytest.raises(SystemExit):
        session.train(settings(pictureEvery=2), build)
    assert not (toy / RUN / "pictures" / "epoch002.png").exists()
    monkeypatch.setattr(loop, "draw_sample", draw)
    session.train(settings(pictureEvery=2), build)
    assert files_of(toy / RUN) == unbroken_toy


@pytest.fixture
def unbroken_toy(toy_home, tmp_path_factory, monkeypatch) -> dict:
    """The files of a training that nothing stopped, with a picture every second epoch."""
    home = fresh_home(toy_home, tmp_path_factory.mktemp("whole") / "home")
    with monkeypatch.context() as patch:
        patch.setenv("GLACIER_HOME", str(home))
        session.train(settings(pictureEvery=2), build)
    return files_of(home / RUN)


def interrupted(signals: int, obeys: bool) -> list[str]:
    """Send this process signals while they are held back; return what was reached before they were obeyed."""
    reached = []
    try:
        with interrupts.Interrupts() as held:
            for number in range(signals):
                os.kill(os.getpid(), signal.SIGINT)
                reached.append(f"after signal {number + 1}")
            if obeys:
                held.obey()
            reached.append("the end")
    except KeyboardInterrupt:
        reached.append("obeyed")
    return reached


@pytest.mark.parametrize(
    ("signals", "obeys", "reached"),
    [
        (0, True, ["the end"]),
        (1, True, ["after signal 1", "obeyed"]),
        (1, False, ["after signal 1", "the end", "obeyed"]),
        (2, True, ["after signal 1", "obeyed"]),  # the second at once
    ],
)
def test_a_signal_waits_until_it_can_be_obeyed(signals, obeys, reached):
    """Raised inside a destructor an exception is lost; held back, it comes between two steps."""
    assert interrupted(signals, obeys) == reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_checkpoint_describes_itself(trained):
    saved = checkpoints.read(trained / "best.pt")
    assert saved["network"] == "AttentionLSTM"
    sizes = {"patch_size": 16, "channels": 1, "steps": 4, "horizon": 2}
    assert saved["arguments"] == sizes | {"hidden": 16, "layers": 1, "heads": 4, "context": []}
    assert saved["patches"] == yaml.safe_load((trained / "config.yaml").read_text())["patches"]


@pytest.mark.parametrize("what", ["cut", "empty", "text", "a list", "no weights", "other weights"])
def test_a_damaged_checkpoint_is_one_line(trained, what):
    path = trained / "best.pt"
    saved = checkpoints.read(path)
    (trained / "manifest.yaml").unlink()  # which would notice first
    contents = {"cut": path.read_bytes()[:1000], "empty": b"", "text": b"weights"}
    if what in contents:
        path.write_bytes(contents[what])
    else:
        weights = {"norm.weight": torch.zeros(3)}
        changed = {
            "a list": [1],
            "no weights": dict(saved),
            "other weights": saved | {"weights": weights},
        }
        if what == "no weights":
            del changed[what]["weights"]
        torch.save(changed[what], path)
    with pytest.raises(GlacierError, match="best.pt is damaged .*train again") as error:
        load_network(trained, torch.device("cpu"))
    assert "\n" not in str(error.value)


def load_best(run: Path):
    return load_network(run, torch.device("cpu"))


@pytest.mark.parametrize("where", ["config.yaml", "best.pt"])
def test_a_run_of_an_earlier_version_is_refused_in_one_line(trained, where):
    """Whether it is named, or the only one there is; and training begins a new one."""
    if where == "config.yaml":
        record = yaml.safe_load((trained / "config.yaml").read_text())
        del record["format"]
        (trained / "config.yaml").write_text(yaml.safe_dump(record))
    else:
        saved = checkpoints.read(trained / "best.pt")
        del saved["format"]
        torch.save(saved, trained / "best.pt")
    (trained / "manifest.yaml").unlink()
    look = run_folders.read_run if where == "config.yaml" else load_best
    with pytest.raises(GlacierError, match="made by an earlier version: train again: python Deep"):
        look(trained)
    if where == "config.yaml":
        session.train(settings(epochs=1), build)
        assert run_folders.list_runs()[-1].name == "toy-AttentionLSTM-002"


def test_folders_that_are_no_runs_are_passed_over(trained):
    runs = run_folders.runs_folder()
    for name in ("my notes", "toy-AttentionLSTM-001-backup", "toy-AttentionLSTM-007"):
        (runs / name).mkdir()
    shutil.copy(trained / "config.yaml", runs / "toy-AttentionLSTM-001-backup" / "config.yaml")
    (runs / "toy-AttentionLSTM-007" / "config.yaml").write_text("[1, 2")
    assert run_folders.list_runs() == [trained]
    assert run_folders.new_run("toy", "AttentionLSTM").name == "toy-AttentionLSTM-002"
    assert run_folders.new_run("toy", "AttentionLSTM").name == "toy-AttentionLSTM-003"


@pytest.mark.parametrize("script", ["trainAttentionLSTM.py", "trainUNet.py"])
def test_help_and_up_to_date_go_without_torch(trained, toy, script):
    """Loading it takes longer than all the rest; -X importtime names every module that is loaded."""
    words = [f"--{name}={value}" for name, value in QUICK.items()]
    for flags in (["--help"], words)[: 2 if "Attention" in script else 1]:
        modules, printed = modules_loaded(toy, f"DeepLearning/{script}", *flags)
        assert "numpy" in modules
        assert "torch" not in modules
    assert "Attention" not in script or "is up to date" in printed


# ── Weights & Biases ─────────────────────────────────────────────────────────────────────────────────────────────


def wandb_records(path: Path):
    """Yield the records of a .wandb file: blocks of 32 kB hold pieces, each after its check sum, length and kind."""
    content, whole = path.read_bytes(), b""
    position = 7  # of the file's own head
    while position + 7 <= len(content):
        if (rest := 32768 - position % 32768) < 7:
            position += rest
            continue
        length, kind = (
            int.from_bytes(content[position + 4 : position + 6], "little"),
            content[position + 6],
        )
        piece = content[position + 7 : position + 7 + length]
        whole = piece if kind in (1, 2) else whole + piece
        position += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record


def test_offline_run_holds_the_numbers_and_no_secret(toy):
    """What metrics.csv says is in the file for `wandb sync`, read with wandb's own messages; the key is nowhere."""
    key = "0123456789abcdef" * 2 + "01234567"
    output, _ = finish(
        start(toy, "--wandb=offline", "--pictureEvery=2", WANDB_API_KEY=key), toy / RUN
    )
    assert "wandb sync" in output
    (path,) = (toy / RUN).glob("wandb/offline-run-*/*.wandb")
    records = [record.history.item for record in wandb_records(path) if record.HasField("history")]
    rows = [
        {(*item.nested_key, item.key)[0]: json.loads(item.value_json) for item in items}
        for items in records
    ]
    for row, local in zip(rows, read_csv(toy / RUN / "metrics.csv"), strict=True):
        assert row["validation_crps"] == pytest.approx(float(local["validation_crps"]), rel=1e-8)
        assert row["_step"] == int(local["epoch"])
    assert {"learning_rate", "gradient_norm", "training_crps", "samples_per_second"} <= set(rows[1])
    assert any("forecast" in row for row in rows)
    for file in (toy / RUN).rglob("*"):
        assert not file.is_file() or key.encode() not in file.read_bytes(), file


def test_no_network_does_not_stop_a_run(toy):
    """Online, with a key and a server that does not answer: the run says so, goes on offline and ends."""
    began = time.monotonic()
    nowhere = {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    output, _ = finish(start(toy, "--wandb=online", **nowhere), toy / RUN)
    assert "the run goes on" in output
    assert "Wrote" in output
    assert time.monotonic() - began < 90


class Failing:
    """A run on Weights & Biases that fails."""

    def __init__(self, error: Exception):
        self.error = error

    def log(self, *arguments, **options):
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        wandb.Error("x"),
        wandb.errors.CommError("x"),
        MailboxClosedError("x"),
        HandleAbandonedError("x"),
        requests.exceptions.ConnectionError("x"),
        TimeoutError("x"),
        OSError(28, "No space left on device"),
        RuntimeError("x"),
    ],
)
def test_what_the_mirror_meets_is_a_warning(tmp_path, caplog, error):
    mirror = Mirror("disabled", tmp_path, {})
    mirror.run = Failing(error)
    mirror.log({"epoch": 1})
    assert mirror.run is None
    assert "the run goes on" in caplog.text


def test_a_fault_of_ours_is_not_taken_for_one_of_the_mirror(tmp_path):
    mirror = Mirror("disabled", tmp_path, {})
    mirror.run = Failing(TypeError("log() got an unexpected argument"))
    with pytest.raises(TypeError):
        mirror.log({"epoch": 1})


@pytest.mark.parametrize("network", MODELS)
def test_sweep_gives_settings_that_every_script_takes(network):
    """The command as an agent of Weights & Biases makes it from sweep.yaml."""
    sweep = yaml.safe_load((ROOT / "DeepLearning" / "sweep.yaml").read_text())
    drawn = {
        name: rule["values"][0] if "values" in rule else rule["min"]
        for name, rule in sweep["parameters"].items()
    }
    flags = create_sweep_command_args(
        {"args": {name: {"value": value} for name, value in drawn.items()}}
    )["args"]
    words = create_sweep_command(sweep["command"])
    assert words[1:3] == ["python", "${program}"]
    assert words[-1] == "${args}"
    script = importlib.import_module(f"DeepLearning.train{network}")
    cfg = config.load(script.Settings, [*words[3:-1], *flags])
    assert {name: getattr(cfg, name) for name in drawn} == drawn
    assert sweep["metric"]["name"] == "validation_crps"


@pytest.mark.parametrize(("variables", "known"), [({}, False), ({"WANDB_API_KEY": "0" * 40}, True)])
def test_key_is_known_from_variable_or_login(variables, known, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert key_known() == known
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password " + "0" * 40)
    assert key_known()


# ── What a user can get wrong ────────────────────────────────────────────────────────────────────────────────────


def test_patches_made_with_other_settings(toy):
    with pytest.raises(GlacierError, match="patchSize = 16, now it is 20"):
        session.train(settings(patchSize=20), build)


def test_nothing_to_resume(trained):
    with pytest.raises(GlacierError, match="no unfinished AttentionLSTM run"):
        session.train(settings(resume=True), build)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_gpu_that_is_not_there(toy):
    with pytest.raises(GlacierError, match="device cuda is not on this machine"):
        choose_device("cuda")


def test_presets_and_knobs():
    assert knobs(settings(hidden=None), PRESETS["small"]) == {
        "hidden": 128,
        "layers": 1,
        "heads": 4,
    }
    with pytest.raises(
        GlacierError,
        match="preset must be one of small, published; got 'publisht'; did you mean pub",
    ):
        settings(preset="publisht")


def test_heads_must_divide_hidden():
    with pytest.raises(GlacierError, match="hidden must be a multiple of heads"):
        settings(hidden=10)
