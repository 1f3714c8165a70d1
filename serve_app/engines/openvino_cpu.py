"""OpenVINO on the CPU: bf16 where the processor has it, float32 elsewhere."""

from __future__ import annotations

import queue

import numpy as np
import openvino as ov

from models.classes import CLASSES
from models.package import GRAPH_FILE, GRAPH_WEIGHTS_FILE, ModelPackage
from models.preprocessing import IMAGE_SIZE
from serve_app.engines.base import EngineInfo, Images, Logits

# Each lane runs on one core and a few images at a time: MobileNetV2's activations for four
# images still fit the cache, larger batches were slower (docs/decisions/0003).
MAX_PIECE = 4


class OpenVinoEngine:
    """The package's graph, compiled once for every piece size.

    Args:
        package: must hold the graph.
        threads: lanes, each of one core.
    """

    def __init__(self, package: ModelPackage, threads: int = 1) -> None:
        core = ov.Core()
        graph = core.read_model(package.file(GRAPH_FILE), package.file(GRAPH_WEIGHTS_FILE))
        capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        precision = "bf16" if "BF16" in capabilities else "f32"
        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
            # Pinning puts the first thread of every process on core 0, all of them.
            "ENABLE_CPU_PINNING": False,
        }
        self._requests: dict[int, queue.SimpleQueue[ov.InferRequest]] = {}
        for size in _PIECE_SIZES:
            graph.reshape([size, IMAGE_SIZE, IMAGE_SIZE, 3])
            compiled = core.compile_model(graph, "CPU", options)
            self._requests[size] = queue.SimpleQueue()
            for _ in range(threads):
                self._requests[size].put(compiled.create_infer_request())
        self.max_piece = MAX_PIECE
        self.info = EngineInfo(
            name="openvino",
            device=core.get_property("CPU", "FULL_DEVICE_NAME").strip(),
            precision=precision,
            lanes=threads,
        )

    def forward(self, images: Images) -> Logits:
        """See `Engine.forward`."""
        logits = np.empty((len(images), len(CLASSES)), np.float32)
        start = 0
        while start < len(images):
            size = MAX_PIECE if len(images) - start >= MAX_PIECE else 1
            piece = images[start : start + size]
            batch = piece[0][None] if size == 1 else np.stack(piece)
            logits[start : start + size] = self._infer(batch)
            start += size
        return logits

    def _infer(self, batch: np.ndarray) -> Logits:
        requests = self._requests[len(batch)]
        request = requests.get()
        try:
            request.infer({0: batch}, share_inputs=True)
            return np.array(request.get_output_tensor(0).data)
        finally:
            requests.put(request)


_PIECE_SIZES = (1, MAX_PIECE)
