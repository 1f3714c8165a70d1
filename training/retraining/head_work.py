"""One process's part of a head run: features of its share of the uploads, then the common fit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from data.ham10000 import LesionImage
from models.architecture import LesionClassifier, load_classifier
from models.classes import CLASSES
from models.errors import InvalidDataset
from models.features import FEATURES, load_replay
from models.head import Head
from training.dataset import load_images, unreadable_warning
from training.group import Group
from training.head import Examples, fit_head
from training.predictions import describe_pixels
from training.progress import Event, ImagesDecoded, Step, Warned
from training.retraining.head_folder import HeadFolder, UploadFeatures
from training.stored_run import TrainingStopped

# Decoded at once; between two chunks a worker hears that it is to stop.
_CHUNK = 32


def work_on_head(
    folder: HeadFolder,
    group: Group,
    tell: Callable[[Event], None],
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Do one process's part of the run; rank 0 writes what it comes to.

    Args:
        folder: of the run, begun.
        group: the processes of the run.
        tell: called in rank 0 only.
        stopped: whether the run is to end.

    Raises:
        InvalidDataset: if no upload can be read.
        TrainingDiverged, TrainingStopped: in every process of the group alike.
        InvalidPackage, RunNotStored: as files are read and written.
    """
    plan = folder.plan()

    def check() -> None:
        if group.any_(stopped()):
            raise TrainingStopped(f"The run {folder.path.name} is stopped.")

    model = load_classifier(folder.weights)
    uploads = folder.features()
    if group.any_(uploads is None):
        uploads = _describe(model, plan.uploads, group, tell, check)
        if group.leads:
            folder.keep_features(uploads)
    assert uploads is not None
    if not uploads.readable.any():
        raise InvalidDataset("None of the uploads can be read. Upload others.")

    def on_iteration(step: Step) -> None:
        if group.leads:
            tell(step)
        check()

    replay = load_replay(folder.replay)["train"]
    base = Examples(replay.features, replay.labels, np.ones(len(replay)))
    labels = np.array([CLASSES.index(image.diagnosis) for image in plan.uploads])
    added = np.full(uploads.readable.sum(), plan.settings.upload_weight)
    examples = Examples(
        np.concatenate([base.features, uploads.features[uploads.readable]]),
        np.concatenate([base.labels, labels[uploads.readable]]),
        np.concatenate([base.weights, added]),
    )
    # The champion's logits keep the base images' class frequencies out; those of the uploads
    # have to stay out too, so that its `logit_shift` goes on being right.
    moved = np.log(examples.frequencies() / base.frequencies())
    head = fit_head(
        Head.of(model),
        examples,
        np.array(plan.logit_shift) + moved,
        plan.settings,
        group=group,
        on_iteration=on_iteration,
    )
    if group.leads:
        folder.finish(head)


def _describe(
    model: LesionClassifier,
    images: tuple[LesionImage, ...],
    group: Group,
    tell: Callable[[Event], None],
    check: Callable[[], None],
) -> UploadFeatures:
    """Features of all uploads, to which each process contributes those of its share."""
    count = len(images)
    features = torch.zeros(count, FEATURES)
    readable = torch.zeros(count, dtype=torch.int64)
    own = np.arange(count)[group.rank :: group.size]
    # As many rounds in each process, though shares may differ by one.
    for first in range(0, -(-count // group.size), _CHUNK):
        check()
        places = own[first : first + _CHUNK]
        chunk = load_images([images[place] for place in places])
        lost = set(chunk.unreadable)
        places = places[np.array([images[i].image_id not in lost for i in places], bool)]
        features[places] = describe_pixels(model, chunk.pixels).features
        readable[places] = 1
        if group.leads:
            done = min(count, (first + _CHUNK) * group.size)
            tell(ImagesDecoded("uploads", done, count))
    group.sum_(features)
    group.sum_(readable)
    if group.leads and not readable.all():
        lost_ids = [image.image_id for image, ok in zip(images, readable, strict=True) if not ok]
        tell(Warned(unreadable_warning("uploads", lost_ids)))
    return UploadFeatures(features.numpy(), readable.numpy().astype(bool))
