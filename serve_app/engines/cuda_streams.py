"""CUDA streams that belong to one owner at a time."""

from __future__ import annotations

import queue
import weakref

import torch

# Libraries take theirs from the pool of ordinary priority; in this one we are by ourselves.
_PRIORITY = -1

_idle: dict[torch.device, queue.SimpleQueue[torch.cuda.Stream]] = {}


def lease_stream(owner: object, device: torch.device) -> torch.cuda.Stream:
    """A stream that nobody else has until its owner is gone.

    Torch hands out the same 32 streams in turn. In a replica that lives through many versions,
    a lane might so be given the stream of another that serves, and what that one runs while the
    first captures would end up in the first one's graphs.

    Args:
        owner: must have waited for all that it put on the stream before it goes.
        device: with an index.
    """
    # A simple queue, because finalizers may run in the middle of its own methods.
    idle = _idle.setdefault(device, queue.SimpleQueue())
    try:
        stream = idle.get_nowait()
    except queue.Empty:
        stream = torch.cuda.Stream(device, priority=_PRIORITY)  # type: ignore[no-untyped-call]
    weakref.finalize(owner, idle.put, stream).atexit = False
    return stream
