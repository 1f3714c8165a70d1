"""OpenVINO on the CPU: bf16 where the processor has it, float32 elsewhere."""

from __future__ import annotations

import queue
from collections import Counter

import numpy as np
import numpy.typing as npt
import openvino as ov

from models.package import (
    GRAPH_FILE,
    GRAPH_WEIGHTS_FILE,
    INT8_GRAPH_FILE,
    INT8_GRAPH_WEIGHTS_FILE,
    ModelPackage,
)
from models.preprocessing import IMAGE_SIZE
from serve_app.engines.base import EngineInfo, Images, Outputs

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
        # A package holds an INT8 graph only if it answers as well (training/quantization.py).
        int8 = INT8_GRAPH_FILE in package
        files = (INT8_GRAPH_FILE, INT8_GRAPH_WEIGHTS_FILE) if int8 else _GRAPH_FILES
        graph = core.read_model(*(package.file(name) for name in files))
        capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        # What an INT8 graph leaves in floats is little; bf16 would add its errors to those of INT8.
        floats = "bf16" if "BF16" in capabilities and not int8 else "f32"
        options = {
            "INFERENCE_PRECISION_HINT": floats,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
            # Pinning puts the first thread of every process on core 0, all of them.
            "ENABLE_CPU_PINNING": False,
        }
        # The first tensor of a process sets NumPy up in the bindings; two threads at once would
        # wait for each other there for ever.
        ov.Tensor(np.zeros(1, np.uint8), shared_memory=True)
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
            precision=f"int8 and {floats}" if int8 else floats,
            lanes=threads,
        )

    def kernels(self) -> Counter[str]:
        """How many layers with weights run in which precision, by the kernels that were chosen.

        Returns:
            As {"bf16": 53}; the names are OpenVINO's.
        """
        request = self._requests[1].get()
        try:
            operations = request.get_compiled_model().get_runtime_model().get_ops()
        finally:
            self._requests[1].put(request)
        found = Counter[str]()
        for operation in operations:
            info = operation.get_rt_info()
            if info["layerType"].astype(str) in _WEIGHTED:
                # As in brgconv_avx512_amx_1x1_bf16. What it calls `runtimePrecision` is that of the
                # stored weights, which a kernel may widen first.
                found[info["primitiveType"].astype(str).rpartition("_")[2]] += 1
        return found

    def forward(self, images: Images) -> Outputs:
        """See `Engine.forward`."""
        outputs = Outputs.empty(len(images))
        start = 0
        while start < len(images):
            size = MAX_PIECE if len(images) - start >= MAX_PIECE else 1
            piece = images[start : start + size]
            batch = piece[0][None] if size == 1 else np.stack(piece)
            self._infer(batch, Outputs(*(part[start : start + size] for part in outputs)))
            start += size
        return outputs

    def _infer(self, batch: npt.NDArray[np.uint8], outputs: Outputs) -> None:
        requests = self._requests[len(batch)]
        request = requests.get()
        try:
            request.infer({0: batch}, share_inputs=True)
            for index, part in enumerate(outputs):
                part[:] = request.get_output_tensor(index).data
        finally:
            requests.put(request)


_GRAPH_FILES = (GRAPH_FILE, GRAPH_WEIGHTS_FILE)
_PIECE_SIZES = (1, MAX_PIECE)
_WEIGHTED = ("Convolution", "FullyConnected")
