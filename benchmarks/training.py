"""How fast training is, beside the plain way:  python benchmarks/training.py [--quick]

Three comparisons, each in this run, with its ratio, in seconds of one processor's work: a training step of the
published networks against the same network written with a Python loop over steps and layers and with anomaly detection
left on; patches read from memory-mapped views against one pickled file a sequence, and against one array in memory; and
the disk these views take against copied patches. --quick: small sizes.
"""

from __future__ import annotations

import copy
import os
import pickle
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import config
import createPatches
from config import Config
from DeepLearning.data.adjustment import crps_sums
from DeepLearning.data.batches import Glaciers
from DeepLearning.data.context import Context
from DeepLearning.data.glacier import Glacier, training_thresholds
from DeepLearning.models import LSTM, AttentionLSTM, ConvLSTM, UNet
from glacier import console, distribution
from glacier.seasons import step_date
from glacier.storage import disk, runner

SIDE = 50
STEPS = 4
HORIZON = 4
BATCH = 8


# ── The plain way: one cell a layer, one Python call a step ──────────────────────────────────────────────────────


class PlainLSTM(nn.Module):
    """Layers of LSTM cells, called step by step; reads (B, T, n) and answers with all states of the last layer."""

    def __init__(self, lstm: nn.LSTM):
        super().__init__()
        self.cells = nn.ModuleList(
            nn.LSTMCell(lstm.hidden_size, lstm.hidden_size) for _ in range(lstm.num_layers)
        )
        for cell, weights in zip(self.cells, lstm.all_weights, strict=True):
            copy_weights(cell, weights)

    def forward(self, tokens: Tensor, states=None):
        states = list(states or [None] * len(self.cells))
        outputs = []
        for step in range(tokens.shape[1]):
            token = tokens[:, step]
            for number, cell in enumerate(self.cells):
                states[number] = cell(token, states[number])
                token = states[number][0]
            outputs.append(token)
        return torch.stack(outputs, dim=1), states


class PlainConvLSTM(nn.Module):
    """A ConvLSTM layer that convolves its input and state together, at each step anew."""

    def __init__(self, layer):
        super().__init__()
        self.hidden = layer.hidden
        channels = layer.from_input.in_channels + layer.hidden
        self.gates = nn.Conv2d(
            channels, 4 * layer.hidden, layer.from_input.kernel_size, padding="same"
        )
        together = torch.cat([layer.from_input.weight, layer.from_state.weight], dim=1)
        copy_weights(self.gates, [together, layer.from_input.bias])

    def forward(self, frames: Tensor, steps: int, state):
        frames = frames.chunk(steps)
        output, cell = (
            state
            or frames[0].new_zeros(2, len(frames[0]), self.hidden, *frames[0].shape[2:]).unbind()
        )
        outputs = []
        for frame in frames:
            keep, write, show, new = self.gates(torch.cat([frame, output], dim=1)).chunk(4, dim=1)
            cell = torch.sigmoid(keep + 1) * cell + torch.sigmoid(write) * torch.tanh(new)
            output = torch.sigmoid(show) * torch.tanh(cell)
            outputs.append(output)
        return torch.cat(outputs), (output, cell)


@torch.no_grad()
def copy_weights(layer: nn.Module, weights: Sequence[Tensor]) -> None:
    """Set a layer's parameters, in their order."""
    for parameter, weight in zip(layer.parameters(), weights, strict=True):
        parameter.copy_(weight)


def plain(model: nn.Module) -> nn.Module:
    """Return the network with its recurrent layers replaced by plain ones of the same weights."""
    for name, child in list(model.named_children()):
        if isinstance(child, nn.LSTM):
            setattr(model, name, PlainLSTM(child))
        elif isinstance(child, nn.ModuleList) and name in ("encoder", "decoder"):
            setattr(model, name, nn.ModuleList(PlainConvLSTM(layer) for layer in child))
    return model


# ── Steps ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Sample:
    """One batch to train on again and again. targets : (B, horizon, 1, side, side), all observed."""

    inputs: Tensor
    context: Context
    targets: Tensor
    observed: Tensor


def sample(side: int) -> Sample:
    """Return random inputs, context and targets."""
    generator = torch.Generator().manual_seed(0)

    def values(steps: int) -> Tensor:
        return torch.rand(BATCH, steps, 1, side, side, generator=generator)

    thresholds = training_thresholds(distribution.thresholds(True), 0.3)
    shape = (BATCH, HORIZON, len(thresholds), 1, side, side)
    functions = torch.rand(shape, generator=generator).sort(dim=2).values
    layers = {
        "climatology": functions,
        "input_mean": values(STEPS),
        "shift": torch.zeros(BATCH, HORIZON, 1, 1, 1),
    }
    times = 2019 + torch.arange(STEPS + HORIZON, dtype=torch.float64).expand(BATCH, -1) / 4
    context = Context(times[:, :STEPS], times[:, STEPS:], layers, thresholds, 0.3)
    observed = torch.ones(BATCH, HORIZON, 1, side, side, dtype=torch.bool)
    return Sample(values(STEPS), context, values(HORIZON), observed)


