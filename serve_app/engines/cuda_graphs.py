"""CUDA graphs: the launches of one batch size, recorded once and replayed as one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

_WARM_UPS = 2
"""Runs before a capture: kernels are loaded, libraries choose algorithms and take their memory,
none of which a capture allows."""

CAPTURES = threading.Lock()
"""Held by who makes an engine. A capture begins by waiting for the device, which would break
another that is under way, and so might the first use of a library. Replays and copies on the
streams of other engines go on meanwhile."""


def warm_up(step: Callable[[], object], stream: torch.cuda.Stream) -> None:
    """Run a step on a stream until nothing in it happens for the first time."""
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UPS):
            step()


def capture(
    step: Callable[[], object], stream: torch.cuda.Stream, pool: Any
) -> Callable[[], object]:
    """Record what a step launches.

    Args:
        step: warmed up; reads and writes memory that outlives the graph and is not of `pool`.
        stream: of the caller alone; replays go there too.
        pool: of `torch.cuda.graph_pool_handle`. Graphs may share one if they are never replayed
            at the same time and no result stays in it: each overwrites what the others left.

    Returns:
        What replays it on the current stream. It keeps the step, and with it the weights: a graph
        knows addresses and holds on to nothing.
    """
    graph = torch.cuda.CUDAGraph()
    # The mode: only calls of this thread can spoil the capture; other threads go on serving.
    with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
        step()
    with torch.cuda.stream(stream):
        graph.replay()  # the first one uploads it
    return partial(_replay, graph, step)


def _replay(graph: torch.cuda.CUDAGraph, step: Callable[[], object]) -> None:
    graph.replay()
