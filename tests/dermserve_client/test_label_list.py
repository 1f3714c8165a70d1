"""Label lists as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermserve_client import label_list as module
from dermserve_client.label_list import read_labels
from models.classes import CLASSES


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("head", [("file", "label"), ("image_id", "dx"), (" File ", "LABEL")])
def test_what_spreadsheets_write(delimiter: str, head: tuple[str, str]) -> None:
    lines = [
        delimiter.join(head),
        delimiter.join(("a.jpg", " MEL ")),
        delimiter.join(("b.jpg", "")),
    ]
    found = read_labels("\r\n".join(lines).encode("utf-8-sig"))
    assert found.problems == ()
    assert found.labels == {"a.jpg": "mel"}


def test_a_file_is_found_by_its_name_or_part_of_it() -> None:
    found = read_labels(b"image_id,dx,lesion_id\nISIC_1,nv,L1\nx/b.jpg,bcc,\n")
    assert found.label_of("pictures.zip: deep/ISIC_1.jpg") == "nv"
    assert found.label_of("ISIC_1.jpg") == "nv"
    assert found.lesion_of("ISIC_1.jpg") == "L1"
    assert found.label_of("a.zip: x/b.jpg") == "bcc"
    assert found.lesion_of("x/b.jpg") is None
    assert found.label_of("other.jpg") is None


def test_a_label_outside_the_seven() -> None:
    found = read_labels(b"file,label\na.jpg,cancer\nb.jpg,nv\n")
    assert found.problems == (
        "Line 2: 'cancer' is none of the seven classes. Use one of akiec, bcc, bkl, df, mel, nv, "
        "vasc.",
    )
    assert found.labels == {"b.jpg": "nv"}


def test_many_problems_are_not_all_told() -> None:
    found = read_labels(b"file,label\n" + b"a.jpg,x\n" * 20)
    assert len(found.problems) == 6
    assert found.problems[-1] == "And 15 more lines like these."


def test_two_labels_for_one_file() -> None:
    found = read_labels(b"file,label\na.jpg,nv\na.jpg,mel\na.jpg,nv\n")
    assert found.problems == ("Line 3: 'a.jpg' has two labels. Keep one of them.",)


def test_two_lesions_for_one_file() -> None:
    found = read_labels(b"file,label,lesion\na.jpg,nv,L1\na.jpg,nv,L2\na.jpg,,L1\n")
    assert found.problems == ("Line 3: 'a.jpg' has two lesions. Keep one of them.",)


def test_only_an_archive_has_members() -> None:
    found = read_labels(b"file,label\n2.jpg,nv\n")
    assert found.label_of("A.ZIP: 2.jpg") == "nv"
    assert found.label_of("other: 2.jpg") is None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "columns `file` and `label`"),
        (b"a.jpg,nv\n", "columns `file` and `label`"),
        (b"file,diagnoses\na.jpg,nv\n", "columns `file` and `label`"),
        (b"\xff\xd8\xff\xe0 a picture", "UTF-8"),
        (b"file,label\0\n", "no text"),
        (b"x" * (module.MAX_BYTES + 1), "larger than 4 MB"),
        (b"file,label\n" + b"a,nv\n" * (module.MAX_ROWS + 1), "20,000 are the most"),
    ],
    ids=["empty", "no head", "other head", "picture", "zero byte", "large", "long"],
)
def test_what_is_no_list(data: bytes, said: str) -> None:
    found = read_labels(data)
    assert len(found.problems) == 1
    assert said in found.problems[0]
    assert found.labels == {}


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode()))
def test_it_never_raises(data: bytes) -> None:
    found = read_labels(b"file,label,lesion_id\n" + data)
    assert set(found.labels.values()) <= set(CLASSES)
