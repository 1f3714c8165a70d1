"""The first directory of a TIFF or of EXIF, whole, cut off, or of more tags than it has."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.tiff_directory import ORIENTATION_TAG, exif_orientation, read_directory

SHORT, LONG = 3, 4


def exif(*tags: tuple[int, int, int, int], order: str = "<") -> bytes:
    """EXIF of tags, each with its type, count and value."""
    mark = b"II" if order == "<" else b"MM"
    packed = [
        struct.pack(f"{order}HHL", tag, kind, count)
        + struct.pack(f"{order}{'HH' if kind == SHORT else 'L'}", *[value, 0][: 5 - kind])
        for tag, kind, count, value in tags
    ]
    return mark + struct.pack(f"{order}HLH", 42, 8, len(tags)) + b"".join(packed) + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("marker", [b"", b"Exif\0\0", b"Exif\0\0Exif\0\0"])
def test_the_orientation_is_found_among_others(order: str, marker: bytes) -> None:
    others = [(tag, LONG, 1, tag) for tag in range(256, 270)]
    data = exif(*others, (ORIENTATION_TAG, SHORT, 1, 6), order=order)
    assert exif_orientation(marker + data) == 6
    assert exif_orientation(marker + exif(*others, order=order)) == 1
    entries = list(read_directory(marker + data, len(marker)))
    assert [entry.tag for entry in entries] == [*range(256, 270), ORIENTATION_TAG]
    assert {entry.count for entry in entries} == {1}


def test_a_big_tiff_has_longer_fields() -> None:
    data = b"MM\0\x2b" + struct.pack(">HHQ", 8, 0, 16)
    data += struct.pack(">QHHQHHL", 1, ORIENTATION_TAG, SHORT, 1, 8, 0, 0)
    (entry,) = read_directory(data.replace(b"MM\0\x2b", b"MM\x2b\0"))
    assert (entry.tag, entry.kind, entry.count) == (ORIENTATION_TAG, SHORT, 1)
    assert exif_orientation(data.replace(b"MM\0\x2b", b"MM\x2b\0")) == 8


@pytest.mark.parametrize(
    "tag", [(SHORT, 2, 6), (SHORT, 2**32 - 1, 6), (LONG, 1, 6), (SHORT, 1, 0), (SHORT, 1, 9)]
)
def test_what_is_no_orientation_is_none(tag: tuple[int, int, int]) -> None:
    assert exif_orientation(exif((ORIENTATION_TAG, *tag))) == 1


def test_an_endless_directory_is_given_up() -> None:
    entry = struct.pack("<HHLL", 1, SHORT, 1, 0)
    orientation = struct.pack("<HHLL", ORIENTATION_TAG, SHORT, 1, 6)
    head = b"II*\0\x08\0\0\0\xff\xff"
    assert exif_orientation(head + entry * 100 + orientation) == 6
    assert exif_orientation(head + entry * 10_000 + orientation) == 1


@given(st.binary(max_size=100))
def test_any_bytes_have_an_orientation(data: bytes) -> None:
    for start in (b"", b"II*\0", b"MM\0*\0\0\0\x08"):
        assert 1 <= exif_orientation(start + data) <= 8
        assert len(list(itertools.islice(read_directory(start + data), 100))) < 100
