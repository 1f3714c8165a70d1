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
from models.novelty import STATISTICS
from models.package import GRAPH_FILE, WEIGHTS_FILE, ModelPackage
from models.preprocessing import IMAGE_SIZE

Images = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def network(champion: ModelPackage) -> LesionClassifier:
    return load_classifier(champion.file(WEIGHTS_FILE))


@pytest.fixture(scope="module")
def exact(network: LesionClassifier, lesions: Images) -> npt.NDArray[np.float32]:
    """The network's own logits."""
    with torch.inference_mode():
        return network.eval()(torch.from_numpy(lesions).permute(0, 3, 1, 2)).numpy()


@pytest.fixture(scope="module")
def graph_file(
    network: LesionClassifier,
    exact: npt.NDArray[np.float32],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Exported as a caller does who forgot to leave training mode."""
    path = tmp_path_factory.mktemp("export") / "graph.xml"
    export_openvino(network.train(), path)
    return path


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_logits_are_the_networks(
    graph_file: Path, lesions: Images, exact: npt.NDArray[np.float32], count: int
) -> None:
    compiled = ov.Core().compile_model(graph_file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    difference = np.abs(compiled(lesions[:count])["logits"] - exact[:count]).max()
    # The graph's weights are stored in half precision; images differ by far more than that.
    assert difference < 0.1 < 1 < np.ptp(exact, axis=0).max()


def test_the_statistics_are_the_networks(
    graph_file: Path, lesions: Images, network: LesionClassifier
) -> None:
    compiled = ov.Core().compile_model(graph_file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    with torch.inference_mode():
        said = network.eval().describe(torch.from_numpy(lesions).permute(0, 3, 1, 2))
    exact = said.statistics.numpy()
    assert np.abs(compiled(lesions)["statistics"] - exact).max() < 0.02 * np.abs(exact).max()
    assert np.ptp(exact, axis=0).max() > 0.2 * np.abs(exact).max()


def test_the_graph_takes_bytes_in_any_number(graph_file: Path) -> None:
    graph = ov.Core().read_model(graph_file)
    images, logits = graph.input("images"), graph.output("logits")
    statistics = graph.output("statistics")
    assert statistics.element_type == ov.Type.f32
    assert statistics.partial_shape == ov.PartialShape([-1, STATISTICS])
    assert images.element_type == ov.Type.u8
    assert images.partial_shape == ov.PartialShape([-1, IMAGE_SIZE, IMAGE_SIZE, 3])
    assert logits.element_type == ov.Type.f32
    assert logits.partial_shape == ov.PartialShape([-1, len(CLASSES)])
    assert graph_file.with_suffix(".bin").stat().st_size < 5_000_000


def test_exporting_leaves_the_weights_alone(
    graph_file: Path, network: LesionClassifier, champion: ModelPackage
) -> None:
    before = load_classifier(champion.file(WEIGHTS_FILE)).state_dict()
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_the_champions_graph_is_its_weights(
    champion: ModelPackage, lesions: Images, exact: npt.NDArray[np.float32]
) -> None:
    graph = champion.file(GRAPH_FILE)
    compiled = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert np.abs(compiled(lesions)["logits"] - exact).max() < 0.1
