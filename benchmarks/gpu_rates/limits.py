"""The limits of a GPU for one batch size: copies alone, and the network alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from models.package import WEIGHTS_FILE, ModelPackage
from models.preprocessing import IMAGE_SIZE
from serve_app.engines.cuda_graphs import CAPTURES, capture, warm_up
from serve_app.engines.cuda_lane import describe_into
from serve_app.engines.cuda_network import load_network
from serve_app.engines.cuda_staging import ROW, Staging
from serve_app.engines.cuda_streams import lease_stream
from serve_app.engines.torch_cuda import LANES

BURST = 16
"""Copies or replays that are queued before anyone waits, so that waiting costs nothing."""


class Limit:
    """Queues something on a stream of its own, again and again."""

    def __init__(self, device: torch.device, batch: int) -> None:
        self._batch = batch
        self._stream = lease_stream(self, device)
        self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        self._images = torch.zeros(
            (batch, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=torch.uint8, device=device
        )
        self._stream.wait_stream(torch.cuda.current_stream(device))
        self._queue: Callable[[], object]

    def __call__(self) -> int:
        """Queue a burst and wait for it; the images in it."""
        with torch.cuda.stream(self._stream):
            for _ in range(BURST):
                self._queue()
            self._done.record(self._stream)
        self._done.synchronize()
        return BURST * self._batch


class CopyLimit(Limit):
    """The bytes of a batch, from pinned memory to the GPU."""

    def __init__(self, device: torch.device, batch: int) -> None:
        super().__init__(device, batch)
        staging = Staging(batch, pinned=device.type == "cuda")
        self._queue = partial(self._images.copy_, staging.images, non_blocking=True)


class ComputeLimit(Limit):
    """The graph of a batch, whose images are there already.

    Args:
        package: must hold the weights.
        device: with an index.
        batch: images.
        dtype: that the network computes in.
    """

    def __init__(
        self, package: ModelPackage, device: torch.device, batch: int, dtype: torch.dtype
    ) -> None:
        super().__init__(device, batch)
        network = load_network(package.file(WEIGHTS_FILE), device, dtype)
        rows = torch.empty((batch, ROW), dtype=torch.float32, device=device)
        self._stream.wait_stream(torch.cuda.current_stream(device))
        step = partial(describe_into, network.describe, self._images, rows)
        with CAPTURES:
            warm_up(step, self._stream)
            self._queue = capture(step, self._stream, torch.cuda.graph_pool_handle())


def copy_limits(device: torch.device, batch: int) -> list[Limit]:
    """As many as the engine has lanes."""
    return [CopyLimit(device, batch) for _ in range(LANES)]


def compute_limits(
    package: ModelPackage, device: torch.device, batch: int, dtype: torch.dtype
) -> list[Limit]:
    """The same."""
    return [ComputeLimit(package, device, batch, dtype) for _ in range(LANES)]
