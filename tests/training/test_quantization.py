"""The INT8 graph answers like the float graph, and is served only if it does."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino as ov
import pytest
from openvino import opset13

from data.ham10000 import Ham10000, LesionImage
from data.splits import frozen_split
from data.synthetic import synthetic_lesion
from models.architecture import load_classifier
from models.classes import CLASSES
from models.errors import InvalidDataset, InvalidPackage
from models.export import export_openvino
from models.package import BUNDLED_CHAMPION, WEIGHTS_FILE
from models.preprocessing import IMAGE_SIZE
from training.draft import PackageNotWritten
from training.quantization import (
    NotComparable,
    balanced_subset,
    calibration_pixels,
    compare,
    graph_outputs,
    quantize,
)

Images = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def float_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the bundled network: an untrained one gives every image the same answer."""
    path = tmp_path_factory.mktemp("graphs") / "graph.xml"
    export_openvino(load_classifier(BUNDLED_CHAMPION / WEIGHTS_FILE), path)
    return path


@pytest.fixture(scope="module")
def int8_graph(float_graph: Path, lesions: Images) -> Path:
    path = float_graph.with_name("graph_int8.xml")
    quantize(float_graph, lesions, path)
    return path


@pytest.fixture
def small_graph(tmp_path: Path) -> Path:
    """Four layers between the same ports, without a second output."""
    rng = np.random.default_rng(1)

    def weights(*shape: int) -> npt.NDArray[np.float32]:
        return rng.normal(0, 0.1, shape).astype(np.float32)

    images = opset13.parameter([-1, IMAGE_SIZE, IMAGE_SIZE, 3], np.uint8)
    images.output(0).get_tensor().set_names({"images"})
    values = opset13.transpose(opset13.convert(images, "f32"), np.array([0, 3, 1, 2]))
    values = opset13.multiply(values, np.float32(1 / 255))
    for kernel in (weights(8, 3, 8, 8), weights(8, 8, 1, 1), weights(16, 8, 4, 4)):
        stride = [kernel.shape[-1]] * 2
        values = opset13.convolution(values, kernel, stride, [0, 0], [0, 0], [1, 1])
        bias = np.full((1, kernel.shape[0], 1, 1), 0.1, np.float32)
        values = opset13.clamp(opset13.add(values, bias), 0, 6)
    values = opset13.reduce_mean(values, np.array([2, 3]))
    logits = opset13.matmul(values, weights(16, len(CLASSES)), False, False)
    logits.output(0).get_tensor().set_names({"logits"})
    path = tmp_path / "small.xml"
    ov.save_model(ov.Model([logits], [images]), path)
    return path


