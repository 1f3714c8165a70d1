"""Files and archives that people, or others, drop on a page."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard import image_files as module
from dashboard.image_files import ImageFile, TooMany, count_files, image_files
from tests.dashboard.dropped import File, zipped


def only(*files: File) -> ImageFile:
    (found,) = image_files(files)
    return found


def test_files_and_archives_in_order() -> None:
    files = [
        File("a.jpg", b"a"),
        zipped(("b.jpg", b"b"), ("deep/c.jpg", b"c")),
        File("d.jpg", b"d"),
    ]
    found = list(image_files(files))
    assert [(each.name, each.data) for each in found] == [
        ("a.jpg", b"a"),
        ("pictures.zip: b.jpg", b"b"),
        ("pictures.zip: deep/c.jpg", b"c"),
        ("d.jpg", b"d"),
    ]
    assert count_files(files) == 4


def test_what_systems_add_to_archives_is_passed_over() -> None:
    archive = zipped(("__MACOSX/._a.jpg", b"x"), ("a.jpg", b"a"), (".DS_Store", b"x"), ("d/", b""))
    assert only(archive).data == b"a"
    assert count_files([archive]) == 1


def test_an_empty_archive() -> None:
    assert "archive is empty" in (only(zipped()).problem or "")


def test_an_empty_file() -> None:
    assert "empty" in (only(File("a.jpg", b"")).problem or "")
    assert "empty" in (only(zipped(("a.jpg", b""))).problem or "")


@pytest.mark.parametrize(
    "name", ["../x.jpg", "a/../../x.jpg", "/etc/passwd", "..\\x.jpg", "C:\\x.jpg", "C:x.jpg"]
)
def test_a_path_that_leads_out_of_the_archive(name: str) -> None:
    found = only(zipped((name, b"x")))
    assert found.data is None
    assert "leads out of the archive" in (found.problem or "")


def test_a_bomb() -> None:
    found = only(zipped(("a.jpg", bytes(50_000_000))))
    assert found.data is None
    assert "as no picture does" in (found.problem or "")


def test_a_bomb_that_lies_about_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IMAGE_BYTES", 2_000_000)
    data = bytearray(zipped(("a.jpg", bytes(10_000_000))).data)
    place = data.index(b"PK\x01\x02")
    data[place + 24 : place + 28] = struct.pack("<I", 1000)
    found = only(File("a.zip", bytes(data)))
    assert found.data is None
    assert found.problem is not None


def test_all_together_are_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_UNPACKED_BYTES", 5)
    first, second = image_files([zipped(("a.jpg", b"1234"), ("b.jpg", b"5678"))])
    assert first.data == b"1234"
    assert "too large" in (second.problem or "")


def test_a_directory_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DIRECTORY_BYTES", 100)
    archive = zipped(*[(f"{number}.jpg", b"x") for number in range(10)])
    assert "far too many" in (only(archive).problem or "")


def test_too_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 3)
    with pytest.raises(TooMany, match="Send at most 3"):
        next(image_files([File("a.jpg", b"a"), zipped(*[(f"{n}.jpg", b"x") for n in range(3)])]))


def test_an_archive_in_an_archive() -> None:
    assert "archive inside" in (only(zipped(("b.zip", zipped().data))).problem or "")


def test_an_encrypted_file() -> None:
    data = bytearray(zipped(("a.jpg", b"x")).data)
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + flags] |= 1
    assert "password" in (only(File("a.zip", bytes(data))).problem or "")


def test_a_large_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IMAGE_BYTES", 10)
    assert "too large" in (only(File("a.jpg", bytes(11))).problem or "")
    assert "too large" in (only(zipped(("a.jpg", bytes(11)))).problem or "")


_SEVERAL = zipped(*[(f"{n}.jpg", bytes(range(200)) * 3) for n in range(3)]).data


@given(st.binary(max_size=300))
def test_whatever_is_called_an_archive(data: bytes) -> None:
    assert all(each.data is None and each.problem for each in image_files([File("a.zip", data)]))


@given(
    st.lists(
        st.tuples(st.integers(0, len(_SEVERAL) - 1), st.integers(0, 255)), min_size=1, max_size=8
    ),
    st.integers(0, len(_SEVERAL)),
)
def test_a_damaged_archive_never_raises(changes: list[tuple[int, int]], end: int) -> None:
    data = bytearray(_SEVERAL)
    for place, value in changes:
        data[place] = value
    for each in image_files([File("a.zip", bytes(data[:end]))]):
        assert (each.data is None) == (each.problem is not None)


def test_stored_and_other_methods() -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w", method) as archive:
            archive.writestr("a.jpg", b"abc")
        assert only(File("a.zip", written.getvalue())).data == b"abc"
