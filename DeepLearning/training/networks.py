"""A run's network, ready to forecast, and the device it computes on."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from config import GlacierError
from DeepLearning.models import MODELS
from DeepLearning.training import run_folders


def choose_device(wanted: str) -> torch.device:
    """Return the device to compute on; GlacierError if it is not there."""
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if wanted == "auto":
        wanted = "cuda" if there["cuda"] else "cpu"
    if not there[wanted]:
        raise GlacierError(f"device {wanted} is not on this machine; use --device=cpu")
    return torch.device(wanted)


def load_network(folder: Path, device: torch.device) -> nn.Module:
    """Return a run's best network, ready to forecast."""
    saved = run_folders.read_checkpoint(folder / "best.pt")
    model = MODELS[saved["network"]](**saved["arguments"])
    model.load_state_dict(saved["weights"])
    return model.to(device).eval()
