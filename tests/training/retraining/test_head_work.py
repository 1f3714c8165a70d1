"""The work of a head run: shares make a whole, what was found is kept, and it can be stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from data.ham10000 import LesionImage
from data.synthetic import synthetic_jpeg
from models.architecture import load_classifier
from models.classes import CLASSES
from models.errors import InvalidDataset, InvalidPackage
from models.head import Head
from models.package import REPLAY_FILE, WEIGHTS_FILE, ModelPackage
from models.preprocessing import decode_image
from tests.models.packages import write_small_package
from tests.training.distributed import run_group
from training.group import Group
from training.progress import Event, ImagesDecoded, Step, Warned
from training.retraining.head_folder import HeadFolder, HeadPlan
from training.retraining.head_work import work_on_head
from training.settings import HeadSettings
from training.stored_run import RunNotStored, TrainingStopped

SETTINGS = HeadSettings(iterations=5)


def write_uploads(folder: Path, count: int, first: int = 0) -> tuple[LesionImage, ...]:
    """Labelled synthetic lesions as files, each class in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for number in range(first, first + count):
        code = CLASSES[number % len(CLASSES)]
        path = folder / f"{number}.jpg"
        path.write_bytes(synthetic_jpeg(code, 100 + number, 300, 225))
        images.append(
            LesionImage(f"upload{number}", f"lesion{number}", code, "expert", path, sharp=True)
        )
    return tuple(images)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[LesionImage, ...]:
    return write_uploads(tmp_path_factory.mktemp("images"), 5)


def _begun(path: Path, champion: ModelPackage, images: Sequence[LesionImage]) -> HeadFolder:
    folder = HeadFolder(path)
    path.mkdir(parents=True, exist_ok=True)
    folder.begin(HeadPlan.of(champion, images, SETTINGS), champion)
    return folder


def test_features_are_the_backbones_and_the_head_moves(
    tiny_package: ModelPackage, images: tuple[LesionImage, ...], tmp_path: Path
) -> None:
    folder = _begun(tmp_path, tiny_package, images)
    heard: list[Event] = []
    work_on_head(folder, Group(), heard.append)
    model = load_classifier(tiny_package.file(WEIGHTS_FILE))
    found, head = folder.features(), folder.result()
    assert found is not None
    assert head is not None
    for image, features in zip(images, found.features, strict=True):
        pixels = torch.from_numpy(decode_image(image.path.read_bytes())).permute(2, 0, 1)[None]
        with torch.inference_mode():
            np.testing.assert_allclose(features, model.pooled_features(pixels)[0], atol=1e-3)
    assert found.readable.all()
    moved = np.abs(head.weight - Head.of(model).weight).max()
    assert 0 < moved < 1
    assert heard[0] == ImagesDecoded("uploads", 5, 5)
    steps = [event.step for event in heard if isinstance(event, Step)]
    assert steps == list(range(1, len(steps) + 1))
    assert 1 <= len(steps) <= SETTINGS.iterations


def _work(group: Group, folder: Path) -> None:
    work_on_head(HeadFolder(folder / "run"), group, lambda event: None)


def test_two_workers_come_to_the_same_head(
    tiny_package: ModelPackage, images: tuple[LesionImage, ...], tmp_path: Path
) -> None:
    together = _begun(tmp_path / "run", tiny_package, images)
    run_group(2, tmp_path, _work)
    alone = _begun(tmp_path / "alone", tiny_package, images)
    work_on_head(alone, Group(), lambda event: None)
    for folder in (together, alone):
        assert folder.result() is not None
    one, other = together.features(), alone.features()
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(one.features, other.features, atol=1e-4)
    heads = [folder.result() for folder in (together, alone)]
    np.testing.assert_allclose(heads[0].weight, heads[1].weight, atol=1e-4)  # type: ignore[union-attr]


def test_an_unreadable_upload_is_left_out_and_told(
    tiny_package: ModelPackage, tmp_path: Path
) -> None:
    images = write_uploads(tmp_path / "images", 3)
    images[1].path.write_bytes(b"no image")
    images[2].path.unlink()
    folder = _begun(tmp_path / "run", tiny_package, images)
    heard: list[Event] = []
    work_on_head(folder, Group(), heard.append)
    found = folder.features()
    assert found is not None
    assert found.readable.tolist() == [True, False, False]
    assert found.unreadable(images) == ("upload1", "upload2")
    assert found.of_readable(images) == images[:1]
    assert not found.features[1:].any()
    warned = [event.sentence for event in heard if isinstance(event, Warned)]
    assert len(warned) == 1
    assert "2 images of the uploads" in warned[0]


def test_without_a_readable_upload_nothing_is_learned(
    tiny_package: ModelPackage, tmp_path: Path
) -> None:
    images = write_uploads(tmp_path / "images", 2)
    for image in images:
        image.path.write_bytes(b"")
    folder = _begun(tmp_path / "run", tiny_package, images)
    with pytest.raises(InvalidDataset, match="None of the uploads"):
        work_on_head(folder, Group(), lambda event: None)
    assert folder.result() is None
    with pytest.raises(InvalidDataset, match="None of the uploads"):
        work_on_head(_begun(tmp_path / "empty", tiny_package, ()), Group(), lambda event: None)


@pytest.mark.parametrize("after", [0, 1, 3])
def test_it_stops_when_told_and_goes_on_from_the_kept_features(
    tiny_package: ModelPackage, images: tuple[LesionImage, ...], tmp_path: Path, after: int
) -> None:
    folder = _begun(tmp_path, tiny_package, images)
    asked = 0

    def stopped() -> bool:
        nonlocal asked
        asked += 1
        return asked > after

    with pytest.raises(TrainingStopped):
        work_on_head(folder, Group(), lambda event: None, stopped)
    assert folder.result() is None
    assert (folder.features() is not None) is (after > 0)

    heard: list[Event] = []
    work_on_head(folder, Group(), heard.append)
    assert any(isinstance(event, ImagesDecoded) for event in heard) is (after == 0)
    assert folder.result() is not None


def test_the_same_plan_keeps_what_was_found_and_another_one_does_not(
    tiny_package: ModelPackage, images: tuple[LesionImage, ...], tmp_path: Path
) -> None:
    folder = _begun(tmp_path, tiny_package, images)
    work_on_head(folder, Group(), lambda event: None)
    again = _begun(tmp_path, tiny_package, images)
    assert again.result() is not None
    relabelled = (LesionImage(**{**vars(images[0]), "diagnosis": "mel"}), *images[1:])
    for other in (images[:-1], relabelled):
        work_on_head(folder, Group(), lambda event: None)
        changed = _begun(tmp_path, tiny_package, other)
        assert changed.result() is None
        assert changed.features() is None
        assert changed.plan().uploads == other


def test_a_champion_without_features_cannot_be_refitted(tmp_path: Path) -> None:
    package = ModelPackage.load(write_small_package(tmp_path / "small", "small"))
    with pytest.raises(InvalidPackage, match=REPLAY_FILE):
        HeadPlan.of(package, (), SETTINGS)


@pytest.mark.parametrize("name", ["head-plan.json", "features.safetensors", "head.safetensors"])
def test_damaged_files_are_told(
    tiny_package: ModelPackage, images: tuple[LesionImage, ...], tmp_path: Path, name: str
) -> None:
    folder = _begun(tmp_path, tiny_package, images)
    work_on_head(folder, Group(), lambda event: None)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(RunNotStored, match="cannot be read"):
        folder.plan(), folder.features(), folder.result()
