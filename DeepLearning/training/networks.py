"""A run's network, ready to forecast, and the device it computes on."""

from __future__ import annotations

import torch

from config import GlacierError
from DeepLearning.training.checkpoints import load_network

__all__ = ["choose_device", "load_network"]


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
