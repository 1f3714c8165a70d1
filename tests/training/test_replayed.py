"""Replayed answers: the network's own, and images with all that is known of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from data.ham10000 import UNKNOWN
from data.known_images import KnownImages
from models.architecture import load_classifier
from models.classes import CLASSES
from models.features import load_replay
from models.head import Head
from models.package import REPLAY_FILE, WEIGHTS_FILE, ModelPackage
from training.judgement import judged_by
from training.replayed import replayed, replayed_images


def test_the_champion_answers_as_when_it_was_judged(champion: ModelPackage) -> None:
    replay = load_replay(champion.file(REPLAY_FILE))["test"]
    model = load_classifier(champion.file(WEIGHTS_FILE))
    answers = replayed(replay, Head.of(model))
    with torch.inference_mode():
        logits = model.classifier(torch.from_numpy(replay.features)).numpy()
    np.testing.assert_allclose(answers.logits, logits, atol=1e-4)
    judged = judged_by(champion.manifest.decision, answers)
    test = champion.manifest.metrics["test"]
    accuracy = float((judged.predicted == judged.labels).mean())
    assert abs(accuracy - test["accuracy"]) < 0.005  # type: ignore[index]


def test_images_of_ham10000_have_their_attributes(champion: ModelPackage) -> None:
    replay = load_replay(champion.file(REPLAY_FILE))["validation"]
    images = replayed_images(replay)
    known = KnownImages.load()
    assert images == tuple(known.image(image_id) for image_id in replay.image_ids)
    assert {image.sex for image in images} >= {"female", "male"}
    assert sum(image.age is not None for image in images) > len(images) / 2


def test_of_other_images_only_lesion_and_diagnosis_are_known(tiny_package: ModelPackage) -> None:
    replay = load_replay(tiny_package.file(REPLAY_FILE))["test"]
    for image, image_id, lesion_id, label in zip(
        replayed_images(replay), replay.image_ids, replay.lesion_ids, replay.labels, strict=True
    ):
        assert (image.image_id, image.lesion_id) == (image_id, lesion_id)
        assert image.diagnosis == CLASSES[label]
        assert (image.sex, image.age, image.body_site) == (UNKNOWN, None, UNKNOWN)


def test_a_known_name_with_another_label_is_another_image(champion: ModelPackage) -> None:
    replay = load_replay(champion.file(REPLAY_FILE))["test"]
    relabelled = dataclasses.replace(replay, labels=(replay.labels + 1) % len(CLASSES))
    images = replayed_images(relabelled)
    assert [CLASSES.index(image.diagnosis) for image in images] == relabelled.labels.tolist()
    assert {image.sex for image in images} == {UNKNOWN}
