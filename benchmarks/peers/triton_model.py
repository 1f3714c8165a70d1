"""Triton's view of the model: the Python backend makes one in each of its processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as triton  # type: ignore[import-not-found]

from benchmarks.peers.model import PeerModel
from benchmarks.peers.task import PeerTask


class TritonPythonModel:
    """Decodes and infers one request after the other."""

    def initialize(self, arguments: dict[str, str]) -> None:
        """Load the model."""
        self._model = PeerModel.load(PeerTask.given().engine)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer some requests, an image each."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        # By DLPack, because the backend of this wheel was built for numpy 1 and misreads arrays
        # of numpy 2; and torch's, because numpy's complains when the backend has taken it.
        body = np.from_dlpack(triton.get_input_tensor_by_name(request, "image"))
        probabilities = self._model.probabilities([self._model.decode(body.tobytes())])
        tensor = torch.from_numpy(np.ascontiguousarray(probabilities))
        return triton.InferenceResponse([triton.Tensor.from_dlpack("probabilities", tensor)])