class Stepper:
    """A network with its AdamW, trained on one sample again and again: as here, or plainly with anomaly detection."""

    def __init__(self, model: nn.Module, data: Sample, plainly: bool):
        self.model = model.train()
        self.data = data
        self.plainly = plainly
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=not plainly)

    def seconds(self) -> float:
        """Take one step, forward, backward, AdamW; return its seconds."""
        start = time.process_time()
        with torch.autograd.set_detect_anomaly(self.plainly):
            self.optimizer.zero_grad(set_to_none=True)
            self.loss().backward()
            self.optimizer.step()
        return time.process_time() - start

    def loss(self) -> Tensor:
        """Return the mean CRPS of the network's two numbers a pixel."""
        data = self.data
        context = self.data.context
        numbers = self.model.numbers(data.inputs, context)
        sums = crps_sums(
            numbers,
            context.climatology,
            data.targets,
            data.observed,
            context.thresholds,
            context.floor,
        )
        return sums.sum() / data.targets.numel()


def published(side: int, wide: int) -> dict[str, Callable[[], nn.Module]]:
    """Return the published networks by name; side : of a patch [px]; wide : width of the LSTMs' states."""
    shape = (side, 1, STEPS, HORIZON)
    return {
        "LSTM": lambda: LSTM(*shape, hidden=wide, layers=3),
        "AttentionLSTM": lambda: AttentionLSTM(*shape, hidden=wide, layers=3, heads=5),
        "ConvLSTM": lambda: ConvLSTM(*shape, hidden=(64, 64, 24), decoder=(24, 64, 24)),
        "UNet": lambda: UNet(*shape, widths=(64, 128, 256, 512, 1024)),
    }


@torch.no_grad()
def check_twins() -> None:
    """End the benchmark unless the plain networks have our weights and answer alike: it compares time, nothing else."""
    data = sample(16)
    for name, build in published(16, 20).items():
        model = build()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.05)
        twin = plain(copy.deepcopy(model))
        ours = torch.stack(model.numbers(data.inputs, data.context))
        theirs = torch.stack(twin.numbers(data.inputs, data.context))
        if weights_of(twin) != weights_of(model) or not torch.allclose(theirs, ours, atol=1e-5):
            sys.exit(f"error: the plain {name} is another network than ours")


def weights_of(model: nn.Module) -> int:
    """Return the number of a network's weights."""
    return sum(parameter.numel() for parameter in model.parameters())


def compare_steps(quick: bool, repeats: int) -> list[tuple]:
    """Return a row for each published network: seconds a step here and plainly, and their ratio."""
    data = sample(16 if quick else SIDE)
    if quick:
        networks = published(16, 50)
    else:
        networks = published(SIDE, 2500)
    rows = []
    for name, build in networks.items():
        model = build()
        twin = plain(copy.deepcopy(model))
        ours = Stepper(model, data, plainly=False)
        theirs = Stepper(twin, data, plainly=True)
        pairs = [(ours.seconds(), theirs.seconds()) for _ in range(repeats + 1)][1:]
        here, there = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(one / other for one, other in pairs)
        rows.append((f"step of {name} [s]", f"{here:.3f}", f"{there:.3f}", f"{ratio:.2f}"))
    return rows


# ── Reading and disk ─────────────────────────────────────────────────────────────────────────────────────────────


def make_glacier(home: Path, side: int, steps: int) -> Config:
    """Write a series of random composites and cut its patches; return its settings."""
    random = np.random.default_rng(0)
    folder = home / "datasets" / "random" / "aligned"
    shapes = {
        "composites": ((steps, 1, side, side), np.float32),
        "observed": ((steps, side, side), bool),
    }
    for name, (shape, kind) in shapes.items():
        with disk.writing_array(folder / f"{name}.npy", shape, kind) as out:
            if kind is bool:
                out[:] = random.random(shape) > 0.1
            else:
                out[:] = random.random(shape, dtype=np.float32)
    dates = [str(step_date(4 * 2013 + step, 4)) for step in range(steps)]
    record = {
        "dates": dates,
        "counts": [1] * steps,
        "channels": ["ndsi"],
        "steps_per_year": 4,
        "crs": "EPSG:32643",
        "transform": [30.0, 0.0, 600015.0, 0.0, -30.0, 3500025.0],
    }
    disk.write_json(folder / "composites.json", record)
    runner.write_manifest(folder, {}, {}, folder.glob("composites.*"), {}, 0)
    os.environ["GLACIER_HOME"] = str(home)
    cfg = config.load(Config, name="random", patchSize=SIDE)
    createPatches.run(cfg)
    return cfg


