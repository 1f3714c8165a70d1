"""A lane of the GPU: one batch at a time on a stream of its own, from pixels to rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch

from models.architecture import Description
from models.preprocessing import IMAGE_SIZE
from serve_app.engines.base import Images, Outputs
from serve_app.engines.cuda_graphs import capture, warm_up
from serve_app.engines.cuda_staging import LOGITS, ROW, Staging
from serve_app.engines.cuda_streams import lease_stream
from serve_app.engines.ladder import rung_for

Describe = Callable[[torch.Tensor], Description]


class Lane:
    """Buffers, a stream and a way to launch each batch size. One thread at a time may use it.

    On its stream the copy to the device, the network and the copy back run in this order; beside
    other lanes' streams they run as the device finds room, so that one lane's copies go on
    while another computes.

    Args:
        describe: `LesionClassifier.describe` on the device.
        ladder: batch sizes, ascending; see `ladder.rungs`.
        device: with an index.
        graphs: whether to record a graph for each size, instead of launching kernel by kernel.
    """

    def __init__(
        self, describe: Describe, ladder: Sequence[int], device: torch.device, *, graphs: bool
    ) -> None:
        self._ladder = ladder
        self._stream = lease_stream(self, device)
        self._staging = Staging(ladder[-1], pinned=device.type == "cuda")
        # Blocking: the thread sleeps meanwhile, and its core decodes the next images.
        self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        # The weights are copied on the thread's own stream.
        self._stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(self._stream):
            shape = (ladder[-1], IMAGE_SIZE, IMAGE_SIZE, 3)
            self._images = torch.zeros(shape, dtype=torch.uint8, device=device)
            self._rows = torch.empty((ladder[-1], ROW), dtype=torch.float32, device=device)
        self._launches: dict[int, Callable[[], object]] = {}
        pool = torch.cuda.graph_pool_handle() if graphs else None
        # The largest first: the smaller ones find room in what it needed.
        for size in reversed(ladder):
            step = partial(describe_into, describe, self._images[:size], self._rows[:size])
            warm_up(step, self._stream)
            self._launches[size] = capture(step, self._stream, pool) if graphs else step
        self._stream.synchronize()

    def forward(self, images: Images, outputs: Outputs) -> None:
        """Run a batch and wait for it.

        On the device it is filled up to the next size with whatever images were there before.
        No image is computed from another, and only the batch's own rows come back.

        Args:
            images: uint8, each of shape (224, 224, 3); at least one, at most the last rung.
            outputs: a row for each; written.
        """
        count = len(images)
        staging = self._staging
        staging.put(images)
        try:
            with torch.cuda.stream(self._stream):
                self._images[:count].copy_(staging.images[:count], non_blocking=True)
                self._launches[rung_for(count, self._ladder)]()
                staging.rows[:count].copy_(self._rows[:count], non_blocking=True)
        finally:
            # Also after an error: what was launched uses the buffers of the next batch.
            self._done.record(self._stream)
            self._done.synchronize()
        staging.take(outputs)


@torch.inference_mode()
def describe_into(describe: Describe, images: torch.Tensor, rows: torch.Tensor) -> None:
    """Write what the network says of some images to memory that is there already.

    Args:
        describe: `LesionClassifier.describe`.
        images: uint8, shape (n, 224, 224, 3), contiguous.
        rows: float32, shape (n, 199): logits, then statistics.
    """
    # The bytes stay in NHWC order, which is what channels_last means.
    said = describe(images.permute(0, 3, 1, 2))
    rows[:, :LOGITS].copy_(said.logits)
    rows[:, LOGITS:].copy_(said.statistics)
