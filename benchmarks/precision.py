"""Precisions of one network compared: what each answers, and how fast on one core."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import numpy.typing as npt
import openvino as ov
import typer
from rich.console import Console
from rich.table import Table
from sklearn.metrics import balanced_accuracy_score

from benchmarks.command import run
from data.ham10000 import load_ham10000
from data.splits import frozen_split
from data.synthetic import synthetic_lesion
from models.classes import CLASSES
from models.package import GRAPH_FILE, INT8_GRAPH_FILE, ModelPackage
from models.preprocessing import IMAGE_SIZE, decode_image
from models.registry_process import resolve

PIECES = (1, 4)
"""Images per forward that the OpenVINO engine uses (docs/decisions/0003)."""

Images = npt.NDArray[np.uint8]


class Variant(NamedTuple):
    """A graph at a floating-point precision; the first of several is what others are held to."""

    name: str
    graph: Path
    floats: str
    """`f32` or `bf16`, for what the graph leaves in floats."""


class Answers(NamedTuple):
    """What a variant says, beside the first variant."""

    balanced_accuracy: float | None
    """None without labels."""
    agreement: float
    """Share of images with the same argmax."""
    cosine: tuple[float, float] | None
    """Of the second output: mean and least; None if a graph has but one."""


def precision(
    graph: Annotated[Path | None, typer.Option(help="Float graph; the champion's if none.")] = None,
    int8: Annotated[list[Path] | None, typer.Option(help="INT8 graph; may be repeated.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="HAM10000: its validation split; synthetic if none.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Alternating; medians are shown.")] = 9,
    seconds: Annotated[float, typer.Option(help="Length of one measurement.")] = 0.4,
) -> None:
    """Compare f32, bf16 and INT8 graphs in what they answer and how fast they are.

    Example: python -m benchmarks.precision --int8 graph_int8.xml --data ~/HAM10000
    """
    variants = _variants(graph, int8 or [])
    images, labels = _synthetic() if data is None else _validation(data)
    said = answers(variants, images, labels)
    rates = speed(variants, images, rounds, seconds)
    base = variants[min(1, len(variants) - 1)].name
    table = Table("variant", "balanced accuracy", "agreement", "cosine of statistics, least")
    for size in PIECES:
        table.add_column(f"images/s by {size}")
        table.add_column(f"of {base}")
    for name, _, _ in variants:
        judged = said[name]
        cells = [
            name,
            "" if judged.balanced_accuracy is None else f"{judged.balanced_accuracy:.4f}",
            f"{judged.agreement:.4f}",
            "" if judged.cosine is None else "{:.4f}, {:.4f}".format(*judged.cosine),
        ]
        for size in PIECES:
            own, beside = rates[name, size], rates[base, size]
            ratio = statistics.median(a / b for a, b in zip(own, beside, strict=True))
            cells += [f"{statistics.median(own):.0f}", f"{ratio:.2f}"]
        table.add_row(*cells)
    console = Console()
    console.print(f"{len(images)} images; one thread; medians of {rounds} alternating rounds")
    console.print(table)


def answers(
    variants: Sequence[Variant], images: Images, labels: npt.NDArray[np.int64] | None
) -> dict[str, Answers]:
    """Run every variant over the images and hold it to the first.

    Args:
        variants: at least one, with different names.
        images: uint8, shape (images, 224, 224, 3), RGB.
        labels: columns of `CLASSES`, shape (images,).
    """
    outputs = {v.name: _outputs(v, images) for v in variants}
    first = outputs[variants[0].name]
    result = {}
    for name, (logits, *others) in outputs.items():
        cosine = None
        if others and len(first) > 1:
            cosines = _cosines(others[0], first[1])
            cosine = float(cosines.mean()), float(cosines.min())
        decided = logits.argmax(axis=1)
        result[name] = Answers(
            None if labels is None else float(balanced_accuracy_score(labels, decided)),
            float((decided == first[0].argmax(axis=1)).mean()),
            cosine,
        )
    return result


def speed(
    variants: Sequence[Variant], images: Images, rounds: int, seconds: float
) -> dict[tuple[str, int], list[float]]:
    """Images a second of processor time, by variant and piece size; one value per round.

    The variants take turns within a round, so that a neighbour on the machine slows all alike
    and ratios within a round are fair. Time that the processor spends on others is not counted.

    Args:
        variants: with different names.
        images: uint8, shape (images, 224, 224, 3), at least as many as the largest piece.
        rounds: >= 1.
        seconds: of one measurement.
    """
    rates: dict[tuple[str, int], list[float]] = {(v.name, n): [] for v in variants for n in PIECES}
    requests = {(v.name, n): _request(v, n) for v in variants for n in PIECES}
    for (_, size), request in requests.items():
        for _ in range(5):
            request.infer({0: images[:size]}, share_inputs=True)
    for _ in range(rounds):
        for (name, size), request in requests.items():
            done, start = 0, time.process_time()
            while time.process_time() - start < seconds:
                request.infer({0: images[:size]}, share_inputs=True)
                done += size
            rates[name, size].append(done / (time.process_time() - start))
    return rates


def _request(variant: Variant, size: int) -> ov.InferRequest:
    """Compiled as the OpenVINO engine does it, for one thread."""
    core = ov.Core()
    graph = core.read_model(variant.graph)
    graph.reshape([size, IMAGE_SIZE, IMAGE_SIZE, 3])
    options = {
        "INFERENCE_PRECISION_HINT": variant.floats,
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    return core.compile_model(graph, "CPU", options).create_infer_request()


def _outputs(variant: Variant, images: Images) -> list[npt.NDArray[np.float32]]:
    request = _request(variant, 1)
    rows = []
    for image in images:
        request.infer({0: image[None]}, share_inputs=True)
        rows.append([np.array(port.data[0]) for port in request.output_tensors])
    return [np.stack(column) for column in zip(*rows, strict=True)]


def _cosines(
    rows: npt.NDArray[np.float32], reference: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(reference, axis=1)
    cosines: npt.NDArray[np.float32] = (rows * reference).sum(axis=1) / lengths
    return cosines


def _variants(graph: Path | None, int8: Sequence[Path]) -> list[Variant]:
    if graph is None:
        champion = ModelPackage.load(resolve("champion"))
        graph = champion.file(GRAPH_FILE)
        if not int8 and INT8_GRAPH_FILE in champion:
            int8 = [champion.file(INT8_GRAPH_FILE)]
    known = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    floats = [name for name in ("f32", "bf16") if name == "f32" or name.upper() in known]
    return [Variant(name, graph, name) for name in floats] + [
        Variant(f"int8 and f32: {path.stem}", path, "f32") for path in int8
    ]


def _validation(data: Path) -> tuple[Images, npt.NDArray[np.int64]]:
    images = frozen_split(load_ham10000(data).images).validation
    with ThreadPoolExecutor() as pool:
        pixels = list(pool.map(lambda image: decode_image(image.path.read_bytes()), images))
    labels = np.array([CLASSES.index(image.diagnosis) for image in images])
    return np.stack(pixels), labels


def _synthetic() -> tuple[Images, None]:
    pictures = [
        synthetic_lesion(code, seed, IMAGE_SIZE, IMAGE_SIZE) for code in CLASSES for seed in (1, 2)
    ]
    return np.stack(pictures), None


if __name__ == "__main__":
    run(precision)
