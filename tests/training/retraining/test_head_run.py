"""A head run: real workers, a package that serves, and the same end however often it is killed."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray

from data.ham10000 import Ham10000, LesionImage
from models.architecture import load_classifier
from models.classes import CLASSES
from models.drift_reference import DriftReference
from models.errors import InvalidConfiguration, InvalidDataset, InvalidPackage
from models.features import load_replay
from models.head import Head
from models.package import (
    CARD_FILE,
    DRIFT_FILE,
    GRAPH_FILE,
    MANIFEST_FILE,
    NOVELTY_FILE,
    REFERENCE_FILE,
    REPLAY_FILE,
    WEIGHTS_FILE,
    ModelPackage,
)
from models.reference import Reference, check_reference
from serve_app.engines.openvino_cpu import OpenVinoEngine
from tests.models.packages import PACKAGE_FILES, edit_manifest
from tests.training.retraining.test_head_work import write_uploads
from training.group import Group
from training.ray_run import WorkersUnavailable
from training.replayed import replayed_images
from training.retraining import head_run
from training.retraining.challenger import Challenger, RunProgress
from training.retraining.head_folder import HeadFolder, HeadPlan
from training.retraining.head_run import run_head
from training.retraining.head_work import work_on_head
from training.settings import RetrainSettings
from training.stored_run import TrainingStopped

# Ray sets up its data library for each run, which warns of itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SETTINGS = RetrainSettings(resources_per_worker={"CPU": 0.1})


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
    return write_uploads(tmp_path_factory.mktemp("images"), 9)


def _arguments(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    return {
        "version": "challenger",
        "output": tmp_path / "run" / "package",
        "storage": tmp_path,
        "name": "run",
        "settings": SETTINGS,
        "bootstrap": 10,
        **changes,
    }


def _work_done(tmp_path: Path, champion: ModelPackage, images: tuple[LesionImage, ...]) -> None:
    """What workers would do, without Ray."""
    folder = HeadFolder.named(tmp_path, "run")
    with folder.held():
        folder.begin(HeadPlan.of(champion, images, SETTINGS.head), champion)
    work_on_head(folder, Group(), lambda event: None)


@pytest.fixture(scope="module")
def finished(
    tiny_package: ModelPackage,
    images: tuple[LesionImage, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Challenger:
    """A run that has come to its end."""
    folder = tmp_path_factory.mktemp("runs")
    _work_done(folder, tiny_package, images)
    return run_head(tiny_package, images, **_arguments(folder))


def test_the_package_is_the_champion_but_for_its_head(
    finished: Challenger, tiny_package: ModelPackage
) -> None:
    package = finished.package
    assert set(package.manifest.files) == set(PACKAGE_FILES)
    for name, same in {
        NOVELTY_FILE: True,
        REPLAY_FILE: True,
        WEIGHTS_FILE: False,
        GRAPH_FILE: False,
        REFERENCE_FILE: False,
        DRIFT_FILE: False,
    }.items():
        assert (package.manifest.files[name] == tiny_package.manifest.files[name]) is same, name
    one, other = (load_classifier(p.file(WEIGHTS_FILE)) for p in (package, tiny_package))
    for name, value in one.features.state_dict().items():
        np.testing.assert_array_equal(value, other.features.state_dict()[name])
    decision, before = package.manifest.decision, tiny_package.manifest.decision
    assert decision.novelty_threshold == before.novelty_threshold
    assert decision.logit_shift == before.logit_shift
    assert package.manifest.metrics["novelty"] == tiny_package.manifest.metrics["novelty"]


def test_the_drift_reference_is_the_champions_but_for_the_answers(
    finished: Challenger, tiny_package: ModelPackage
) -> None:
    one, other = (
        DriftReference.load(package.file(DRIFT_FILE))
        for package in (finished.package, tiny_package)
    )
    assert np.array_equal(one.statistics, other.statistics)
    assert np.array_equal(one.labels, other.labels)
    right = one.logits.argmax(axis=1) == one.labels
    validation: Any = finished.package.manifest.metrics["validation"]
    assert right.mean() == pytest.approx(validation["accuracy"])


def test_of_a_champion_without_a_drift_reference_none_is_made(
    tmp_path: Path, tiny_package: ModelPackage, images: tuple[LesionImage, ...]
) -> None:
    old = shutil.copytree(tiny_package.folder, tmp_path / "old")
    (old / DRIFT_FILE).unlink()
    edit_manifest(old, lambda manifest: manifest["files"].pop(DRIFT_FILE))
    package = ModelPackage.load(old)
    _work_done(tmp_path / "runs", package, images)
    made = run_head(package, images, **_arguments(tmp_path / "runs")).package
    assert set(made.manifest.files) == {*PACKAGE_FILES} - {DRIFT_FILE}


def test_the_package_serves(finished: Challenger) -> None:
    reference = Reference.load(finished.package.file(REFERENCE_FILE))
    engine = OpenVinoEngine(finished.package)
    outputs = engine.forward(list(reference.images))
    check_reference(reference, outputs.logits, engine.info.precision)


def test_the_manifest_and_the_card_say_what_was_learned_from(
    finished: Challenger, tiny_package: ModelPackage, images: tuple[LesionImage, ...]
) -> None:
    manifest = finished.package.manifest
    assert manifest.version == "challenger"
    assert manifest.recipe["mode"] == "head"
    assert manifest.recipe["run"] == "run"
    assert manifest.recipe["champion"] == "tiny"
    assert manifest.split.uploads == dict(zip(CLASSES, (2, 2, 1, 1, 1, 1, 1), strict=True))
    before = tiny_package.manifest.split
    assert manifest.split.model_copy(update={"uploads": {}}) == before
    replay = load_replay(tiny_package.file(REPLAY_FILE)).values()
    base = tuple(image for part in replay for image in replayed_images(part))
    assert Ham10000(base).hash == tiny_package.manifest.dataset_hash
    assert manifest.dataset_hash == Ham10000((*base, *images)).hash
    card = finished.package.file(CARD_FILE).read_text()
    assert "Only the head was trained" in card
    assert "An eight-bit graph was not tried" in card
    assert "| uploads | 2 | 2 | 1 | 1 | 1 | 1 | 1 |" in card


def test_champion_and_challenger_are_judged_on_the_same_images(
    finished: Challenger, tiny_package: ModelPackage, images: tuple[LesionImage, ...]
) -> None:
    replay = load_replay(tiny_package.file(REPLAY_FILE))["test"]
    assert finished.test.images == finished.champion_test.images
    assert tuple(image.image_id for image in finished.test.images) == replay.image_ids
    for judged, package in (
        (finished.test, finished.package),
        (finished.champion_test, tiny_package),
    ):
        head = Head.of(load_classifier(package.file(WEIGHTS_FILE)))
        np.testing.assert_allclose(judged.logits, head.logits(replay.features), atol=1e-5)
    metrics: Any = finished.package.manifest.metrics["test"]
    accuracy = float((finished.test.predicted == finished.test.labels).mean())
    assert metrics["accuracy"] == pytest.approx(accuracy)
    uploads = finished.champion_uploads
    assert uploads.images == tuple(
        LesionImage(**{**vars(image), "path": image.path.absolute()}) for image in images
    )
    assert uploads.labels.tolist() == [CLASSES.index(image.diagnosis) for image in images]
    assert finished.unreadable == ()


def test_two_workers_in_a_ray_task_do_a_run_and_tell_of_it(
    ray_here: None, tiny_package: ModelPackage, images: tuple[LesionImage, ...], tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(update={"workers": 2})
    arguments = _arguments(tmp_path, settings=settings)
    challenger, heard = ray.get(_task.remote(tiny_package.folder, images, arguments))
    assert ModelPackage.load(arguments["output"]).manifest == challenger.package.manifest
    progress = [one.progress for one in heard]
    assert progress == sorted(progress)
    assert (progress[0], progress[-1]) == (0, 1)
    phases = list(dict.fromkeys(one.phase for one in heard))
    assert phases == ["starting", "features", "training", "packaging"]
    assert heard[-1].metrics.keys() == {"loss", "balanced_accuracy"}
    assert 1 <= heard[-1].epoch <= heard[-1].epochs
    assert sorted(os.listdir(tmp_path)) == ["run"]


@ray.remote(num_cpus=0, max_retries=0)
def _task(
    champion: Path, images: tuple[LesionImage, ...], arguments: dict[str, Any]
) -> tuple[Challenger, list[RunProgress]]:
    heard: list[RunProgress] = []
    package = ModelPackage.load(champion)
    return run_head(package, images, progress=heard.append, **arguments), heard


@ray.remote(num_cpus=0, max_retries=0)
def _task_that_dies(
    champion: Path, images: tuple[LesionImage, ...], arguments: dict[str, Any], phase: str
) -> None:
    def die(progress: RunProgress) -> None:
        if progress.phase == phase:
            os.kill(os.getpid(), signal.SIGKILL)

    run_head(ModelPackage.load(champion), images, progress=die, **arguments)


@pytest.mark.parametrize("phase", ["training", "packaging"])
def test_a_task_that_is_killed_is_done_by_the_next_one(
    ray_here: None,
    tiny_package: ModelPackage,
    images: tuple[LesionImage, ...],
    tmp_path: Path,
    finished: Challenger,
    phase: str,
) -> None:
    arguments = _arguments(tmp_path)
    if phase == "packaging":
        _work_done(tmp_path, tiny_package, images)
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(_task_that_dies.remote(tiny_package.folder, images, arguments, phase))
    challenger, _ = ray.get(_task.remote(tiny_package.folder, images, arguments))
    assert challenger.package.manifest.version == "challenger"
    # The features of an image may differ in the last digits, by what they were batched with.
    np.testing.assert_allclose(challenger.test.logits, finished.test.logits, atol=1e-3)


def test_a_worker_that_is_killed_is_replaced(
    ray_here: None, tiny_package: ModelPackage, images: tuple[LesionImage, ...], tmp_path: Path
) -> None:
    killed: list[int] = []
    heartbeat = HeadFolder.named(tmp_path, "run").heartbeat

    def kill() -> bool:
        if heartbeat.exists() and not killed:
            killed.extend(_kill_a_worker())
        return False

    challenger = run_head(tiny_package, images, should_stop=kill, **_arguments(tmp_path))
    assert killed
    assert challenger.package.manifest.version == "challenger"


def _kill_a_worker() -> Iterator[int]:
    """SIGKILL to one of the workers that this process's Ray started, if it is still there."""
    for process in psutil.Process().children(recursive=True):
        if "RayTrainWorker" in " ".join(process.cmdline()):
            os.kill(process.pid, signal.SIGKILL)
            yield process.pid
            return


