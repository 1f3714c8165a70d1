"""Export: a trained network to the OpenVINO graph that the CPU engine runs."""

from __future__ import annotations

import warnings
from pathlib import Path

import openvino as ov
import torch
from openvino.preprocess import PrePostProcessor

from models.architecture import MEAN, STD, LesionClassifier
from models.preprocessing import IMAGE_SIZE


def export_openvino(model: LesionClassifier, path: Path) -> None:
    """Write the inference graph: uint8 (batch, 224, 224, 3) in, float32 (batch, 7) logits out.

    Args:
        model: on the CPU, in evaluation mode.
        path: of the .xml file; the weights go beside it as .bin, in half precision.
    """
    example = torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE)
    network = torch.nn.Sequential(
        model.features, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), model.classifier
    )
    with warnings.catch_warnings():
        # OpenVINO still traces; torch announces that tracing will go.
        warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)
        graph = ov.convert_model(network.eval(), example_input=example)
    steps = PrePostProcessor(graph)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().preprocess().convert_element_type(ov.Type.f32).mean(
        [255 * value for value in MEAN]
    ).scale([255 * value for value in STD])
    steps.input().model().set_layout(ov.Layout("NCHW"))
    graph = steps.build()
    graph.reshape([-1, IMAGE_SIZE, IMAGE_SIZE, 3])
    graph.inputs[0].get_tensor().set_names({"images"})
    graph.outputs[0].get_tensor().set_names({"logits"})
    ov.save_model(graph, path, compress_to_fp16=True)
