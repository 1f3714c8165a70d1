"""Quantisation: the inference graph in eight bits, and whether it answers like the float one."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13
from pydantic import BaseModel, ConfigDict, Field
from sklearn.metrics import balanced_accuracy_score

from data.ham10000 import LesionImage
from models.classes import CLASSES
from models.errors import DermServeError, InvalidDataset, InvalidPackage
from models.preprocessing import IMAGE_SIZE
from training.dataset import load_images
from training.draft import PackageNotWritten

CALIBRATION_IMAGES = 1_000
"""A fifth of them corrects biases; from 300, agreement was lower by half a percent."""
MAX_LOSS = 0.005
"""Balanced accuracy that an INT8 graph may lose on validation."""
MIN_AGREEMENT = 0.98
"""Share of validation images that it must put into the class that the float graph does."""

Images = npt.NDArray[np.uint8]
Output = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

_BATCH = 4
_PORTS = [f"images u8 [?,{IMAGE_SIZE},{IMAGE_SIZE},3]", f"logits f32 [?,{len(CLASSES)}]"]


class NotComparable(DermServeError):
    """Predictions that do not belong together."""

    code = "not_comparable"


class Int8Verdict(BaseModel):
    """What an INT8 graph changes on validation, and whether it is served."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int = Field(ge=1)
    balanced_accuracy_before: float = Field(ge=0, le=1)
    balanced_accuracy_after: float = Field(ge=0, le=1)
    agreement: float = Field(ge=0, le=1, description="share of images with the same argmax")
    shipped: bool
    reason: str


def balanced_subset(
    images: Sequence[LesionImage], count: int = CALIBRATION_IMAGES, seed: int = 7
) -> tuple[LesionImage, ...]:
    """Draw as evenly from the classes, and from sharp and enlarged images, as there are enough.

    Args:
        images: of the training split.
        count: >= 1; fewer are drawn if there are fewer.
        seed: the same images and seed give the same subset, in the same order, from any order.
    """
    groups: dict[tuple[bool, str], list[LesionImage]] = defaultdict(list)
    ordered = sorted(images, key=lambda image: image.image_id)
    for index in np.random.default_rng(seed).permutation(len(ordered)):
        groups[ordered[index].sharp, ordered[index].diagnosis].append(ordered[index])
    rounds = zip_longest(*(groups[key] for key in sorted(groups)))
    return tuple(image for image in chain.from_iterable(rounds) if image is not None)[:count]


def calibration_pixels(
    images: Sequence[LesionImage], count: int = CALIBRATION_IMAGES, seed: int = 7
) -> Images:
    """Decode what `balanced_subset` draws, as `quantize` takes it: uint8 (images, 224, 224, 3).

    Raises:
        InvalidDataset: if none of the images can be read.
    """
    pixels = load_images(balanced_subset(images, count, seed)).pixels
    if not len(pixels):
        raise InvalidDataset("No training image can be read. Repair the files or add others.")
    decoded: Images = pixels.permute(0, 2, 3, 1).numpy()
    return decoded


def quantize(graph: Path, calibration_images: Images, output: Path) -> None:
    """Write the INT8 form of an inference graph; minutes on one core.

    Weights get a scale per output channel and activations one per tensor. The first convolution,
    the head and whatever only other outputs than the logits need stay floats: they cost next to
    nothing. Inputs and outputs are those of the float graph, of any batch size.

    Args:
        graph: .xml file of `export_openvino`.
        calibration_images: uint8, shape (images, 224, 224, 3), RGB; training images as
            `calibration_pixels` gives them. The same ones give the same graph.
        output: the .xml file to write; the weights go beside it as .bin.

    Raises:
        InvalidPackage: if the graph is missing, damaged or no float graph of this network.
        InvalidDataset: if there are no calibration images or they have another form.
        PackageNotWritten: if the disk is full or the folder cannot be written.

    Source: of bias correction, Nagel et al., "Data-Free Quantization", ICCV 2019.
    """
    model = _read_graph(graph)
    if _has(model, "FakeQuantize"):
        raise InvalidPackage(f"{graph} is quantised already. Start from the float graph.")
    images = _checked_images(calibration_images)
    # Asked before the minutes of work, not after them.
    with _writing(output):
        tempfile.TemporaryDirectory(dir=output.parent).cleanup()
    _save(_quantized(model, images), output)


