"""Replayed answers: what a head says of images that are known by their features only."""

from __future__ import annotations

from pathlib import Path

from data.ham10000 import UNKNOWN, LesionImage
from data.known_images import KnownImages
from models.classes import CLASSES
from models.features import ReplayFeatures
from models.head import Head
from training.predictions import Answers


def replayed(replay: ReplayFeatures, head: Head) -> Answers:
    """The answers of a network with this head, without its images.

    Args:
        replay: features by the network's backbone.
        head: of the network.
    """
    return Answers(replayed_images(replay), replay.labels, head.logits(replay.features))


def replayed_images(replay: ReplayFeatures) -> tuple[LesionImage, ...]:
    """The images of some features, with what the project knows of HAM10000's.

    Paths are names, not files. Of other images, only lesion and diagnosis are known.
    """
    known = KnownImages.load()
    images = []
    for image_id, lesion_id, label in zip(
        replay.image_ids, replay.lesion_ids, replay.labels.tolist(), strict=True
    ):
        image = known.image(image_id)
        if image is None or (image.lesion_id, image.diagnosis) != (lesion_id, CLASSES[label]):
            image = LesionImage(
                image_id=image_id,
                lesion_id=lesion_id,
                diagnosis=CLASSES[label],
                diagnosis_source=UNKNOWN,
                path=Path(f"{image_id}.jpg"),
                sharp=False,
            )
        images.append(image)
    return tuple(images)
