"""Checkpoints: how a run's network is written, and read again."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from config import GlacierError
from DeepLearning.models import MODELS
from DeepLearning.training import run_folders
from glacier.storage import disk, tensors

KEYS = ("network", "arguments", "weights")


def save(path: Path, model: nn.Module, description: dict) -> None:
    """Write a checkpoint that says by itself which network it holds; GlacierError if the disk is full."""
    content = {
        "format": run_folders.FORMAT,
        "network": type(model).__name__,
        "arguments": model.arguments,
        "weights": model.state_dict(),
        **description,
    }
    with disk.writing(path) as file:
        torch.save(canonical(content), file)


def advice(path: Path) -> str:
    """Return what to do about a checkpoint that cannot be used."""
    return f"train again: {run_folders.train_command(path.parent, '--force')}"


def canonical(content):
    """Return plain containers rebuilt with one object per text, so that equal content is saved as equal bytes."""
    if isinstance(content, dict):
        return {canonical(key): canonical(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(canonical(value) for value in content)
    if isinstance(content, str):
        return sys.intern(content)
    return content


def read(path: Path) -> dict:
    """Return a checkpoint; GlacierError if it is missing, damaged, or of an earlier version."""
    content = tensors.read(path, advice(path))
    if not isinstance(content, dict):
        raise tensors.damaged(path, f"it holds a {type(content).__name__}", advice(path))
    if content.get("format") != run_folders.FORMAT:
        raise run_folders.outdated(path.parent)
    for key in KEYS:
        if key not in content:
            raise tensors.damaged(path, f"it has no {key}", advice(path))
    return content


def load_into(model: nn.Module, path: Path) -> dict:
    """Load a checkpoint's weights into a network; return the checkpoint. GlacierError if it holds another shape."""
    saved = read_alike(model, path)
    set_weights(model, saved["weights"], path)
    return saved


def read_alike(model: nn.Module, path: Path) -> dict:
    """Return a checkpoint; GlacierError if it holds another network, or one of another shape."""
    saved = read(path)
    if saved["network"] != type(model).__name__ or saved["arguments"] != model.arguments:
        raise GlacierError(
            f"{path} holds {saved['network']} {saved['arguments']}, "
            f"not {type(model).__name__} {model.arguments}; train with those settings"
        )
    return saved


def set_weights(model: nn.Module, weights: dict, path: Path) -> None:
    """Set a network's weights and buffers; GlacierError if they are not its own."""
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError, KeyError) as error:
        raise tensors.damaged(path, error, advice(path)) from error


def load_network(folder: Path, device: torch.device) -> nn.Module:
    """Return a run's best network, ready to forecast."""
    path = folder / "best.pt"
    saved = read(path)
    if saved["network"] not in MODELS:
        raise tensors.damaged(path, f"it holds the network {saved['network']!r}", advice(path))
    try:
        model = MODELS[saved["network"]](**saved["arguments"])
    except (TypeError, ValueError, RuntimeError) as error:
        raise tensors.damaged(path, error, advice(path)) from error
    set_weights(model, saved["weights"], path)
    return model.to(device).eval()
