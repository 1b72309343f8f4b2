"""Files that PyTorch writes, read so that no code runs and every fault is one clear line."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config import GlacierError
from glacier.storage import integrity

if TYPE_CHECKING:  # loading it takes seconds: a stage that has nothing to do goes without
    import torch

# what PyTorch's reader raises on files that are cut, changed or something else
FAULTS = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    MemoryError,
    pickle.UnpicklingError,
)


def read(path: Path, advice: str, mapped: bool = False) -> Any:
    """Return what torch.save wrote: tensors and plain containers. mapped : tensors stay on disk until they are used.

    GlacierError if the file is missing or damaged, with `advice`, what to do then.
    """
    import torch

    if not path.is_file():
        raise GlacierError(f"{path} is missing; {advice}")
    integrity.check(path)
    try:
        return torch.load(path, map_location="cpu", mmap=mapped, weights_only=True)
    except FAULTS as error:
        raise damaged(path, error, advice) from error


def read_tensor(path: Path, advice: str) -> torch.Tensor:
    """Return a tensor, memory-mapped; GlacierError as `read`, and if the file holds something else."""
    import torch

    tensor = read(path, advice, mapped=True)
    if not isinstance(tensor, torch.Tensor):
        raise damaged(path, f"it holds a {type(tensor).__name__}, no tensor", advice)
    return tensor


def damaged(path: Path, reason: Any, advice: str) -> GlacierError:
    """Return the error of a file that cannot be used, in one line."""
    text = " ".join(str(reason).split())[:120]
    return GlacierError(f"{path} is damaged ({text}); {advice}")