def graph_outputs(graph: Path, images: Images) -> dict[str, Output]:
    """Run an inference graph on the CPU: INT8 beside float32, others in bf16 where there is one.

    Args:
        graph: .xml file, float or INT8.
        images: uint8, shape (images, 224, 224, 3), RGB.

    Returns:
        Outputs by name, float32, a row per image: `logits`, shape (images, 7), and others.

    Raises:
        InvalidPackage, InvalidDataset: as `quantize` raises them, but INT8 graphs are welcome.
    """
    model = _read_graph(graph)
    has_bf16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    # What an INT8 graph leaves in floats is little, and bf16 would add its errors to those of INT8.
    floats = "bf16" if has_bf16 and not _has(model, "FakeQuantize") else "f32"
    return _run(model, _checked_images(images), floats)


def _run(model: ov.Model, images: Images, floats: str) -> dict[str, Output]:
    options = {"INFERENCE_PRECISION_HINT": floats, "ENABLE_CPU_PINNING": False}
    compiled = ov.Core().compile_model(model, "CPU", options)
    parts: dict[str, list[Output]] = defaultdict(list)
    for start in range(0, len(images), _BATCH):
        for port, values in compiled(images[start : start + _BATCH]).items():
            parts[port.any_name].append(np.array(values))
    return {name: np.concatenate(values) for name, values in parts.items()}


def compare(reference_logits: Output, int8_logits: Output, labels: Labels) -> Int8Verdict:
    """Decide from the validation split whether the INT8 graph may replace the float graph.

    Args:
        reference_logits: of the network in float32, shape (images, 7).
        int8_logits: of the INT8 graph for the same images.
        labels: columns of `CLASSES`, shape (images,).

    Raises:
        NotComparable: if the three are not of the same images, or a logit is not finite.
    """
    shape = (len(labels), len(CLASSES))
    if not len(labels) or not reference_logits.shape == int8_logits.shape == shape:
        raise NotComparable(
            f"Logits {reference_logits.shape} and {int8_logits.shape} and {len(labels)} labels "
            "do not belong together. Predict the same images with both graphs."
        )
    if not (np.isfinite(reference_logits).all() and np.isfinite(int8_logits).all()):
        raise NotComparable("A logit is not a finite number. Export and quantise the graph again.")
    decided, requantised = reference_logits.argmax(axis=1), int8_logits.argmax(axis=1)
    before = float(balanced_accuracy_score(labels, decided))
    after = float(balanced_accuracy_score(labels, requantised))
    agreement = float((decided == requantised).mean())
    faults = []
    # Rounding errors of shares decide nothing.
    if before - after > MAX_LOSS + 1e-9:
        faults.append(f"its balanced accuracy is {before - after:.4f} lower ({MAX_LOSS} allowed)")
    if agreement < MIN_AGREEMENT - 1e-9:
        faults.append(f"it agrees on {agreement:.2%} of the images ({MIN_AGREEMENT:.0%} needed)")
    reason = f"The INT8 graph is not served: {' and '.join(faults)}."
    if not faults:
        reason = f"The INT8 graph is served: it agrees on {agreement:.2%} of the images."
    return Int8Verdict(
        images=len(labels),
        balanced_accuracy_before=before,
        balanced_accuracy_after=after,
        agreement=agreement,
        shipped=not faults,
        reason=reason,
    )


