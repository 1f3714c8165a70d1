"""A full run: two real workers, base images and uploads, and a package that is not made twice."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from safetensors.torch import load_file

from data.ham10000 import Ham10000, LesionImage, load_ham10000
from data.splits import Split, frozen_split
from models.classes import CLASSES
from models.errors import InvalidConfiguration, InvalidDataset
from models.features import load_replay
from models.package import (
    CARD_FILE,
    MANIFEST_FILE,
    REFERENCE_FILE,
    REPLAY_FILE,
    WEIGHTS_FILE,
    ModelPackage,
)
from models.reference import Reference, check_reference
from serve_app.engines.openvino_cpu import OpenVinoEngine
from tests.models.packages import PACKAGE_FILES
from tests.training.retraining.test_head_work import write_uploads
from training.retraining import full_run
from training.retraining.challenger import Challenger, RunProgress
from training.retraining.full_run import run_full
from training.settings import FullSettings, Phase, RetrainSettings, TrainingSettings
from training.stored_run import TrainingStopped

# Ray sets up its data library for each run, which warns of itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

PHASES = (Phase(epochs=1, image_size=32),)
SETTINGS = TrainingSettings(
    batch_size=16,
    phases=PHASES,
    nice=0,
    retrain=RetrainSettings(
        workers=2,
        resources_per_worker={"CPU": 0.1},
        full=FullSettings(phases=PHASES, upload_copies=2),
    ),
)


@dataclass(frozen=True)
class Finished:
    """A run that has come to its end."""

    challenger: Challenger
    storage: Path
    heard: list[RunProgress] = field(default_factory=list)


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """Ray, unless a server of the tests has started it."""
    if ray.is_initialized():
        yield
        return
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[LesionImage, ...]:
    """Eight uploads, of which the last cannot be read."""
    images = write_uploads(tmp_path_factory.mktemp("images"), 8)
    images[-1].path.write_bytes(b"no image")
    return images


@pytest.fixture(scope="module")
def split(synthetic_dataset: Path) -> Split:
    return frozen_split(load_ham10000(synthetic_dataset).images)


def _arguments(storage: Path, base: Path) -> dict[str, Any]:
    return {
        "base": base,
        "version": "challenger",
        "output": storage / "run" / "package",
        "storage": storage,
        "name": "run",
        "settings": SETTINGS,
        "bootstrap": 10,
    }


@pytest.fixture(scope="module")
def finished(
    ray_here: None,
    tiny_package: ModelPackage,
    images: tuple[LesionImage, ...],
    synthetic_dataset: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Finished:
    storage = tmp_path_factory.mktemp("runs")
    heard: list[RunProgress] = []
    arguments = _arguments(storage, synthetic_dataset)
    return Finished(
        run_full(tiny_package, images, progress=heard.append, **arguments), storage, heard
    )


def test_the_whole_network_has_learned(finished: Finished, tiny_package: ModelPackage) -> None:
    package = finished.challenger.package
    assert set(package.manifest.files) == set(PACKAGE_FILES)
    one, other = (load_file(p.file(WEIGHTS_FILE)) for p in (package, tiny_package))
    for name in ("features.0.0.weight", "features.18.0.weight", "classifier.1.weight"):
        assert not np.array_equal(one[name], other[name]), name
        assert np.abs(one[name] - other[name]).max() < 0.1, name


def test_the_package_serves(finished: Finished) -> None:
    package = finished.challenger.package
    reference = Reference.load(package.file(REFERENCE_FILE))
    engine = OpenVinoEngine(package)
    outputs = engine.forward(list(reference.images))
    check_reference(reference, outputs.logits, engine.info.precision)


def test_uploads_are_learned_from_and_nowhere_else(
    finished: Finished, split: Split, images: tuple[LesionImage, ...], synthetic_dataset: Path
) -> None:
    manifest = finished.challenger.package.manifest
    assert manifest.split.uploads == dict.fromkeys(CLASSES, 1)
    assert manifest.split.hash == split.hash
    assert sum(manifest.split.train.values()) == len(split.train)
    replay = load_replay(finished.challenger.package.file(REPLAY_FILE))
    for name, part in replay.items():
        assert part.image_ids == tuple(image.image_id for image in getattr(split, name))
    ham10000 = load_ham10000(synthetic_dataset)
    assert manifest.dataset_hash == Ham10000((*ham10000.images, *images[:-1])).hash
    counts = manifest.split.train.values()
    expected = np.log(np.array([*counts]) / sum(counts))
    np.testing.assert_allclose(manifest.decision.logit_shift, expected, atol=1e-5)
    recipe = manifest.recipe
    assert (recipe["mode"], recipe["run"], recipe["champion"]) == ("full", "run", "tiny")
    card = finished.challenger.package.file(CARD_FILE).read_text()
    assert "from version tiny on the base images and on 7 uploads" in card


def test_both_are_judged_on_the_same_test_images(
    finished: Finished, tiny_package: ModelPackage, split: Split, images: tuple[LesionImage, ...]
) -> None:
    challenger = finished.challenger
    assert challenger.test.images == challenger.champion_test.images == split.test
    before: Any = tiny_package.manifest.metrics["test"]
    accuracy = (challenger.champion_test.predicted == challenger.champion_test.labels).mean()
    assert before["accuracy"] == pytest.approx(float(accuracy))
    assert challenger.champion_uploads.images == images[:-1]
    assert challenger.unreadable == (images[-1].image_id,)


def test_progress_is_told_to_the_end(finished: Finished) -> None:
    progress = [one.progress for one in finished.heard]
    assert progress == sorted(progress)
    assert (progress[0], progress[-1]) == (0, 1)
    phases = list(dict.fromkeys(one.phase for one in finished.heard))
    assert phases == ["starting", "training", "judging", "packaging"]
    last = finished.heard[-1]
    assert (last.epoch, last.epochs) == (1, 1)
    assert last.metrics.keys() == {"loss", "validation_balanced_accuracy", "balanced_accuracy"}


def _refuse(*_: object, **__: object) -> None:
    raise AssertionError("training was started")


def test_a_finished_run_is_not_done_again(
    finished: Finished,
    tiny_package: ModelPackage,
    images: tuple[LesionImage, ...],
    synthetic_dataset: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(full_run, "fit", _refuse)
    manifest = finished.challenger.package.folder / MANIFEST_FILE
    written = manifest.stat().st_mtime_ns
    arguments = _arguments(finished.storage, synthetic_dataset)
    again = run_full(tiny_package, images, **arguments)
    assert manifest.stat().st_mtime_ns == written
    np.testing.assert_allclose(again.test.logits, finished.challenger.test.logits, atol=1e-4)
    assert again.champion_uploads.images == finished.challenger.champion_uploads.images


def test_a_run_that_lost_its_package_is_packaged_again_without_training(
    finished: Finished,
    tiny_package: ModelPackage,
    images: tuple[LesionImage, ...],
    synthetic_dataset: Path,
    tmp_path: Path,
) -> None:
    storage = shutil.copytree(finished.storage, tmp_path / "runs")
    shutil.rmtree(storage / "run" / "package")
    heard: list[RunProgress] = []
    again = run_full(
        tiny_package,
        images,
        progress=heard.append,
        **_arguments(storage, synthetic_dataset),
    )
    assert "training" not in {one.phase for one in heard}
    files = (again.package.manifest.files, finished.challenger.package.manifest.files)
    assert files[0][WEIGHTS_FILE] == files[1][WEIGHTS_FILE]


@pytest.mark.parametrize("after", [0, 20, 60])
def test_it_stops_while_it_decodes_and_judges(
    finished: Finished,
    tiny_package: ModelPackage,
    images: tuple[LesionImage, ...],
    synthetic_dataset: Path,
    tmp_path: Path,
    after: int,
) -> None:
    storage = shutil.copytree(finished.storage, tmp_path / "runs")
    shutil.rmtree(storage / "run" / "package")
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > after

    with pytest.raises(TrainingStopped):
        run_full(
            tiny_package,
            images,
            should_stop=should_stop,
            **_arguments(storage, synthetic_dataset),
        )
    assert not (storage / "run" / "package").exists()


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"version": "my model"}, InvalidConfiguration, "no version name"),
        ({"name": "../run"}, InvalidConfiguration, "no name of a run"),
        ({"base": Path("/nowhere")}, InvalidDataset, "nowhere"),
    ],
)
def test_a_mistake_is_told_before_anything_is_trained(
    tiny_package: ModelPackage,
    images: tuple[LesionImage, ...],
    synthetic_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    error: type[Exception],
    says: str,
) -> None:
    monkeypatch.setattr(full_run, "fit", _refuse)
    with pytest.raises(error, match=says):
        run_full(tiny_package, images, **{**_arguments(tmp_path, synthetic_dataset), **changes})


def test_uploads_that_cannot_be_learned_from_are_refused(
    tiny_package: ModelPackage,
    images: tuple[LesionImage, ...],
    split: Split,
    synthetic_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(full_run, "fit", _refuse)
    arguments = _arguments(tmp_path, synthetic_dataset)
    lesion = split.test[0].lesion_id
    seen = LesionImage(**{**vars(images[0]), "lesion_id": lesion})
    with pytest.raises(InvalidDataset, match=f"judged on: {seen.image_id}"):
        run_full(tiny_package, (seen, *images[1:]), **arguments)
    for unreadable in ((), images[-1:]):
        with pytest.raises(InvalidDataset, match="None of the uploads"):
            run_full(tiny_package, unreadable, **arguments)
