"""The challenger's surroundings: progress that never falls, lesions that stay unseen."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import InvalidDataset
from models.package import ModelPackage
from tests.training.predictions import lesion_image
from training.retraining.challenger import (
    Meter,
    RunProgress,
    class_counts,
    finished_package,
    require_unseen,
)


def test_progress_never_falls_and_ends_at_one() -> None:
    heard: list[RunProgress] = []
    meter = Meter(heard.append, {"starting": 0.25, "training": 0.75, "packaging": 1.0})
    meter.tell("starting")
    meter.tell("training", 0.5, epoch=1, epochs=2, metrics={"loss": 2.0})
    meter.tell("training", 0.0, epoch=0)  # its workers were started again
    meter.tell("training", 1.0, metrics={"accuracy": 0.5})
    meter.tell("packaging", 1.0)
    assert [one.progress for one in heard] == [0, 0.5, 0.5, 0.75, 1]
    assert [one.phase for one in heard] == ["starting", *3 * ["training"], "packaging"]
    assert [one.epoch for one in heard] == [None, 1, 0, 0, 0]
    assert heard[-1].epochs == 2
    assert heard[-1].metrics == {"loss": 2.0, "accuracy": 0.5}


def test_an_upload_of_a_lesion_to_be_judged_on_is_refused_by_name() -> None:
    uploads = [lesion_image("mel", 1, lesion="A"), lesion_image("nv", 2, lesion="B")]
    require_unseen(uploads, ["C", "D"])
    with pytest.raises(InvalidDataset, match=r"1 uploads .*ISIC_0000002"):
        require_unseen(uploads, ["B", "C"])


def test_classes_are_counted_in_their_order() -> None:
    images = [lesion_image(code, i) for i, code in enumerate(("nv", "mel", "nv", "akiec"))]
    assert list(class_counts(images).items()) == [("akiec", 1), ("mel", 1), ("nv", 2)]


def test_only_the_package_of_the_same_run_counts_as_finished(
    tiny_package: ModelPackage, tmp_path: Path
) -> None:
    folder = tiny_package.folder
    seed = {"batch_size": tiny_package.manifest.recipe["batch_size"]}
    found = finished_package(folder, "tiny", seed)  # type: ignore[arg-type]
    assert found is not None
    assert found.manifest == tiny_package.manifest
    assert finished_package(folder, "another", seed) is None  # type: ignore[arg-type]
    assert finished_package(folder, "tiny", {"run": "another"}) is None
    assert finished_package(tmp_path / "absent", "tiny", {}) is None
