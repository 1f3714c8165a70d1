"""`dermserve evaluate`: what is served, judged on a split of a dataset."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data.ham10000 import LesionImage, load_ham10000
from data.splits import frozen_split
from models.classes import CLASSES
from models.decision import calibrated_probabilities
from models.errors import DermServeError, InvalidDataset
from models.package import DecisionRules, ModelPackage
from models.preprocessing import decode_image
from models.registry_process import resolve
from serve_app.engines import EngineName, create_engine
from serve_app.engines.base import Engine
from training.judged import Judged
from training.results import Calibration, OperatingPointResult


class SplitName(str, Enum):
    """Parts of a dataset that a model did not learn from."""

    validation = "validation"
    test = "test"


Logits = npt.NDArray[np.float32]


def evaluate(
    package: Annotated[
        str,
        typer.Argument(help="`champion`, a version, or the folder of a package."),
    ] = "champion",
    *,
    data: Annotated[Path, typer.Option(help="Folder that holds HAM10000.")],
    split: Annotated[SplitName, typer.Option(help="Part of the dataset.")] = SplitName.test,
    output: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("var/report"),
    engine: Annotated[str, typer.Option(help="Inference engine, as in serve_config.yaml.")] = (
        "auto"
    ),
    resamples: Annotated[int, typer.Option(min=0, help="Bootstrap resamples.")] = 1000,
) -> None:
    """Judge a model package on images that it did not learn from and write a report.

    Example: dermserve evaluate --data ~/HAM10000 --output var/report
    """
    # These take seconds to import; the other commands do not need them.
    from training.evaluate import evaluate as judge
    from training.report import write_report

    console = Console()
    loaded = ModelPackage.load(resolve(package))
    rules = loaded.manifest.decision
    dataset = load_ham10000(data)
    parts = frozen_split(dataset.images)
    cores = len(os.sched_getaffinity(0))
    served = create_engine(loaded, cast(EngineName, engine), threads=cores)
    judged: dict[str, Judged] = {}
    bars = Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    with bars:
        for name in dict.fromkeys(("validation", split.value)):
            images = getattr(parts, name)
            task = bars.add_task(name, total=len(images))
            listener = partial(bars.advance, task)
            judged[name], unreadable = predict(served, rules, images, listener)
            if unreadable:
                _warn(console, name, unreadable)
    chosen = judged[split.value]
    evaluation = judge(chosen, resamples, malignant_threshold=rules.malignant.threshold)
    page = write_report(
        output,
        evaluation,
        model_version=loaded.manifest.version,
        dataset_hash=dataset.hash,
        split=split.value,
        facts={"engine": f"{served.info.name}, {served.info.precision}"},
        before_after_calibration=calibration_steps(chosen, rules),
        operating_points=_operating_points(judged, rules, resamples),
    )
    console.print(
        f"Balanced accuracy {evaluation.balanced_accuracy.value:.3f} on {evaluation.images:,} "
        f"images of the {split.value} split. The report is {page}.",
        markup=False,  # a folder's name may hold brackets
        highlight=False,
        soft_wrap=True,
    )


def predict(
    engine: Engine,
    rules: DecisionRules,
    images: Sequence[LesionImage],
    on_images: Callable[[int], object] = lambda count: None,
) -> tuple[Judged, tuple[str, ...]]:
    """Decode and classify images as a replica does.

    Args:
        engine: a loaded model; all its lanes are used.
        rules: of the same model.
        images: of one split.
        on_images: told how many images are done, again and again.

    Returns:
        The predictions, and the ids of images that cannot be decoded and are left out.

    Raises:
        InvalidDataset: if no image can be decoded.
    """

    def run(piece: Sequence[LesionImage]) -> tuple[list[LesionImage], Logits]:
        kept, pixels = [], []
        for image in piece:
            try:
                pixels.append(decode_image(image.path.read_bytes()))
            except (DermServeError, OSError):
                continue
            kept.append(image)
        logits = engine.forward(pixels).logits if kept else np.empty((0, len(CLASSES)), np.float32)
        return kept, logits

    size = engine.max_piece
    pieces = [images[start : start + size] for start in range(0, len(images), size)]
    kept: list[LesionImage] = []
    parts: list[Logits] = []
    with ThreadPoolExecutor(engine.info.lanes) as pool:
        for piece, (readable, logits) in zip(pieces, pool.map(run, pieces), strict=True):
            kept.extend(readable)
            parts.append(logits)
            on_images(len(piece))
    if not kept:
        raise InvalidDataset(
            f"None of the {len(images)} images of the split can be read. Get the files again."
        )
    all_logits = np.concatenate(parts)
    readable_ids = {image.image_id for image in kept}
    judged = Judged(
        images=tuple(kept),
        logits=all_logits,
        probabilities=calibrated_probabilities(all_logits, rules),
        labels=np.array([CLASSES.index(image.diagnosis) for image in kept], np.int64),
    )
    return judged, tuple(i.image_id for i in images if i.image_id not in readable_ids)


def calibration_steps(judged: Judged, rules: DecisionRules) -> dict[str, Calibration]:
    """Calibration of the same logits without and with each part of the decision rules."""
    from training.evaluate import calibration_of

    unshifted = rules.model_copy(update={"logit_shift": (0.0,) * len(CLASSES), "temperature": 1.0})
    steps = {
        "plain softmax": unshifted,
        "at the class frequencies": rules.model_copy(update={"temperature": 1.0}),
        "as served, with the temperature": rules,
    }
    return {
        name: calibration_of(
            calibrated_probabilities(judged.logits, step), judged.predicted, judged.labels
        )
        for name, step in steps.items()
    }


def _operating_points(
    judged: dict[str, Judged], rules: DecisionRules, resamples: int
) -> tuple[OperatingPointResult, ...]:
    """Of the test split; on validation itself there is nothing to compare."""
    from training.operating_points import operating_points, thresholds_for

    if "test" not in judged:
        return ()
    validation, test = judged["validation"], judged["test"]
    malignant = thresholds_for(validation) | {"as served": rules.malignant.threshold}
    mel = {"as served": rules.melanoma.threshold}
    return operating_points(validation, test, malignant, resamples) + operating_points(
        validation, test, mel, resamples, target="mel"
    )


def _warn(console: Console, split: str, unreadable: Sequence[str]) -> None:
    console.print(
        f"{len(unreadable)} images of the {split} split cannot be read and are left out: "
        f"{', '.join(unreadable[:10])}.",
        style="yellow",
        markup=False,
        soft_wrap=True,
    )
