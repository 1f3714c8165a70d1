"""Niceness: threads beside the chain that let predictions go first."""

from __future__ import annotations

import os

NICENESS = 10
"""Of 19: enough that predictions hardly notice, and on a busy machine a tenth of a core is left."""


def step_back() -> None:
    """Make the calling thread nice, and the threads that it starts from now on.

    On Linux niceness is a thread's own, not the process's, and cannot be taken back.
    """
    os.nice(NICENESS)