def test_a_finished_run_is_not_done_again(
    tiny_package: ModelPackage, images: tuple[LesionImage, ...], tmp_path: Path
) -> None:
    _work_done(tmp_path, tiny_package, images)
    first = run_head(tiny_package, images, **_arguments(tmp_path))
    written = (first.package.folder / MANIFEST_FILE).stat().st_mtime_ns
    again = run_head(tiny_package, images, **_arguments(tmp_path))
    assert (again.package.folder / MANIFEST_FILE).stat().st_mtime_ns == written
    np.testing.assert_array_equal(again.test.logits, first.test.logits)
    np.testing.assert_array_equal(again.champion_uploads.logits, first.champion_uploads.logits)


def test_a_package_that_is_damaged_or_half_written_is_written_anew(
    tiny_package: ModelPackage, images: tuple[LesionImage, ...], tmp_path: Path
) -> None:
    _work_done(tmp_path, tiny_package, images)
    arguments = _arguments(tmp_path)
    first = run_head(tiny_package, images, **arguments)
    weights = first.package.folder / WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:-1])
    draft = tmp_path / "run" / ".package-a_killed"
    shutil.copytree(first.package.folder, draft / "new")
    again = run_head(tiny_package, images, **arguments)
    assert again.package.manifest.files[WEIGHTS_FILE] == first.package.manifest.files[WEIGHTS_FILE]
    assert not draft.exists()


