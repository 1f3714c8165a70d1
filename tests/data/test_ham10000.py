"""HAM10000 on disk: what is found, what is preferred, and what is refused in a sentence."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from data.ham10000 import METADATA_FILE, Ham10000, LesionImage, load_ham10000
from models.errors import InvalidDataset

HEADER = "lesion_id,image_id,dx,dx_type,age,sex,localization"
ROWS = (
    "HAM_0000001,ISIC_0000001,mel,histo,45.0,male,trunk",
    "HAM_0000001,ISIC_0000002,mel,histo,45.0,male,trunk",
    "HAM_0000002,ISIC_0000003,nv,follow_up,,female,back",
)


def _write(root: Path, *images: str, rows: Sequence[str] = ROWS, header: str = HEADER) -> Path:
    """A dataset folder of which only the names matter: nothing here decodes an image."""
    (root / METADATA_FILE).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    for image in images:
        path = root / image
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return root


def test_the_published_layout_is_read_from_both_parts(tmp_path: Path) -> None:
    dataset = load_ham10000(
        _write(
            tmp_path,
            "HAM10000_images_part_1/ISIC_0000001.jpg",
            "HAM10000_images_part_1/ISIC_0000002.jpg",
            "HAM10000_images_part_2/ISIC_0000003.jpg",
        )
    )
    assert dataset.missing == ()
    assert dataset.images[0] == LesionImage(
        image_id="ISIC_0000001",
        lesion_id="HAM_0000001",
        diagnosis="mel",
        diagnosis_source="histo",
        path=tmp_path / "HAM10000_images_part_1" / "ISIC_0000001.jpg",
        sharp=True,
    )
    assert dataset.images[2].path.parent.name == "HAM10000_images_part_2"
    assert [image.diagnosis_source for image in dataset.images] == ["histo", "histo", "follow_up"]


def test_the_best_copy_of_each_image_is_taken(tmp_path: Path) -> None:
    small = [f"images_200x150/ISIC_000000{number}.jpg" for number in (1, 2, 3)]
    dataset = load_ham10000(_write(tmp_path, *small, "images_224/ISIC_0000002.jpg"))
    folders = [image.path.parent.name for image in dataset.images]
    assert folders == ["images_200x150", "images_224", "images_200x150"]
    assert [image.sharp for image in dataset.images] == [False, True, False]


def test_missing_images_are_listed_and_left_out(tmp_path: Path) -> None:
    dataset = load_ham10000(_write(tmp_path, "HAM10000_images/ISIC_0000003.jpg"))
    assert [image.image_id for image in dataset.images] == ["ISIC_0000003"]
    assert dataset.missing == ("ISIC_0000001", "ISIC_0000002")


def test_a_byte_order_mark_is_no_part_of_a_column(tmp_path: Path) -> None:
    _write(tmp_path, "HAM10000_images/ISIC_0000001.jpg", header="\ufeff" + HEADER)
    assert load_ham10000(tmp_path).images[0].lesion_id == "HAM_0000001"


def test_missing_metadata_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=re.escape(f"{tmp_path / METADATA_FILE} does not")):
        load_ham10000(tmp_path)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="holds none of the folders HAM10000_images_part_1"):
        load_ham10000(_write(tmp_path))


def test_images_of_other_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="None of the images"):
        load_ham10000(_write(tmp_path, "HAM10000_images/photo.jpg"))


@pytest.mark.parametrize(
    ("rows", "header", "says"),
    [
        (ROWS, HEADER.replace("dx_type", "source"), "lacks the columns dx_type"),
        ((), "", "lacks the columns dx, dx_type, image_id, lesion_id"),
        (("L1,ISIC_0000001,wart,histo",), HEADER, "labels 'wart', which are none of akiec, bcc"),
        (("L1,ISIC_0000001,MEL,histo",), HEADER, "'MEL'"),
        (("L1,ISIC_0000001", "L2,ISIC_0000002,wart"), HEADER, "labels '', 'wart'"),
        ((*ROWS, ROWS[1]), HEADER, "names 1 images more than once: ISIC_0000002"),
        ((*ROWS, ROWS[1].replace("HAM_0000001", "HAM_0000009")), HEADER, "more than once"),
    ],
)
def test_metadata_that_breaks_a_rule_is_refused(
    tmp_path: Path, rows: Sequence[str], header: str, says: str
) -> None:
    _write(tmp_path, "HAM10000_images/ISIC_0000001.jpg", rows=rows, header=header)
    with pytest.raises(InvalidDataset, match=says):
        load_ham10000(tmp_path)


def test_metadata_in_another_encoding_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, "HAM10000_images/ISIC_0000001.jpg")
    (tmp_path / METADATA_FILE).write_bytes(f"{HEADER}\nL1,ISIC_1,nv,Läsion".encode("latin-1"))
    with pytest.raises(InvalidDataset, match="cannot be read as CSV in UTF-8"):
        load_ham10000(tmp_path)


def test_the_hash_names_the_labels_and_not_their_order(tmp_path: Path) -> None:
    dataset = load_ham10000(
        _write(tmp_path, *(f"HAM10000_images/ISIC_000000{number}.jpg" for number in (1, 2, 3)))
    )
    first, *others = dataset.images

    def hash_of(*images: LesionImage) -> str:
        return Ham10000(images, missing=()).hash

    assert re.fullmatch("[0-9a-f]{64}", dataset.hash)
    assert hash_of(*reversed(dataset.images)) == dataset.hash
    elsewhere = dataclasses.replace(first, path=Path("elsewhere.jpg"), sharp=False)
    assert hash_of(elsewhere, *others) == dataset.hash
    assert hash_of(*others) != dataset.hash
    for change in ({"diagnosis": "bcc"}, {"lesion_id": "HAM_0000002"}, {"image_id": "ISIC_9"}):
        assert hash_of(dataclasses.replace(first, **change), *others) != dataset.hash


def test_the_real_dataset_is_whole(real_ham10000: Ham10000) -> None:
    assert len(real_ham10000.images) == 10_015
    assert real_ham10000.missing == ()
    assert len({image.lesion_id for image in real_ham10000.images}) == 7_470
    counts = Counter(image.diagnosis for image in real_ham10000.images)
    assert counts == {
        "akiec": 327,
        "bcc": 514,
        "bkl": 1099,
        "df": 115,
        "mel": 1113,
        "nv": 6705,
        "vasc": 142,
    }
