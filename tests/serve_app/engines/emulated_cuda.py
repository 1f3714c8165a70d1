"""CUDA without a GPU: streams, events and graphs that run on the CPU as late as they may.

A copy, a replay or a launch waits on its stream until something waits for it, which is the
latest that a GPU might get to it. Code that reads a result too early finds the old one here, and
code that uses a buffer again too early spoils it. A graph repeats the operations that were
recorded, on the memory that they had then, and nothing else.

What it cannot show: kernels, memory pools, speed, and what the driver forbids.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from serve_app.engines import torch_cuda

CPU = torch.device("cpu")

_VIEWS = {getattr(torch.ops.aten, name) for name in ("permute", "slice", "select", "alias")}
"""Operations that look at no values."""


class EmulatedStream:
    """Work in the order in which it was put there."""

    def __init__(self, device: object = None, priority: int = 0) -> None:
        self.priority = priority
        self._work: deque[Callable[[], object]] = deque()

    def put(self, work: Callable[[], object]) -> None:
        self._work.append(work)

    def wait_stream(self, other: EmulatedStream) -> None:
        self.put(other.synchronize)

    def synchronize(self) -> None:
        while self._work:
            self._work.popleft()()


class EmulatedEvent:
    """A mark on a stream."""

    def __init__(self, blocking: bool = False) -> None:
        self._stream: EmulatedStream | None = None
        self._reached = True

    def record(self, stream: EmulatedStream) -> None:
        self._stream, self._reached = stream, False
        stream.put(lambda: setattr(self, "_reached", True))

    def synchronize(self) -> None:
        while not self._reached:
            assert self._stream is not None
            self._stream._work.popleft()()


class EmulatedGraph:
    """Recorded operations."""

    def __init__(self) -> None:
        self.operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def replay(self) -> None:
        _current.stream.put(self._run)

    @torch.inference_mode()
    def _run(self) -> None:
        for function, arguments, options, recorded in self.operations:
            result = function(*arguments, **options)
            pairs = zip(_tensors(recorded), _tensors(result), strict=True)
            for memory, value in pairs:
                if memory.data_ptr() != value.data_ptr():
                    memory.copy_(value)


class _Launches(TorchDispatchMode):
    """What becomes of each operation on a stream: recorded, put off, or run behind the rest."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        options = kwargs or {}
        if _current.graph is not None:
            result = function(*args, **options)
            _current.graph.operations.append((function, args, options, result))
            return result
        if function is torch.ops.aten.copy_.default:
            _current.stream.put(lambda: function(*args, **options))
            return args[0]
        if function.overloadpacket not in _VIEWS:
            _current.stream.synchronize()
        return function(*args, **options)


class _Current(threading.local):
    def __init__(self) -> None:
        self.stream = EmulatedStream()
        self.graph: EmulatedGraph | None = None


_current = _Current()
_capturing = threading.Lock()


@contextmanager
def _stream(stream: EmulatedStream) -> Iterator[None]:
    before, _current.stream = _current.stream, stream
    try:
        with _Launches():
            yield
    finally:
        _current.stream = before


@contextmanager
def _graph(
    graph: EmulatedGraph, pool: object, stream: EmulatedStream, capture_error_mode: str
) -> Iterator[None]:
    assert capture_error_mode == "thread_local"
    assert _capturing.acquire(blocking=False), "two captures at once"
    stream.synchronize()  # as torch does
    try:
        _current.graph = graph
        with _stream(stream):
            yield
    finally:
        _current.graph = None
        _capturing.release()


def emulate_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `torch.cuda` look as if there were a GPU, for what the engine uses of it."""
    for name, substitute in (
        ("Stream", EmulatedStream),
        ("Event", EmulatedEvent),
        ("CUDAGraph", EmulatedGraph),
        ("stream", _stream),
        ("graph", _graph),
        ("graph_pool_handle", object),
        ("current_stream", lambda device=None: _current.stream),
        ("get_device_name", lambda device=None: "emulated"),
        ("is_bf16_supported", lambda including_emulation=True: False),
    ):
        monkeypatch.setattr(torch.cuda, name, substitute)
    monkeypatch.setattr(torch_cuda, "cuda_device", lambda: CPU)


def _tensors(result: Any) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    tree_map_only(torch.Tensor, found.append, result)
    return found
