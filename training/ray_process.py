"""The process of a Ray Train worker: its place in the group, its threads and its heartbeat."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import ray.train
import ray.train.torch
import torch

from training.allocator import keep_freed_memory
from training.group import Group
from training.stored_run import StoredRun

HEARTBEAT_S = 2.0


def join_group(nice: int, threads: int | None = None) -> Group:
    """Make this process ready to train, and say which of the workers it is.

    Args:
        nice: of the process, 0 to 19; Ray's CPUs are bookkeeping, and this is what lets a
            server on the machine go first.
        threads: of torch; None shares the machine's cores among its workers.
    """
    context = ray.train.get_context()
    os.nice(nice)
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads or max(1, cores // context.get_local_world_size()))
    keep_freed_memory()
    return Group(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())


@contextmanager
def heart(run: StoredRun, group: Group) -> Iterator[None]:
    """Let rank 0 show the driver that it lives, also while it decodes or validates."""
    ended = threading.Event()

    def beat() -> None:
        run.heartbeat.touch()
        while not ended.wait(HEARTBEAT_S):
            run.heartbeat.touch()

    thread = threading.Thread(target=beat, daemon=True)
    if group.leads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
