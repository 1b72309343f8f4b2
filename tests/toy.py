"""A small series whose statistics are known, as the glacier "toy": for the tests of data, training and scores."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import config
import createPatches
from config import Config
from DeepLearning.data.batches import Glaciers
from DeepLearning.data.glacier import Glacier
from DeepLearning.trainAttentionLSTM import Settings, build
from DeepLearning.training import loop, session
from DeepLearning.verification import pictures, scoring
from glacier.seasons import step_date
from glacier.storage import disk, runner

YEARS, SIDE, CARRY = 7, 48, 0.8
RUN = Path("DeepLearning/runs/toy-AttentionLSTM-001")
QUICK = {
    "name": "toy",
    "wandb": "disabled",
    "epochs": 3,
    "samplesPerEpoch": 64,
    "hidden": 16,
    "layers": 1,
}


def toy_series() -> tuple[np.ndarray, np.ndarray]:
    """Return a seasonal cycle plus departures of which a part CARRY stays from step to step; values and observed."""
    random = np.random.default_rng(0)
    cycle = 0.5 + 0.2 * np.sin(2 * np.pi * np.arange(4 * YEARS) / 4)[:, None, None]
    slope = 0.1 * np.linspace(-1, 1, SIDE)[None, :, None] + np.zeros((1, 1, SIDE))
    departures = np.zeros((4 * YEARS, SIDE, SIDE))
    for step in range(1, 4 * YEARS):
        departures[step] = CARRY * departures[step - 1] + 0.05 * random.standard_normal(
            (SIDE, SIDE)
        )
    observed = random.random((4 * YEARS, SIDE, SIDE)) > 0.1
    return (cycle + slope + departures).astype(np.float32)[:, None], observed


@pytest.fixture(scope="module")
def one_thread():
    """Networks this small are faster without threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def write_glacier(
    home: Path, name: str, values: np.ndarray, observed: np.ndarray, a_year: int = 4, **settings
) -> None:
    """Write aligned/ and glacier.yaml of a made series that begins with 2013, and cut its patches."""
    folder = home / "datasets" / name / "aligned"
    for kind, array in (("composites", values), ("observed", observed)):
        with disk.writing_array(folder / f"{kind}.npy", array.shape, array.dtype) as out:
            out[:] = array
    dates = [str(step_date(2013 * a_year + step, a_year)) for step in range(len(values))]
    record = {
        "steps_per_year": a_year,
        "dates": dates,
        "counts": [3] * len(dates),
        "channels": ["ndsi"],
        "crs": "EPSG:32643",
        "transform": [30.0, 0.0, 600015.0, 0.0, -30.0, 3500025.0],
    }
    disk.write_json(folder / "composites.json", record)
    files = folder.glob("composites.*")
    runner.write_manifest(folder, {"stepsPerYear": a_year}, {}, files, {}, 0)
    cut = {"patchSize": 16, "stride": 8, "sequenceLength": 4, "horizon": 2, "stepsPerYear": a_year}
    disk.write_yaml(home / "datasets" / name / "glacier.yaml", cut | settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLACIER_HOME", str(home))
        patch.setattr(createPatches, "draw", lambda *parts: [])
        createPatches.run(config.load(Config, name=name))


@pytest.fixture(scope="session")
def toy_home(tmp_path_factory) -> Path:
    """A folder with datasets/toy: aligned and patches."""
    home = tmp_path_factory.mktemp("toy")
    write_glacier(home, "toy", *toy_series(), years=[2013, 2019])
    return home


def draw_nothing(path: Path, *parts) -> Path:
    """Stand for a picture, where pictures are not the point."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"a picture")
    return path


@pytest.fixture
def no_pictures(monkeypatch) -> None:
    """Trainings in this process draw nothing."""
    monkeypatch.setattr(loop, "draw_sample", draw_nothing)


@pytest.fixture
def scores_only(monkeypatch) -> None:
    """Evaluations in this process draw nothing and score the test only."""
    for name in ("draw_skill", "draw_bands", "draw_patches"):
        monkeypatch.setattr(pictures, name, draw_nothing)
    monkeypatch.setattr(pictures, "draw_probabilities", lambda *parts: [])
    monkeypatch.setattr(scoring, "rolling_rows", lambda *parts: [])


@pytest.fixture
def toy(toy_home, tmp_path, monkeypatch, no_pictures) -> Path:
    """The toy glacier with no run yet."""
    (tmp_path / "datasets").symlink_to(toy_home / "datasets")
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    return tmp_path


def settings(cls=Settings, **more):
    return config.load(cls, **(QUICK | more if cls is Settings else {"name": "toy"} | more))


@pytest.fixture(scope="session")
def trained_home(toy_home, tmp_path_factory) -> Path:
    """A folder with a quick finished run on the toy glacier."""
    home = tmp_path_factory.mktemp("trained")
    (home / "datasets").symlink_to(toy_home / "datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLACIER_HOME", str(home))
        patch.setattr(loop, "draw_sample", draw_nothing)
        assert session.train(settings(), build) == 0
    return home


@pytest.fixture
def trained(trained_home, toy) -> Path:
    """The folder of a finished run, the only one of the toy glacier."""
    shutil.copytree(trained_home / "DeepLearning", toy / "DeepLearning")
    return toy / RUN


def read(cls=Glaciers, **more):
    """Return the toy glacier, as read."""
    glacier = Glacier(settings(**more), coarse=cls is Glaciers)
    return Glaciers([glacier]) if cls is Glaciers else glacier


def read_csv(path: Path) -> list[dict]:
    with open(path) as file:
        return list(csv.DictReader(file))