def _quantized(model: ov.Model, images: Images) -> ov.Model:
    # NNCF reports to its makers unless it believes to run under continuous integration.
    os.environ.setdefault("NNCF_CI", "1")
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    nncf.set_log_level(logging.ERROR)
    # Its progress bars would run through those of the caller.
    with contextlib.redirect_stdout(io.StringIO()):
        quantized = nncf.quantize(
            model,
            nncf.Dataset([image[None] for image in images]),
            preset=nncf.QuantizationPreset.PERFORMANCE,
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(images),
            fast_bias_correction=False,
            ignored_scope=nncf.IgnoredScope(names=_kept_in_floats(model)),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=RangeEstimatorParametersSet.HISTOGRAM
            ),
        )
    _centre_logits(quantized, model, images)
    return quantized


def _centre_logits(quantized: ov.Model, model: ov.Model, images: Images) -> None:
    """Correct the head's bias, which NNCF leaves alone because it leaves the head alone."""
    wanted = _run(model, images, "f32")["logits"].mean(axis=0)
    correction = wanted - _run(quantized, images, "f32")["logits"].mean(axis=0)
    result = quantized.output("logits").get_node()
    source = result.input(0).get_source_output()
    source.get_tensor().set_names(set())
    centred = opset13.add(source, opset13.constant(correction[None])).output(0)
    centred.get_tensor().set_names({"logits"})
    result.input(0).replace_source_output(centred)
    quantized.validate_nodes_and_infer_types()


def _kept_in_floats(model: ov.Model) -> list[str]:
    """Names of the operations left alone; OpenVINO makes names up, so they are told by place."""
    logits = _ancestors(model.output("logits"))
    layers = [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_friendly_name() in logits
        and node.get_type_name() in ("Convolution", "GroupConvolution", "MatMul")
    ]
    beside = set().union(*(_ancestors(port) for port in model.outputs)) - logits
    return [layers[0], layers[-1], *sorted(beside)]


def _has(model: ov.Model, kind: str) -> bool:
    return any(node.get_type_name() == kind for node in model.get_ops())


def _ancestors(port: ov.Output) -> set[str]:
    """Names of the operations that a port's values are computed with, constants left out."""
    names: set[str] = set()
    todo = [port.get_node()]
    while todo:
        node = todo.pop()
        if node.get_friendly_name() not in names and node.get_type_name() != "Constant":
            names.add(node.get_friendly_name())
            todo += [source.get_source_output().get_node() for source in node.inputs()]
    return names


def _read_graph(path: Path) -> ov.Model:
    try:
        model = ov.Core().read_model(path)
    except RuntimeError as error:
        raise InvalidPackage(f"{path} is no OpenVINO graph. Export the network again.") from error
    found = [
        f"{' '.join(port.names)} {port.element_type.to_string()} {port.partial_shape}"
        for port in (*model.inputs, *model.outputs[:1])
    ]
    if found != _PORTS or not _has(model, "Convolution"):
        raise InvalidPackage(
            f"{path} has the ports {found} and is no graph of this network, whose convolutions "
            f"lie between {_PORTS}. Give one that export_openvino wrote."
        )
    return model


def _checked_images(images: Images) -> Images:
    images = np.asarray(images)
    one = (IMAGE_SIZE, IMAGE_SIZE, 3)
    if images.dtype != np.uint8 or images.shape[1:] != one or not len(images):
        raise InvalidDataset(
            f"Images are uint8, at least one and each of shape {one}, not {images.dtype} of shape "
            f"{images.shape}. Decode them with load_images."
        )
    return images


@contextlib.contextmanager
def _writing(output: Path) -> Iterator[None]:
    try:
        yield
    # OpenVINO reports a full disk as a RuntimeError.
    except (OSError, RuntimeError) as error:
        message = f"{output} was not written: {error}. Choose another folder or free some space."
        raise PackageNotWritten(message) from error


def _save(model: ov.Model, output: Path) -> None:
    with _writing(output), tempfile.TemporaryDirectory(dir=output.parent) as folder:
        draft = Path(folder) / output.name
        # In half precision the scales would be rounded; they are few.
        ov.save_model(model, draft, compress_to_fp16=False)
        for path in (draft.with_suffix(".bin"), draft):
            path.replace(output.with_name(path.name))
