"""HAM10000 on disk: what is found, what is preferred, and what is refused in a sentence."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from data.ham10000 import METADATA_FILE, Ham10000, LesionImage, Problem, load_ham10000
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
        path.parent.mkdir(parents=True, exist_ok=True)
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
        sex="male",
        age=45.0,
        body_site="trunk",
    )
    assert dataset.images[2].age is None
    assert dataset.problems == ()
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


@pytest.mark.parametrize(
    "folders",
    [
        # Kaggle's zip, which holds each part twice in different case.
        ("HAM10000_images_part_1", "ham10000_images_part_1", "ham10000_images_part_2"),
        # Dataverse's zips, unpacked beside the metadata, or each into a folder of its name.
        (".", ".", "."),
        ("HAM10000_images_part_1/HAM10000_images_part_1", "a/b/c", "HAM10000_images_part_2"),
    ],
)
def test_any_nesting_and_suffix_is_read(tmp_path: Path, folders: Sequence[str]) -> None:
    suffixes = ("jpg", "JPG", "jpeg")
    names = [
        f"{folder}/ISIC_000000{number}.{suffix}"
        for number, (folder, suffix) in enumerate(zip(folders, suffixes, strict=True), 1)
    ]
    dataset = load_ham10000(_write(tmp_path, *names))
    assert [image.path for image in dataset.images] == [tmp_path / name for name in names]


def test_metadata_and_images_may_lie_apart_and_deep(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    _write(tmp_path / "one")
    _write(tmp_path, "two/archive/ISIC_0000001.jpg", "__MACOSX/ISIC_0000002.jpg")
    (tmp_path / METADATA_FILE).unlink()
    assert len(load_ham10000(tmp_path).images) == 1
    assert len(load_ham10000(tmp_path / "one", tmp_path / "two").images) == 1


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    _write(tmp_path, "images/ISIC_0000001.jpg")
    (tmp_path / "images" / "again").symlink_to(tmp_path, target_is_directory=True)
    dataset = load_ham10000(tmp_path)
    assert dataset.images[0].path == tmp_path / "images" / "ISIC_0000001.jpg"


@pytest.mark.parametrize("name", ["HAM10000_metadata", "HAM10000_metadata.tab"])
def test_dataverses_table_is_read(tmp_path: Path, name: str) -> None:
    _write(tmp_path, "HAM10000_images/ISIC_0000001.jpg")
    text = (tmp_path / METADATA_FILE).read_text().replace(",", "\t")
    (tmp_path / METADATA_FILE).rename(tmp_path / name).write_text(text)
    dataset = load_ham10000(tmp_path)
    assert (dataset.images[0].diagnosis, dataset.images[0].age) == ("mel", 45.0)


@pytest.mark.parametrize(("size", "sharp"), [((300, 224), True), ((300, 223), False)])
def test_sharpness_is_measured_where_the_folder_says_nothing(
    tmp_path: Path, size: tuple[int, int], sharp: bool
) -> None:
    _write(tmp_path)
    Image.new("RGB", size).save(tmp_path / "ISIC_0000001.jpg")
    assert load_ham10000(tmp_path).images[0].sharp is sharp


def test_a_file_that_is_no_image_is_not_sharp(tmp_path: Path) -> None:
    assert not load_ham10000(_write(tmp_path, "other/ISIC_0000001.jpg")).images[0].sharp


@pytest.mark.parametrize(
    ("cells", "age", "sex", "site"),
    [
        ("45.0,male,trunk", 45.0, "male", "trunk"),
        ("0,Female, Lower Extremity", 0.0, "female", "lower extremity"),
        (",,", None, "unknown", "unknown"),
        ("NA,unknown,nan", None, "unknown", "unknown"),
        ("", None, "unknown", "unknown"),
    ],
)
def test_what_is_known_of_the_patient(
    tmp_path: Path, cells: str, age: float | None, sex: str, site: str
) -> None:
    rows = (f"L1,ISIC_0000001,mel,histo,{cells}".rstrip(","),)
    dataset = load_ham10000(_write(tmp_path, "HAM10000_images/ISIC_0000001.jpg", rows=rows))
    (image,) = dataset.images
    assert (image.age, image.sex, image.body_site) == (age, sex, site)
    assert dataset.problems == ()


@pytest.mark.parametrize("age", ["old", "-5", "121", "1e400", "-inf", "45 years", "0x2D"])
def test_an_age_that_is_none_is_listed_and_the_image_kept(tmp_path: Path, age: str) -> None:
    rows = (f"L1,ISIC_0000001,mel,histo,{age},male,trunk",)
    dataset = load_ham10000(_write(tmp_path, "HAM10000_images/ISIC_0000001.jpg", rows=rows))
    assert dataset.images[0].age is None
    assert dataset.problems == (Problem("invalid age", "ISIC_0000001", repr(age)),)


def test_every_row_is_used_or_listed(tmp_path: Path) -> None:
    rows = (
        *ROWS,
        "L3,ISIC_0000004,wart,histo",
        "L3,ISIC_0000005,MEL,histo",
        ",ISIC_0000006,nv,histo",
        "L4,ISIC_0000007,nv,histo,old",
        "L5,../../etc/passwd,nv,histo",
    )
    names = [f"HAM10000_images/ISIC_000000{number}.jpg" for number in (1, 2, 3, 4, 5, 6, 7)]
    dataset = load_ham10000(_write(tmp_path, *names, rows=rows))
    assert [image.image_id[-1] for image in dataset.images] == ["1", "2", "3", "7"]
    assert dataset.problem_counts == {
        "unknown label": 2,
        "no lesion id": 1,
        "invalid age": 1,
        "missing": 1,
    }
    assert dataset.problems[0] == Problem("unknown label", "ISIC_0000004", "'wart'")
    assert dataset.missing == ("../../etc/passwd",)


def test_a_byte_order_mark_is_no_part_of_a_column(tmp_path: Path) -> None:
    _write(tmp_path, "HAM10000_images/ISIC_0000001.jpg", header="\ufeff" + HEADER)
    assert load_ham10000(tmp_path).images[0].lesion_id == "HAM_0000001"


def test_missing_metadata_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=re.escape(f"{tmp_path / METADATA_FILE} does not")):
        load_ham10000(tmp_path)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="holds no JPEG images"):
        load_ham10000(_write(tmp_path))


def test_images_of_other_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="None of the images"):
        load_ham10000(_write(tmp_path, "HAM10000_images/photo.jpg"))


@pytest.mark.parametrize(
    ("rows", "header", "says"),
    [
        (ROWS, HEADER.replace("dx_type", "source"), "lacks the columns dx_type"),
        ((), "", "lacks the columns dx, dx_type, image_id, lesion_id"),
        (("L1,ISIC_0000001,wart,histo",), HEADER, "can be used: 1 unknown label"),
        (("L1,ISIC_0000001", ",ISIC_0000002,mel"), HEADER, "1 unknown label, 1 no lesion id"),
        ((), HEADER, "can be used: there are no rows"),
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
        return Ham10000(images).hash

    assert re.fullmatch("[0-9a-f]{64}", dataset.hash)
    assert hash_of(*reversed(dataset.images)) == dataset.hash
    elsewhere = dataclasses.replace(first, path=Path("elsewhere.jpg"), sharp=False)
    assert hash_of(elsewhere, *others) == dataset.hash
    assert hash_of(*others) != dataset.hash
    for change in ({"diagnosis": "bcc"}, {"lesion_id": "HAM_0000002"}, {"image_id": "ISIC_9"}):
        assert hash_of(dataclasses.replace(first, **change), *others) != dataset.hash


def test_the_real_dataset_is_whole(real_ham10000: Ham10000) -> None:
    assert len(real_ham10000.images) == 10_015
    assert real_ham10000.problems == ()
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
    images = real_ham10000.images
    assert sum(image.age is None for image in images) == 57
    assert Counter(image.sex for image in images) == {"male": 5406, "female": 4552, "unknown": 57}
    assert sum(image.body_site == "unknown" for image in images) == 234
