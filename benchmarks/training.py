"""How fast training is, beside the plain way:  python benchmarks/training.py [--quick]

Three comparisons, each in this run, with its ratio: a training step of the published networks against the same network
written with a Python loop over steps and layers and with anomaly detection left on; patches read from memory-mapped
views against one pickled file a sequence; and the disk these views take against copied patches. --quick: small sizes.
"""
from __future__ import annotations

import pickle
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor, nn

import createPatches
import store
from DeepLearning.data import Context
from DeepLearning.models import LSTM, AttentionLSTM, ConvLSTM, UNet

SIDE, STEPS, HORIZON, BATCH = 50, 4, 4, 8


# ── The plain way: one cell a layer, one Python call a step ──────────────────────────────────────────────────────

class PlainLSTM(nn.Module):
    """Layers of LSTM cells, called step by step; reads (B, T, n) and answers with all states of the last layer."""

    def __init__(self, lstm: nn.LSTM):
        super().__init__()
        self.cells = nn.ModuleList(nn.LSTMCell(lstm.hidden_size, lstm.hidden_size) for _ in range(lstm.num_layers))

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
        self.gates = nn.Conv2d(channels, 4 * layer.hidden, layer.from_input.kernel_size, padding="same")

    def forward(self, frames: Tensor, state):
        batch, steps, _, height, width = frames.shape
        output, cell = state or frames.new_zeros(2, batch, self.hidden, height, width).unbind()
        outputs = []
        for step in range(steps):
            keep, write, show, new = self.gates(torch.cat([frames[:, step], output], dim=1)).chunk(4, dim=1)
            cell = torch.sigmoid(keep) * cell + torch.sigmoid(write) * torch.tanh(new)
            output = torch.sigmoid(show) * torch.tanh(cell)
            outputs.append(output)
        return torch.stack(outputs, dim=1), (output, cell)


def plain(model: nn.Module) -> nn.Module:
    """Return the network with its recurrent layers replaced by the plain ones."""
    for name, child in list(model.named_children()):
        if isinstance(child, nn.LSTM):
            setattr(model, name, PlainLSTM(child))
        elif isinstance(child, nn.ModuleList) and name in ("encoder", "decoder"):
            setattr(model, name, nn.ModuleList(PlainConvLSTM(layer) for layer in child))
    return model


# ── Steps ────────────────────────────────────────────────────────────────────────────────────────────────────────

def sample(side: int) -> tuple[Tensor, Context, Tensor]:
    """Return random inputs, context and targets."""
    generator = torch.Generator().manual_seed(0)
    parts = [torch.rand(BATCH, steps, 1, side, side, generator=generator) for steps in (STEPS, STEPS, *[HORIZON] * 4)]
    times = 2019 + torch.arange(STEPS + HORIZON, dtype=torch.float64).expand(BATCH, -1) / 4
    inputs, before, mean, spread, ago, targets = parts
    return inputs, Context(times[:, :STEPS], times[:, STEPS:], before, mean, spread, ago), targets


def step_seconds(model: nn.Module, data, anomalies: bool) -> float:
    """Return the seconds of one training step: forward, backward, AdamW."""
    inputs, context, targets = data
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    with torch.autograd.set_detect_anomaly(anomalies, check_nan=anomalies):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        (model(inputs, context) - targets).square().mean().backward()
        optimizer.step()
        return time.perf_counter() - start


def compare_steps(quick: bool, repeats: int) -> list[tuple]:
    """Return a row for each published network: seconds a step here and plainly, and their ratio."""
    side = 16 if quick else SIDE
    wide = 64 if quick else 2500
    shape = (side, 1, STEPS, HORIZON)
    networks = {
        "LSTM": lambda: LSTM(*shape, hidden=wide, layers=3),
        "AttentionLSTM": lambda: AttentionLSTM(*shape, hidden=wide, layers=3, heads=4 if quick else 5),
        "ConvLSTM": lambda: ConvLSTM(*shape, hidden=(64, 64, 24), decoder=(24, 64, 24)),
        "UNet": lambda: UNet(*shape, widths=(64, 128, 256, 512, 1024)),
    }
    data, rows = sample(side), []
    for name, build in networks.items():
        ours, theirs = build().train(), plain(build()).train()
        pairs = [(step_seconds(ours, data, False), step_seconds(theirs, data, True)) for _ in range(repeats + 1)][1:]
        here, there = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(one / other for one, other in pairs)
        rows.append((f"step of {name} [s]", f"{here:.3f}", f"{there:.3f}", f"{ratio:.2f}"))
    return rows


# ── Reading and disk ─────────────────────────────────────────────────────────────────────────────────────────────

def compare_reading(folder: Path, side: int, windows: int, count: int) -> list[tuple]:
    """Return rows for samples a second and for disk, patches of SIDE px at stride 10 of side x side px scenes."""
    random = np.random.default_rng(0)
    series = torch.from_numpy(random.random((windows + STEPS + HORIZON, 1, side, side), dtype=np.float32))
    for window in range(windows):
        with store.writing(folder / "views" / f"{window}.pt") as file:
            torch.save(createPatches.cut(series[window : window + STEPS + HORIZON].clone(), SIDE, 10), file)
    views = [torch.load(path, mmap=True, weights_only=True) for path in sorted((folder / "views").iterdir())]
    rows, columns = views[0].shape[:2]
    chosen = [(random.integers(windows), random.integers(rows), random.integers(columns)) for _ in range(count)]
    for number, (window, row, column) in enumerate(chosen):
        with open(folder / f"{number}.pkl", "wb") as file:
            pickle.dump(views[window][row, column].numpy().copy(), file)
    ratios = []
    for _ in range(5):
        start = time.perf_counter()
        for first in range(0, count, BATCH):
            torch.stack([views[window][row, column] for window, row, column in chosen[first : first + BATCH]])
        middle = time.perf_counter()
        for first in range(0, count, BATCH):
            torch.stack([read_pickle(folder / f"{number}.pkl") for number in range(first, min(first + BATCH, count))])
        ratios.append((count / (middle - start), count / (time.perf_counter() - middle)))
    fast, slow = (statistics.median(column) for column in zip(*ratios, strict=True))
    disk = sum(path.stat().st_size for path in (folder / "views").iterdir())
    copied = windows * rows * columns * (folder / "0.pkl").stat().st_size
    return [("samples read [1/s]", f"{fast:.0f}", f"{slow:.0f}", f"{fast / slow:.1f}"),
            (f"disk, {windows} windows of {side} px [MB]", f"{disk / 1e6:.0f}", f"{copied / 1e6:.0f}",
             f"1/{copied / disk:.0f}")]  # fmt: skip


def read_pickle(path: Path) -> Tensor:
    """Return one pickled sequence."""
    with open(path, "rb") as file:
        return torch.from_numpy(pickle.load(file))


def main() -> int:
    quick = "--quick" in sys.argv[1:]
    torch.set_num_threads(1)
    rows = [("what", "here", "plain way", "ratio"), *compare_steps(quick, 3)]
    with tempfile.TemporaryDirectory() as folder:
        rows += compare_reading(Path(folder), *((160, 3, 200) if quick else (800, 28, 2000)))
    print("\n".join(store.lines_of(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
