"""Predictions of a made-up classifier, with lesions of several images, ages and body sites."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.ham10000 import LesionImage
from models.calibration import temperature_scale
from models.classes import CLASSES
from training.judged import Judged

FREQUENCIES = np.array([0.05, 0.08, 0.12, 0.04, 0.13, 0.53, 0.05])


def lesion_image(
    code: str,
    number: int = 0,
    *,
    lesion: str | None = None,
    sex: str = "female",
    age: float | None = 50.0,
    body_site: str = "back",
    source: str = "histo",
    sharp: bool = True,
) -> LesionImage:
    """An image without a file."""
    return LesionImage(
        image_id=f"ISIC_{number:07}",
        lesion_id=lesion or f"HAM_{number:07}",
        diagnosis=code,
        diagnosis_source=source,
        path=Path(f"{number}.jpg"),
        sharp=sharp,
        sex=sex,
        age=age,
        body_site=body_site,
    )


def judge(images: list[LesionImage], logits: np.ndarray) -> Judged:
    """Images with plain softmax probabilities."""
    logits = logits.astype(np.float32)
    labels = np.array([CLASSES.index(image.diagnosis) for image in images])
    return Judged(tuple(images), logits, temperature_scale(logits, 1.0), labels)


def judged(count: int = 600, seed: int = 0, classes: tuple[str, ...] = CLASSES) -> Judged:
    """A fair classifier on unbalanced classes; a lesion has one to three images, much alike."""
    rng = np.random.default_rng(seed)
    weights = FREQUENCIES[[CLASSES.index(code) for code in classes]]
    images: list[LesionImage] = []
    rows: list[np.ndarray] = []
    while len(images) < count:
        code = str(rng.choice(classes, p=weights / weights.sum()))
        evidence = rng.normal(0, 1, 7) + 1.5 * np.eye(7)[CLASSES.index(code)]
        sex, site = rng.choice(["male", "female"]), rng.choice(["back", "face", "foot"])
        age = None if rng.random() < 0.05 else float(rng.integers(2, 18) * 5)
        source = str(rng.choice(["histo", "consensus"]))
        lesion = f"HAM_{len(images):07}"
        for _ in range(rng.integers(1, 4)):
            images.append(
                lesion_image(
                    code,
                    len(images),
                    lesion=lesion,
                    sex=str(sex),
                    age=age,
                    body_site=str(site),
                    source=source,
                    sharp=bool(rng.random() < 0.6),
                )
            )
            rows.append(2 * (evidence + rng.normal(0, 0.2, 7)))
    return judge(images, np.stack(rows))


def perfect(codes: tuple[str, ...] = CLASSES, lesions: int = 12) -> Judged:
    """Every image is right and certain; as many lesions of each class."""
    images = [lesion_image(code, i) for i, code in enumerate(codes * lesions)]
    return judge(images, 30 * np.eye(7)[[CLASSES.index(i.diagnosis) for i in images]])
