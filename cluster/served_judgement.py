"""What is served, judged on images: decoded and classified as a replica does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from data.ham10000 import LesionImage
from models.classes import CLASSES
from models.decision import calibrated_probabilities
from models.errors import DermServeError, InvalidDataset
from models.package import DecisionRules
from models.preprocessing import decode_image
from serve_app.engines.base import Engine
from training.judged import Judged
from training.results import Calibration, OperatingPointResult

Logits = npt.NDArray[np.float32]


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


def operating_points_of(
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
