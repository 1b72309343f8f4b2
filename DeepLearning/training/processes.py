"""Several processes for one training, started by torchrun: who writes, who reads what, how numbers are summed.

Started plainly there is one process and every function here is a matter of course.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from config import GlacierError

if TYPE_CHECKING:  # loading it takes seconds: a run that is up to date goes without
    import torch
    from torch import nn

RANK = int(os.environ.get("RANK", 0))
COUNT = int(os.environ.get("WORLD_SIZE", 1))


def start(device: torch.device) -> None:
    """Meet the other processes: over nccl on GPUs, over gloo on CPUs."""
    import torch.distributed as dist

    if COUNT > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def stop() -> None:
    """Part from the other processes."""
    import torch.distributed as dist

    if COUNT > 1 and dist.is_initialized():
        dist.destroy_process_group()


def is_writer() -> bool:
    """Return whether this process writes files and speaks for all."""
    return RANK == 0


def share(items):
    """Return this process's share of a sequence that all processes hold: every COUNT-th item."""
    return items[RANK::COUNT]


def total(*numbers: float) -> list[float]:
    """Return the sums of numbers over all processes."""
    if COUNT == 1:
        return list(numbers)
    import torch
    import torch.distributed as dist

    summed = torch.tensor(numbers, dtype=torch.float64, device=meeting_place())
    dist.all_reduce(summed)
    return summed.tolist()


def wait() -> None:
    """Wait until all processes are here: what the writer wrote before is on disk now."""
    if COUNT > 1:
        import torch.distributed as dist

        dist.barrier()


def add_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Sum the gradients over all processes, in place; a process without samples adds 0."""
    if COUNT == 1:
        return
    import torch
    import torch.distributed as dist

    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat([parameter.grad.flatten() for parameter in parameters])
    dist.all_reduce(flat)
    for parameter, part in zip(
        parameters, flat.split([part.numel() for part in parameters]), strict=True
    ):
        parameter.grad.copy_(part.view_as(parameter))


def from_writer(make):
    """Return what `make` returns in the writer: it runs there only, and its GlacierError is raised everywhere."""
    if COUNT == 1:
        return make()
    import torch.distributed as dist

    answer = [None, None]
    if is_writer():
        try:
            answer[0] = make()
        except (GlacierError, OSError) as error:  # raised below, in all processes
            answer[1] = error
    dist.broadcast_object_list(answer, device=meeting_place())
    if answer[1] is not None:
        raise answer[1]
    return answer[0]


def meeting_place() -> torch.device:
    """Return the device on which the processes exchange numbers."""
    import torch
    import torch.distributed as dist

    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


def local_device(device: torch.device) -> torch.device:
    """Return this process's own GPU, or the device as it is."""
    import torch

    if device.type != "cuda":
        return device
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
