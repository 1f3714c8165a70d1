"""Export: a trained network to the OpenVINO graph that the CPU engine runs."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openvino as ov
import torch
from openvino.preprocess import PrePostProcessor

from models.architecture import MEAN, STD, LesionClassifier
from models.preprocessing import IMAGE_SIZE


def export_openvino(model: LesionClassifier, path: Path) -> None:
    """Write the inference graph: uint8 (batch, 224, 224, 3) in, logits and statistics out.

    The outputs are float32: `logits` of shape (batch, 7) and `statistics` of shape
    (batch, 192), which novelty is told from.

    Args:
        model: on the CPU; it is left as it is.
        path: of the .xml file; the weights go beside it as .bin, in half precision.
    """
    example = torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE)
    network = _Served(model)
    with warnings.catch_warnings(), _without_telemetry():
        # OpenVINO still traces; torch announces that tracing will go.
        warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)
        graph = ov.convert_model(network, example_input=example)
    steps = PrePostProcessor(graph)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().preprocess().convert_element_type(ov.Type.f32).mean(
        [255 * value for value in MEAN]
    ).scale([255 * value for value in STD])
    steps.input().model().set_layout(ov.Layout("NCHW"))
    graph = steps.build()
    graph.reshape([-1, IMAGE_SIZE, IMAGE_SIZE, 3])
    graph.inputs[0].get_tensor().set_names({"images"})
    for output, name in zip(graph.outputs, ("logits", "statistics"), strict=True):
        output.get_tensor().set_names({name})
    ov.save_model(graph, path, compress_to_fp16=True)


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Nobody is told of a conversion: OpenVINO reports it unless it is in a test environment."""
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before


class _Served(torch.nn.Module):
    """Normalised images to (logits, statistics)."""

    def __init__(self, model: LesionClassifier) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        # The graph normalises by itself, so that it takes bytes.
        self.model.mean.zero_()
        self.model.std.fill_(1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits, _, statistics = self.model.describe(images)
        return logits, statistics
