"""Modules that take long to load and are not always needed: `--help` and "up to date" go without them."""

from __future__ import annotations

import importlib
from typing import Any


class Lazily:
    """A module that is loaded when one of its names is first used."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


def load(name: str) -> Any:
    """Return what stands for a module, as `ndimage = load("scipy.ndimage")`."""
    return Lazily(name)