def _cosines(
    rows: npt.NDArray[np.float32], others: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(others, axis=1)
    cosines: npt.NDArray[np.float32] = (rows * others).sum(axis=1) / lengths
    return cosines


def test_the_int8_graph_answers_like_the_float_graph(float_graph: Path, int8_graph: Path) -> None:
    # Lesions that calibrated nothing.
    pictures = [synthetic_lesion(code, 2, IMAGE_SIZE, IMAGE_SIZE) for code in CLASSES]
    outputs = graph_outputs(float_graph, np.stack(pictures))
    int8_outputs = graph_outputs(int8_graph, np.stack(pictures))
    assert list(int8_outputs) == list(outputs)
    logits, int8_logits = outputs.pop("logits"), int8_outputs.pop("logits")
    # Images differ by several times what eight bits change.
    assert 0 < np.abs(int8_logits - logits).mean() < 0.25 * logits.std(axis=0).mean()
    for name, rows in outputs.items():
        assert _cosines(rows, int8_outputs[name]).min() > 0.97


def test_the_int8_graph_computes_in_eight_bits_and_takes_any_batch(
    float_graph: Path, int8_graph: Path, lesions: Images
) -> None:
    core = ov.Core()
    floats, int8 = core.read_model(float_graph), core.read_model(int8_graph)
    for before, after in zip(
        (*floats.inputs, *floats.outputs), (*int8.inputs, *int8.outputs), strict=True
    ):
        assert after.partial_shape == before.partial_shape
        assert after.element_type == before.element_type
        assert after.names == before.names
    stored = [n.output(0).element_type for n in int8.get_ops() if n.get_type_name() == "Constant"]
    # 52 convolutions, of which the first stays as it is.
    assert stored.count(ov.Type.i8) == 51
    size = int8_graph.with_suffix(".bin").stat().st_size
    assert size < 0.6 * float_graph.with_suffix(".bin").stat().st_size
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(int8, "CPU", exact)
    rows = [compiled(lesions[:count])["logits"][0] for count in (1, 3, 7)]
    assert all(np.allclose(row, rows[0], atol=0.05) for row in rows)
    # Over the images that calibrated it, eight bits lean towards no class.
    wanted = core.compile_model(floats, "CPU", exact)(lesions)["logits"].mean(axis=0)
    assert np.abs(compiled(lesions)["logits"].mean(axis=0) - wanted).max() < 1e-3


def test_the_same_images_give_the_same_graph(
    small_graph: Path, lesions: Images, tmp_path: Path
) -> None:
    for name, images in (("a", lesions), ("b", lesions), ("other", lesions[:1] // 2)):
        quantize(small_graph, images, tmp_path / f"{name}.xml")
    first, second, other = ((tmp_path / f"{n}.bin").read_bytes() for n in ("a", "b", "other"))
    assert first == second != other
    outputs = graph_outputs(tmp_path / "a.xml", lesions)
    assert [(name, rows.shape) for name, rows in outputs.items()] == [("logits", (7, 7))]
    assert _cosines(outputs["logits"], graph_outputs(small_graph, lesions)["logits"]).min() > 0.99


@pytest.mark.parametrize(
    ("images", "complaint"),
    [
        (np.empty((0, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8), "at least one"),
        (np.zeros((2, IMAGE_SIZE, IMAGE_SIZE, 3), np.float32), "float32"),
        (np.zeros((2, 3, IMAGE_SIZE, IMAGE_SIZE), np.uint8), "(2, 3, 224, 224)"),
        (np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8), "(224, 224, 3)"),
        (np.uint8(0), "()"),
    ],
)
def test_other_images_are_refused(
    float_graph: Path, images: Images, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidDataset) as caught:
        quantize(float_graph, images, tmp_path / "int8.xml")
    assert complaint in caught.value.message
    with pytest.raises(InvalidDataset):
        graph_outputs(float_graph, images)
    assert not list(tmp_path.iterdir())


def test_other_files_are_refused(
    float_graph: Path, int8_graph: Path, lesions: Images, tmp_path: Path
) -> None:
    noise, cut = tmp_path / "noise.xml", tmp_path / "cut.xml"
    noise.write_bytes(b"\x00\xff" * 500)
    shutil.copy(float_graph, cut)
    cut.with_suffix(".bin").write_bytes(b"short")
    something_else = tmp_path / "else.xml"
    numbers = opset13.parameter([-1, 3], np.float32)
    ov.save_model(ov.Model([opset13.relu(numbers)], [numbers]), something_else)
    same_ports = tmp_path / "ports.xml"
    pixels = opset13.parameter([-1, IMAGE_SIZE, IMAGE_SIZE, 3], np.uint8)
    pixels.output(0).get_tensor().set_names({"images"})
    means = opset13.reduce_mean(opset13.convert(pixels, "f32"), np.array([1, 2]))
    logits = opset13.matmul(means, np.ones((3, len(CLASSES)), np.float32), False, False)
    logits.output(0).get_tensor().set_names({"logits"})
    ov.save_model(ov.Model([logits], [pixels]), same_ports)
    for path in (tmp_path / "absent.xml", noise, cut, something_else, same_ports, int8_graph):
        with pytest.raises(InvalidPackage) as caught:
            quantize(path, lesions, tmp_path / "int8.xml")
        assert str(path) in caught.value.message
    assert not (tmp_path / "int8.xml").exists()


def test_a_place_that_cannot_be_written_is_refused_at_once(
    float_graph: Path, lesions: Images, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(PackageNotWritten, match="not written"):
            quantize(float_graph, lesions, folder / "int8.xml")
    if os.geteuid():
        tmp_path.chmod(0o500)
        with pytest.raises(PackageNotWritten):
            quantize(float_graph, lesions, tmp_path / "int8.xml")


def _predictions() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """1,000 images of seven even classes, most but not all of them right."""
    rng = np.random.default_rng(1)
    labels = np.arange(1_000) % len(CLASSES)
    logits = rng.normal(0, 1, (1_000, len(CLASSES))) + 2 * np.eye(len(CLASSES))[labels]
    return logits.astype(np.float32), labels


def _changed(
    logits: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """These images get the argmax of what was the second-largest logit."""
    changed = logits.copy()
    changed[rows, logits[rows].argmax(axis=1)] = logits.min() - 1
    return changed


@pytest.mark.parametrize(("count", "shipped"), [(0, True), (20, True), (21, False), (150, False)])
def test_agreement_decides(count: int, shipped: bool) -> None:
    logits, labels = _predictions()
    # Images that were wrong already cost no balanced accuracy when they change.
    wrong = np.flatnonzero(logits.argmax(axis=1) != labels)
    verdict = compare(logits, _changed(logits, wrong[:count]), labels)
    assert verdict.agreement == pytest.approx(1 - count / 1_000)
    assert verdict.balanced_accuracy_after >= verdict.balanced_accuracy_before
    assert verdict.shipped is shipped
    assert ("not served" in verdict.reason) is not shipped


def test_a_loss_of_balanced_accuracy_decides() -> None:
    logits, labels = _predictions()
    rare = labels == 0
    # One class of 10 images: 1 lost image of it is 0.014 of balanced accuracy, 0.1 % of all.
    keep = np.flatnonzero(~rare).tolist() + np.flatnonzero(rare)[:10].tolist()
    logits, labels = logits[keep], labels[keep]
    right = np.flatnonzero((labels == 0) & (logits.argmax(axis=1) == 0))[:1]
    verdict = compare(logits, _changed(logits, right), labels)
    assert verdict.agreement > 0.99
    assert verdict.balanced_accuracy_before - verdict.balanced_accuracy_after == pytest.approx(
        1 / 70
    )
    assert not verdict.shipped
    assert "balanced accuracy" in verdict.reason


def test_what_cannot_be_compared_is_refused() -> None:
    logits, labels = _predictions()
    broken = logits.copy()
    broken[3, 2] = np.nan
    for left, right, truth in (
        (logits, logits[:-1], labels),
        (logits, logits, labels[:-1]),
        (logits[:, :6], logits[:, :6], labels),
        (logits[:0], logits[:0], labels[:0]),
        (logits, broken, labels),
        (broken, logits, labels),
    ):
        with pytest.raises(NotComparable):
            compare(left, right, truth)


def _image(number: int, diagnosis: str, sharp: bool) -> LesionImage:
    return LesionImage(f"I{number:04d}", f"L{number}", diagnosis, "histo", Path("absent"), sharp)


def test_the_subset_is_balanced_and_the_same_from_any_order() -> None:
    images = [
        _image(number, "df" if number < 4 else CLASSES[number % 7], number % 3 == 0)
        for number in range(700)
    ]
    images = [image for image in images if image.diagnosis != "df" or int(image.image_id[1:]) < 4]
    subset = balanced_subset(images, count=100, seed=7)
    assert balanced_subset(images[::-1], count=100, seed=7) == subset
    assert balanced_subset(images, count=100, seed=8) != subset
    assert len({image.image_id for image in subset}) == 100
    counts = {code: sum(image.diagnosis == code for image in subset) for code in CLASSES}
    assert counts.pop("df") == 4
    assert set(counts.values()) == {16}
    assert sum(image.sharp for image in subset) == 50
    assert len(balanced_subset(images, count=10_000, seed=7)) == len(images)


def test_no_readable_image_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="can be read"):
        calibration_pixels([_image(1, "nv", True)])
    with pytest.raises(InvalidDataset, match="can be read"):
        calibration_pixels([])


def test_real_training_images_calibrate(real_ham10000: Ham10000) -> None:
    train = frozen_split(real_ham10000.images).train
    pixels = calibration_pixels(train, count=28)
    assert pixels.shape == (28, IMAGE_SIZE, IMAGE_SIZE, 3)
    assert pixels.dtype == np.uint8
    chosen = balanced_subset(train, count=28)
    assert {(image.diagnosis, image.sharp) for image in chosen} == {
        (code, sharp) for code in CLASSES for sharp in (True, False)
    }