def test_a_run_is_stopped_before_it_packages(
    tiny_package: ModelPackage, images: tuple[LesionImage, ...], tmp_path: Path
) -> None:
    _work_done(tmp_path, tiny_package, images)
    with pytest.raises(TrainingStopped):
        run_head(tiny_package, images, should_stop=lambda: True, **_arguments(tmp_path))
    assert not (tmp_path / "run" / "package").exists()


def test_a_run_is_stopped_while_ray_starts_its_workers(
    ray_here: None, tiny_package: ModelPackage, images: tuple[LesionImage, ...], tmp_path: Path
) -> None:
    with pytest.raises(TrainingStopped):
        run_head(tiny_package, images, should_stop=lambda: True, **_arguments(tmp_path))
    assert HeadFolder.named(tmp_path, "run").result() is None
    assert list((tmp_path / "run").glob("stop-*")) == []


def test_a_run_without_room_for_its_workers_says_what_to_do(
    ray_here: None,
    tiny_package: ModelPackage,
    images: tuple[LesionImage, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(head_run, "START_TIMEOUT_S", 1.0)
    settings = RetrainSettings(resources_per_worker={"CPU": 500})
    with pytest.raises(WorkersUnavailable, match=r"needs 1 with .*500"):
        run_head(tiny_package, images, **_arguments(tmp_path, settings=settings))


def _refuse(*_: object, **__: object) -> None:
    raise AssertionError("Ray was started")


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"version": "my model"}, InvalidConfiguration, "no version name"),
        ({"name": "../run"}, InvalidConfiguration, "no name of a run"),
        ({"output": Path(__file__).parent}, InvalidConfiguration, "is no model package"),
    ],
)
def test_a_mistake_is_told_before_anything_is_started(
    tiny_package: ModelPackage,
    images: tuple[LesionImage, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    error: type[Exception],
    says: str,
) -> None:
    monkeypatch.setattr(head_run, "run_with_ray", _refuse)
    with pytest.raises(error, match=says):
        run_head(tiny_package, images, **_arguments(tmp_path, **changes))


@pytest.mark.parametrize("part", ["validation", "test"])
def test_an_upload_of_a_lesion_to_be_judged_on_is_refused(
    tiny_package: ModelPackage,
    images: tuple[LesionImage, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
) -> None:
    monkeypatch.setattr(head_run, "run_with_ray", _refuse)
    lesion = load_replay(tiny_package.file(REPLAY_FILE))[part].lesion_ids[0]
    seen = LesionImage(**{**vars(images[0]), "lesion_id": lesion})
    with pytest.raises(InvalidDataset, match="upload0"):
        run_head(tiny_package, (seen, *images[1:]), **_arguments(tmp_path))


def test_a_damaged_champion_is_told(
    tiny_package: ModelPackage,
    images: tuple[LesionImage, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(head_run, "run_with_ray", _refuse)
    champion = ModelPackage(
        shutil.copytree(tiny_package.folder, tmp_path / "champion"), tiny_package.manifest
    )
    (champion.folder / REPLAY_FILE).write_bytes(b"damaged")
    with pytest.raises(InvalidPackage, match="replay features"):
        run_head(champion, images, **_arguments(tmp_path))


def test_two_processes_do_not_work_on_one_run(
    tiny_package: ModelPackage, images: tuple[LesionImage, ...], tmp_path: Path
) -> None:
    with (
        HeadFolder.named(tmp_path, "run").held(),
        pytest.raises(InvalidConfiguration, match="Another process"),
    ):
        run_head(tiny_package, images, **_arguments(tmp_path))
