"""Niceness: which threads go first where all want the same cores.

On Linux niceness is a thread's own, not the process's, and cannot be taken back. Ray starts its
workers as nice as can be unless `cluster/ray.env` says otherwise, and then all of this is void.
"""

from __future__ import annotations

import os

COMPUTE = 5
"""Of threads that decode and infer. The event loop goes first: it turns away what finds no room,
and if it has to wait for a core, so does everybody, and the queue is in the kernel where nobody
bounds it."""

UPLOADS = 10
"""Of threads that take uploads in: on a busy machine a quarter of a core is left for them."""

BESIDE = 15
"""Of threads beside the chain: enough that predictions hardly notice, and on a busy machine a
tenth of a core is left."""


def give_way() -> None:
    """Make the calling thread, and those that it starts from now on, one that computes."""
    os.nice(COMPUTE)


def step_back() -> None:
    """Make the calling thread, and those that it starts from now on, one beside the chain."""
    os.nice(BESIDE)
