"""Synthetic pictures: the same every time, readable as HAM10000, and telling classes apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data.ham10000 import METADATA_FILE, load_ham10000
from data.splits import split_by_lesion
from data.synthetic import synthetic_jpeg, synthetic_lesion, write_synthetic_ham10000
from models.classes import CLASSES
from models.errors import InvalidConfiguration
from models.preprocessing import IMAGE_SIZE, decode_image

TRAIN_SEEDS, TEST_SEEDS = range(12), range(12, 18)


def _read(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.array(image)


@pytest.mark.parametrize("diagnosis", CLASSES)
def test_the_same_seed_gives_the_same_bytes(diagnosis: str) -> None:
    first = synthetic_lesion(diagnosis, seed=3, width=120, height=90)
    assert np.array_equal(first, synthetic_lesion(diagnosis, seed=3, width=120, height=90))
    assert not np.array_equal(first, synthetic_lesion(diagnosis, seed=4, width=120, height=90))
    assert synthetic_jpeg(diagnosis, 3, 120, 90) == synthetic_jpeg(diagnosis, 3, 120, 90)


def test_diagnoses_differ_under_one_seed() -> None:
    pictures = {synthetic_lesion(code, seed=0, width=64, height=48).tobytes() for code in CLASSES}
    assert len(pictures) == len(CLASSES)


@pytest.mark.parametrize("diagnosis", CLASSES)
@pytest.mark.parametrize(("width", "height"), [(600, 450), (32, 24), (90, 160), (16, 16), (33, 97)])
def test_size_and_range(diagnosis: str, width: int, height: int) -> None:
    picture = synthetic_lesion(diagnosis, seed=1, width=width, height=height)
    assert picture.shape == (height, width, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 5
    # Skin reflects more red than blue, under any light that the pictures have.
    assert picture[..., 0].mean() > picture[..., 2].mean()


def test_one_seed_shows_one_lesion_at_any_size() -> None:
    large = Image.fromarray(synthetic_lesion("nv", seed=5, width=400, height=300))
    small = synthetic_lesion("nv", seed=5, width=200, height=150)
    difference = np.asarray(large.resize((200, 150))).astype(float) - small
    other = synthetic_lesion("nv", seed=6, width=200, height=150).astype(float) - small
    assert np.abs(difference).mean() < 5 < np.abs(other).mean()


def test_the_default_is_ham10000s_size() -> None:
    assert synthetic_lesion("df", seed=0).shape == (450, 600, 3)


@pytest.mark.parametrize("diagnosis", CLASSES)
def test_the_decoder_accepts_the_jpeg(diagnosis: str) -> None:
    jpeg = synthetic_jpeg(diagnosis, seed=2, width=320, height=240)
    assert decode_image(jpeg).shape == (IMAGE_SIZE, IMAGE_SIZE, 3)


def test_quality_sets_the_jpegs_size() -> None:
    assert len(synthetic_jpeg("nv", 0, 160, 120, quality=30)) < len(
        synthetic_jpeg("nv", 0, 160, 120)
    )


@pytest.mark.parametrize(
    ("diagnosis", "seed", "width", "height", "says"),
    [
        ("wart", 0, 64, 48, "'wart' is no diagnosis"),
        ("nv", -1, 64, 48, "Seed -1"),
        ("nv", 0, 64, 15, "64 x 15"),
    ],
)
def test_what_is_out_of_range_is_refused(
    diagnosis: str, seed: int, width: int, height: int, says: str
) -> None:
    with pytest.raises(InvalidConfiguration, match=says):
        synthetic_lesion(diagnosis, seed, width, height)


@pytest.mark.parametrize("quality", [0, 96])
def test_a_quality_out_of_range_is_refused(quality: int) -> None:
    with pytest.raises(InvalidConfiguration, match=f"1 to 95, not {quality}"):
        synthetic_jpeg("nv", 0, 64, 48, quality)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic") / "ham10000"
    write_synthetic_ham10000(folder, lesions_per_class=10, seed=7, width=64, height=48)
    return folder


def test_the_dataset_loads(dataset: Path) -> None:
    ham10000 = load_ham10000(dataset)
    assert ham10000.missing == ()
    assert {image.diagnosis for image in ham10000.images} == set(CLASSES)
    assert ham10000.images[0].image_id == "SYN_0000001"
    assert ham10000.images[0].lesion_id == "SYNLESION_0000001"
    assert len({image.lesion_id for image in ham10000.images}) == 10 * len(CLASSES)
    assert len({image.image_id for image in ham10000.images}) == 14 * len(CLASSES)
    assert all(_read(image.path).shape == (48, 64, 3) for image in ham10000.images)


def test_no_lesion_is_in_two_splits(dataset: Path) -> None:
    images = load_ham10000(dataset).images
    split = split_by_lesion(images, seed=0)
    parts = [
        {image.lesion_id for image in part} for part in (split.train, split.validation, split.test)
    ]
    assert len(split.train) + len(split.validation) + len(split.test) == len(images)
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert all(
        {image.diagnosis for image in part} == set(CLASSES) for part in (split.train, split.test)
    )


def test_a_second_image_shows_the_same_lesion_from_another_hold(dataset: Path) -> None:
    def likeness(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> float:
        closer = Image.fromarray(first[5:43, 6:58]).resize((64, 48))
        turns = (closer, closer.transpose(Image.Transpose.ROTATE_180))
        views = [np.asarray(view.convert("L")).ravel() for view in turns]
        seen = np.asarray(Image.fromarray(second).convert("L")).ravel()
        return max(float(np.corrcoef(view, seen)[0, 1]) for view in views)

    views: dict[str, list[npt.NDArray[np.uint8]]] = {}
    for image in load_ham10000(dataset).images:
        views.setdefault(image.lesion_id, []).append(_read(image.path))
    pairs = [view for view in views.values() if len(view) == 2]
    assert len(pairs) == 4 * len(CLASSES)
    same = [likeness(first, second) for first, second in pairs]
    other = [likeness(pairs[i - 1][0], second) for i, (_, second) in enumerate(pairs)]
    assert np.median(same) > 0.7 > np.median(other)
    # A turn that leaves the picture would show as black corners.
    assert all(second[[0, 0, -1, -1], [0, -1, 0, -1]].min() > 25 for _, second in pairs)
    assert all(not np.array_equal(first, second) for first, second in pairs)


def test_the_dataset_is_the_same_every_time(dataset: Path, tmp_path: Path) -> None:
    write_synthetic_ham10000(tmp_path, lesions_per_class=10, seed=7, width=64, height=48)
    for path in sorted(path for path in dataset.rglob("*") if path.is_file()):
        assert path.read_bytes() == (tmp_path / path.relative_to(dataset)).read_bytes()


def test_the_metadata_has_the_published_columns(dataset: Path) -> None:
    header = (dataset / METADATA_FILE).read_text(encoding="utf-8").splitlines()[0]
    assert header == "lesion_id,image_id,dx,dx_type,age,sex,localization"


def test_an_empty_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match="at least 1 lesion"):
        write_synthetic_ham10000(tmp_path, lesions_per_class=0, seed=0)


def test_the_classes_can_be_learned() -> None:
    def colours(seeds: range) -> tuple[npt.NDArray[np.float64], list[str]]:
        rows, labels = [], []
        for diagnosis in CLASSES:
            for seed in seeds:
                pixels = synthetic_lesion(diagnosis, seed, width=96, height=72).reshape(-1, 3)
                histogram, _ = np.histogramdd(pixels, bins=6, range=[(0, 256)] * 3)
                rows.append(np.sqrt(histogram.ravel()))
                labels.append(diagnosis)
        return np.array(rows), labels

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    model.fit(*colours(TRAIN_SEEDS))
    assert model.score(*colours(TEST_SEEDS)) >= 0.6  # chance is 0.14