def compare_reading(home: Path, side: int, steps: int, count: int) -> list[tuple]:
    """Return rows for samples a second and for disk: patches of SIDE px at stride 10 of side x side px scenes.

    A sample is here all that a training batch holds, climatology and the rest of the context included. The plain way is
    one pickle a sample, read by PyTorch's DataLoader: of a sequence alone, inputs and targets, or of the same content.
    """
    glacier = Glacier(make_glacier(home, side, steps), coarse=True)
    glaciers = Glaciers([glacier])
    windows = glacier.patches.windows
    samples = glaciers.draw(glaciers.samples("train"), count, 0, 0)

    def sequences(some: np.ndarray) -> list[Tensor]:
        pairs = []
        for _, window, row, column in some:
            of_window = windows[window]
            pairs.append((of_window.inputs[row, column], of_window.targets[row, column]))
        return [torch.stack(part) for part in zip(*pairs, strict=True)]

    def batches(some: np.ndarray) -> list[Tensor]:
        batch = glaciers.batch(some)
        return [batch.inputs, *batch.context.layers.values(), batch.targets, batch.observed]

    batches(samples)  # climatology of the steps is worked out once, not in the race
    rows = []
    for what, read in (("sequences", sequences), ("sequences and context", batches)):
        for kind in ("tensors", "arrays"):
            name = f"{what} read, against pickled {kind} [samples/s]"
            rows.append((name, *race(home, samples, read, kind == "arrays")))
    array = InMemory(np.array(glacier.series.values), samples, glacier.stride)
    name = "sequences read, against one array in memory [samples/s]"
    rows.append((name, *race_against(array, samples, sequences)))
    return [*rows, compare_disk(home, windows, side)]


def compare_disk(home: Path, windows: Sequence, side: int) -> tuple:
    """Return the row of the disk that patch tensors take, beside that of copied patches."""
    disk = copied = 0
    for kind in ("images", "targets"):
        for path in (home / "datasets/random/patches" / kind).iterdir():
            disk += path.stat().st_size
    for window in windows:
        copied += 4 * (window.inputs.numel() + window.targets.numel())
    name = f"disk of {len(windows)} windows, {side} x {side} px [MB]"
    return (name, f"{disk / 1e6:.0f}", f"{copied / 1e6:.0f}", f"1/{copied / disk:.0f}")


class Pickles(Dataset):
    """Samples, one pickled file each, as a first data set is often written."""

    def __init__(self, folder: Path, count: int):
        self.folder = folder
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> list:
        with open(self.folder / f"{number}.pkl", "rb") as file:
            return pickle.load(file)


class InMemory(Dataset):
    """Sequences cut from one array that lies in memory, the strongest plain way while it fits.

    values : (T, C, H, W). samples : (N, 4), of which the last three say window, row and column.
    """

    def __init__(self, values: np.ndarray, samples: np.ndarray, stride: int):
        self.values = torch.from_numpy(values)
        self.samples, self.stride = samples, stride

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        _, first, row, column = self.samples[number].tolist()
        top, left = row * self.stride, column * self.stride
        patch = self.values[:, :, top : top + SIDE, left : left + SIDE]
        target = first + STEPS
        return patch[first:target], patch[target : target + HORIZON]


def race(home: Path, samples: np.ndarray, read, arrays: bool) -> tuple[str, str, str]:
    """Return samples a second of `read`, of one pickle a sample with the same content, and their ratio.

    arrays : whether the pickles hold NumPy arrays, which load several times faster than torch's tensors.
    """
    for number in range(len(samples)):
        with open(home / f"{number}.pkl", "wb") as file:
            parts = [part[0].clone() for part in read(samples[number : number + 1])]
            pickle.dump([part.numpy() if arrays else part for part in parts], file)
    return race_against(Pickles(home, len(samples)), samples, read)


def race_against(plain_way: Dataset, samples: np.ndarray, read) -> tuple[str, str, str]:
    """Return samples a second of `read` and of a data set with a DataLoader in this process, and their ratio."""
    loader = DataLoader(plain_way, batch_size=BATCH)
    speeds = []
    for _ in range(5):
        start = time.process_time()
        for first in range(0, len(samples), BATCH):
            read(samples[first : first + BATCH])
        middle = time.process_time()
        for _ in loader:
            pass
        end = time.process_time()
        speeds.append((len(samples) / (middle - start), len(samples) / (end - middle)))
    here, there = (statistics.median(column) for column in zip(*speeds, strict=True))
    ratio = statistics.median(one / other for one, other in speeds)
    return f"{here:.0f}", f"{there:.0f}", f"{ratio:.1f}"


def main() -> int:
    quick = "--quick" in sys.argv[1:]
    torch.set_num_threads(1)
    check_twins()
    rows = [("what", "here", "plain way", "ratio"), *compare_steps(quick, 3)]
    with tempfile.TemporaryDirectory() as folder:
        rows += compare_reading(Path(folder), *((160, 30, 200) if quick else (800, 35, 2000)))
    print("\n".join(console.lines_of(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
