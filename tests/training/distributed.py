"""Processes for tests of what a group does together: gloo, on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed
import torch.multiprocessing

from training.group import Group


def run_group(size: int, folder: Path, task: Callable[[Group, Path], None]) -> None:
    """Call a task in `size` processes of one group; an error in one is raised here."""
    torch.multiprocessing.spawn(_member, (size, folder, task), nprocs=size)  # type: ignore[no-untyped-call]


def _member(rank: int, size: int, folder: Path, task: Callable[[Group, Path], None]) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=size
    )
    task(Group(rank, size), folder)
    torch.distributed.destroy_process_group()
