"""The exported graph says what the network says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino as ov
import pytest
import torch

from models.architecture import LesionClassifier, load_classifier
from models.classes import CLASSES
from models.export import export_openvino
from models.package import GRAPH_FILE, WEIGHTS_FILE, ModelPackage
from models.preprocessing import IMAGE_SIZE

Images = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def exact(champion: ModelPackage, lesions: Images) -> npt.NDArray[np.float32]:
    """The network's own logits."""
    network = load_classifier(champion.file(WEIGHTS_FILE))
    with torch.inference_mode():
        return network(torch.from_numpy(lesions).permute(0, 3, 1, 2)).numpy()


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_logits_are_the_networks(
    champion: ModelPackage, lesions: Images, exact: npt.NDArray[np.float32], count: int
) -> None:
    graph = champion.file(GRAPH_FILE)
    compiled = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    difference = np.abs(compiled(lesions[:count])["logits"] - exact[:count]).max()
    # The graph's weights are stored in half precision; images differ by far more than that.
    assert difference < 0.1 < 1 < np.ptp(exact, axis=0).max()


def test_the_graph_takes_bytes_in_any_number(champion: ModelPackage) -> None:
    graph = ov.Core().read_model(champion.file(GRAPH_FILE))
    images, logits = graph.input("images"), graph.output("logits")
    assert images.element_type == ov.Type.u8
    assert images.partial_shape == ov.PartialShape([-1, IMAGE_SIZE, IMAGE_SIZE, 3])
    assert logits.element_type == ov.Type.f32
    assert logits.partial_shape == ov.PartialShape([-1, len(CLASSES)])
    assert champion.file(GRAPH_FILE).with_suffix(".bin").stat().st_size < 5_000_000


def test_exporting_in_training_mode_exports_no_dropout(tmp_path: Path, lesions: Images) -> None:
    network = LesionClassifier(dropout=0.9).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    export_openvino(network, tmp_path / "graph.xml")
    compiled = ov.Core().compile_model(tmp_path / "graph.xml", "CPU")
    assert np.array_equal(compiled(lesions[:1])["logits"], compiled(lesions[:1])["logits"])
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
