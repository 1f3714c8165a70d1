"""The reference: engines that compute as the network did pass, all others are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from safetensors.numpy import load_file, save_file

from models.architecture import load_classifier
from models.errors import InvalidPackage
from models.package import GRAPH_FILE, REFERENCE_FILE, WEIGHTS_FILE, ModelPackage
from models.reference import TOLERANCES, Reference, check_reference
from serve_app.engines.base import EngineInfo
from serve_app.engines.openvino_cpu import OpenVinoEngine
from training.predictions import describe_pixels


@pytest.fixture(scope="module")
def reference(champion: ModelPackage, lesions: np.ndarray) -> Reference:
    """A lesion of each class, as champion 2 sees them in float32."""
    model = load_classifier(champion.file(WEIGHTS_FILE))
    said = describe_pixels(model, torch.from_numpy(lesions).permute(0, 3, 1, 2))
    return Reference(lesions, said.logits.numpy())


def _graph_logits(package: ModelPackage, images: np.ndarray, floats: str) -> np.ndarray:
    graph = ov.Core().read_model(package.file(GRAPH_FILE))
    compiled = ov.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": floats})
    return np.asarray(compiled([images])["logits"])


def test_it_is_read_as_it_was_written(reference: Reference, tmp_path: Path) -> None:
    reference.save(tmp_path / REFERENCE_FILE)
    again = Reference.load(tmp_path / REFERENCE_FILE)
    np.testing.assert_array_equal(again.images, reference.images)
    np.testing.assert_array_equal(again.logits, reference.logits)


def test_the_engine_of_a_new_package_passes_its_self_test(tiny_package: ModelPackage) -> None:
    reference = Reference.load(tiny_package.file(REFERENCE_FILE))
    engine = OpenVinoEngine(tiny_package)
    check_reference(reference, engine.forward(list(reference.images)).logits, engine.info.precision)


@pytest.mark.parametrize("floats", ["f32", "bf16"])
def test_a_graph_that_tells_images_apart_passes_in_each_precision(
    champion: ModelPackage, reference: Reference, floats: str
) -> None:
    # Where the processor lacks bf16, OpenVINO computes in float32, which is closer still.
    check_reference(reference, _graph_logits(champion, reference.images, floats), floats)


@pytest.mark.parametrize("precision", ["f32", "bf16", "int8 and f32", "int8 and bf16"])
def test_red_and_blue_exchanged_are_found_in_every_precision(
    champion: ModelPackage, reference: Reference, precision: str
) -> None:
    exchanged = np.ascontiguousarray(reference.images[..., ::-1])
    with pytest.raises(InvalidPackage, match=rf"self-test failed: computing in {precision}"):
        check_reference(reference, _graph_logits(champion, exchanged, "f32"), precision)


@pytest.mark.parametrize("place", range(7))
def test_one_image_that_is_wrong_is_enough(reference: Reference, place: int) -> None:
    logits = reference.logits.copy()
    logits[place] = logits[place][::-1]
    with pytest.raises(InvalidPackage, match="self-test failed"):
        check_reference(reference, logits, "f32")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(reference: Reference, value: float) -> None:
    logits = reference.logits.copy()
    logits[3, 2] = value
    with pytest.raises(InvalidPackage, match="all finite: False"):
        check_reference(reference, logits, "int8 and f32")


@pytest.mark.parametrize("rows", [0, 6, 8])
def test_another_number_of_answers_is_refused(reference: Reference, rows: int) -> None:
    logits = np.resize(reference.logits, (rows, 7))
    with pytest.raises(InvalidPackage, match=rf"shape \({rows}, 7\)"):
        check_reference(reference, logits, "f32")


def test_a_constant_answer_is_refused(reference: Reference) -> None:
    with pytest.raises(InvalidPackage, match="self-test failed"):
        check_reference(reference, np.zeros_like(reference.logits), "int8 and f32")


def test_a_precision_without_a_tolerance_is_refused(reference: Reference) -> None:
    with pytest.raises(InvalidPackage, match=r"no tolerance for f16.*bf16"):
        check_reference(reference, reference.logits, "f16")


def test_the_engines_name_precisions_that_have_a_tolerance(tiny_package: ModelPackage) -> None:
    info: EngineInfo = OpenVinoEngine(tiny_package).info
    assert info.precision.split()[0] in TOLERANCES


@pytest.mark.parametrize(
    ("images", "logits"),
    [
        (np.zeros((2, 224, 224, 3), np.float32), np.zeros((2, 7), np.float32)),
        (np.zeros((2, 224, 200, 3), np.uint8), np.zeros((2, 7), np.float32)),
        (np.zeros((2, 224, 224), np.uint8), np.zeros((2, 7), np.float32)),
        (np.zeros((2, 224, 224, 3), np.uint8), np.zeros((3, 7), np.float32)),
        (np.zeros((2, 224, 224, 3), np.uint8), np.zeros((2, 7), np.float64)),
        (np.zeros((2, 224, 224, 3), np.uint8), np.full((2, 7), np.nan, np.float32)),
        (np.zeros((0, 224, 224, 3), np.uint8), np.zeros((0, 7), np.float32)),
        (np.zeros((), np.uint8), np.zeros((), np.float32)),
    ],
)
def test_a_file_of_another_shape_is_refused(
    tmp_path: Path, images: np.ndarray, logits: np.ndarray
) -> None:
    save_file({"images": images, "logits": logits}, tmp_path / REFERENCE_FILE)
    with pytest.raises(InvalidPackage, match="is no reference"):
        Reference.load(tmp_path / REFERENCE_FILE)


def test_damaged_and_missing_files_are_refused(reference: Reference, tmp_path: Path) -> None:
    path = tmp_path / REFERENCE_FILE
    with pytest.raises(InvalidPackage, match="cannot be read as a reference"):
        Reference.load(path)
    reference.save(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InvalidPackage, match="cannot be read as a reference"):
        Reference.load(path)
    save_file({"images": reference.images}, path)
    with pytest.raises(InvalidPackage, match="cannot be read as a reference"):
        Reference.load(path)


def test_a_package_holds_the_answers_of_its_own_weights(tiny_package: ModelPackage) -> None:
    reference = Reference.load(tiny_package.file(REFERENCE_FILE))
    assert set(load_file(tiny_package.file(REFERENCE_FILE))) == {"images", "logits"}
    model = load_classifier(tiny_package.file(WEIGHTS_FILE))
    with torch.inference_mode():
        logits = model(torch.from_numpy(reference.images).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(reference.logits, logits, atol=1e-4)
