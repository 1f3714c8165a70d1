"""Known images: whole, placed by the frozen split, and recognised however they are sent."""

from __future__ import annotations

import gzip
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data.duplicates import HASH_BYTES, NEAR_DUPLICATE_DISTANCE, perceptual_hash
from data.frozen import FrozenSplit
from data.ham10000 import Ham10000, LesionImage, load_ham10000
from data.importing import Checked, check_images
from data.known_images import NAME, KnownImages, KnownMatch, freeze_known_images
from data.splits import SPLITS
from models.classes import CLASSES
from models.errors import InvalidDataset
from models.features import load_replay
from models.package import BUNDLED_CHAMPION, REPLAY_FILE
from models.preprocessing import decode_image
from tests.conftest import PROJECT, SHARED_HAM10000

FILES = (f"{NAME}.csv.gz", f"{NAME}.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        shutil.copy(PROJECT / "data" / name, tmp_path)
    return tmp_path


def _bits(*places: int) -> bytes:
    """A hash of zeros with ones at these places."""
    return np.packbits(np.isin(np.arange(8 * HASH_BYTES), places)).tobytes()


def _known(**hashes: bytes) -> KnownImages:
    """Images of which each is its own lesion, in the part that its name begins with."""
    rows = tuple(LesionImage(name, name, "nv", "histo", Path(name), True) for name in hashes)
    parts = {name: next(p for p in SPLITS if name.startswith(p)) for name in hashes}
    return KnownImages(rows, tuple(hashes.values()), parts)


def test_every_image_of_ham10000_is_known() -> None:
    known, frozen = KnownImages.load(), FrozenSplit.load()
    assert len({row.image_id for row in known.rows}) == 10_015
    for part in SPLITS:
        counts = Counter(row.diagnosis for row in known.images(part))
        assert counts == frozen.images[part]
        assert set(counts) == set(CLASSES)
    assert {row.lesion_id for row in known.rows} == set(frozen.lesions)
    assert KnownImages.load() is known


def test_attributes_are_those_of_the_metadata() -> None:
    known = KnownImages.load()
    row = known.image("ISIC_0024306")
    assert row is not None
    assert (row.diagnosis, row.age, row.sex, row.body_site) == ("nv", 45.0, "male", "trunk")
    assert row.path == Path("ISIC_0024306.jpg")
    assert sum(row.age is None for row in known.rows) == 57
    assert known.image("ISIC_0000000") is None


def test_the_champions_replay_features_have_attributes() -> None:
    """With these a machine without images judges subgroups."""
    known = KnownImages.load()
    replay = load_replay(BUNDLED_CHAMPION / REPLAY_FILE)
    assert set(replay) == set(SPLITS)
    for part, features in replay.items():
        rows = [known.image(image_id) for image_id in features.image_ids]
        assert [row and row.lesion_id for row in rows] == list(features.lesion_ids)
        assert [row and CLASSES.index(row.diagnosis) for row in rows] == features.labels.tolist()
        assert {known.part_of_lesion(lesion) for lesion in features.lesion_ids} == {part}


def test_lesions_are_found_however_their_ids_are_written() -> None:
    known = KnownImages.load()
    part = known.part_of_lesion("HAM_0000550")
    assert part == FrozenSplit.load().lesions["HAM_0000550"]
    assert known.part_of_lesion(" ham_0000550\n") == part
    for stranger in ("", "HAM_", "HAM_9999999", "lesion 7", "\0"):
        assert known.part_of_lesion(stranger) is None


def test_the_nearest_is_found_and_the_limit_belongs() -> None:
    known = _known(train_a=_bits(), train_b=_bits(*range(100)))
    assert known.find(_bits(1, 2)) == KnownMatch("train_a", "train", 2)
    assert known.find(_bits(*range(100))) == KnownMatch("train_b", "train", 0)
    assert known.find(_bits(*range(NEAR_DUPLICATE_DISTANCE))) is not None
    assert known.find(_bits(*range(NEAR_DUPLICATE_DISTANCE + 1))) is None
    assert known.find(_bits(1, 2), max_distance=1) is None
    with pytest.raises(InvalidDataset, match="has 32 bytes"):
        known.find(b"")


def test_what_may_be_a_test_image_counts_as_one() -> None:
    known = _known(
        train_a=_bits(), validation_a=_bits(1, 2), test_a=_bits(1, 2, 3), test_b=_bits(1)
    )
    assert known.find(_bits()) == KnownMatch("test_b", "test", 1)
    assert _known(train_a=_bits(), validation_a=_bits(1)).find(_bits()) == KnownMatch(
        "validation_a", "validation", 1
    )


def test_originals_are_recognised(ham10000_samples: list[Path]) -> None:
    known = KnownImages.load()
    for path in ham10000_samples:
        match = known.find(perceptual_hash(decode_image(path.read_bytes())))
        assert match is not None
        assert match.image_id == path.stem
        assert match.part == known.part_of_lesion(known.image(path.stem).lesion_id)  # type: ignore[union-attr]
        assert match.distance <= 20


def test_copies_at_every_resolution_are_recognised(ham10000_samples: list[Path]) -> None:
    known = KnownImages.load()
    for name in ("images_224", "images_200x150"):
        paths = sorted((SHARED_HAM10000 / name).glob("*.jpg"))[::20]
        found = [known.find(perceptual_hash(decode_image(path.read_bytes()))) for path in paths]
        right = [
            match is not None and match.image_id == path.stem
            for match, path in zip(found, paths, strict=True)
        ]
        assert len(right) > 250
        assert np.mean(right) > 0.99


def test_synthetic_lesions_are_strangers(lesions: np.ndarray) -> None:  # type: ignore[type-arg]
    known = KnownImages.load()
    assert [known.find(perceptual_hash(lesion)) for lesion in lesions] == [None] * len(CLASSES)


def test_the_shipped_table_is_what_the_images_give(real_ham10000: Ham10000) -> None:
    known = KnownImages.load()
    some = Ham10000(real_ham10000.images[::100])
    checked = check_images(some)
    for image, made in zip(some.images, checked.hashes, strict=True):
        place = known.rows.index(known.image(image.image_id))  # type: ignore[arg-type]
        assert known.hashes[place] == made
        assert known.rows[place].__dict__ | {"path": None} == image.__dict__ | {"path": None}


def _freeze(checked: Checked, folder: Path) -> list[bytes]:
    folder.mkdir()
    freeze_known_images(checked, folder)
    return [gzip.decompress((folder / FILES[0]).read_bytes()), (folder / FILES[1]).read_bytes()]


def test_freezing_does_not_depend_on_order(synthetic_dataset: Path, tmp_path: Path) -> None:
    checked = check_images(load_ham10000(synthetic_dataset))
    turned = Checked(Ham10000(checked.dataset.images[::-1]), checked.hashes[::-1], checked.merged)
    assert _freeze(checked, tmp_path / "a") == _freeze(turned, tmp_path / "b")
    # These lesions are in no frozen split.
    with pytest.raises(InvalidDataset, match="different datasets"):
        KnownImages.load(tmp_path / "a")


def test_a_hidden_test_image_is_noticed(folder: Path) -> None:
    table = folder / FILES[0]
    lines = gzip.decompress(table.read_bytes()).splitlines(keepends=True)
    for kept in (lines[:-1], lines[:1], []):
        table.write_bytes(gzip.compress(b"".join(kept)))
        with pytest.raises(InvalidDataset, match="is altered"):
            KnownImages.load(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (FILES[0], None),
        (FILES[0], b"image_id,lesion_id\n"),
        (FILES[0], gzip.compress(b"\xff\xfe")),
        (FILES[0], gzip.compress(b"image_id\nISIC_1\n")),
        (FILES[0], (PROJECT / "data" / FILES[0]).read_bytes()[:1000]),
        (FILES[1], None),
        (FILES[1], b"[]"),
        (FILES[1], json.dumps({"images": 1}).encode()),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value)[:20],
)
def test_broken_files_are_refused_in_a_sentence(
    folder: Path, name: str, content: bytes | None
) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(InvalidDataset, match="cannot be read"):
        KnownImages.load(folder)
