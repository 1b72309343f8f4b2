"""The stages in run order: the one place of the library that knows their names and scripts."""

from __future__ import annotations

from pathlib import Path

import config
from glacier.storage.runner import Stage

RAW_DATA = Stage("rawData", "dataAPI.py", (), "alignment.py")
CONTEXT = Stage("context", "dataAPI.py", (), "alignment.py")
ALIGNED = Stage("aligned", "alignment.py", (RAW_DATA,), "createPatches.py")
PATCHES = Stage("patches", "createPatches.py", (ALIGNED,), "movement.py")
MOVEMENT = Stage(
    "movement", "movement.py", (RAW_DATA, ALIGNED), "DeepLearning/trainAttentionLSTM.py"
)
STAGES = (RAW_DATA, CONTEXT, ALIGNED, PATCHES, MOVEMENT)


def runs_folder() -> Path:
    """Return the folder of all runs of networks."""
    return config.home() / "DeepLearning" / "runs"
