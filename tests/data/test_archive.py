"""Zip files of any origin: what is ours is unpacked, and nothing gets out of the folder."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import pytest

from data.archive import MAX_FILE_BYTES, unpack
from models.errors import InvalidDataset
from tests.data.archives import files, zipped

IMAGE = b"\xff\xd8\xff an image"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "inside"


def _write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "archive.zip"
    path.write_bytes(content)
    return path


def test_images_and_metadata_are_taken_and_nothing_else(tmp_path: Path, folder: Path) -> None:
    names = {
        "HAM10000_metadata": "ham10000_metadata",
        "ISIC_1.jpg": "ISIC_1.jpg",
        "kaggle/ISIC_2.JPG": "ISIC_2.JPG",
        "kaggle/ham10000_images_part_2/ISIC_3.jpg": "HAM10000_images_part_2/ISIC_3.jpg",
        "images_224\\ISIC_4.jpeg": "images_224/ISIC_4.jpeg",
        "hmnist_28_28_RGB.csv": None,
        "masks/ISIC_1_segmentation.png": None,
        "__MACOSX/ISIC_5.jpg": None,
        "._ISIC_6.jpg": None,
        "HAM10000_images_part_1/": None,
    }
    archive = _write(tmp_path, zipped(dict.fromkeys(names, IMAGE)))
    told: list[int] = []
    assert unpack(archive, folder, on_file=lambda: told.append(1)) == len(told) == 5
    assert files(folder) == sorted(name for name in names.values() if name)
    assert (folder / "ISIC_1.jpg").read_bytes() == IMAGE


@pytest.mark.parametrize(
    "name",
    [
        "../../ISIC_9.jpg",
        "/tmp/ISIC_9.jpg",
        "..\\..\\ISIC_9.jpg",
        "C:\\ISIC_9.jpg",
        "a/../../../HAM10000_images/../ISIC_9.jpg",
    ],
)
def test_no_path_leads_out(tmp_path: Path, folder: Path, name: str) -> None:
    archive = _write(tmp_path, zipped({name: IMAGE}))
    unpack(archive, folder)
    assert files(tmp_path) == ["archive.zip", "deep/inside/ISIC_9.jpg"]


@pytest.mark.parametrize("name", ["..jpg", ".jpg", "-rf.jpg", "ISIC\n9.jpg", "a b.jpg", "ü.jpg"])
def test_odd_names_stay_packed(tmp_path: Path, folder: Path, name: str) -> None:
    assert unpack(_write(tmp_path, zipped({name: IMAGE})), folder) == 0
    assert files(folder) == []


def test_a_link_is_written_as_a_file(tmp_path: Path, folder: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("ISIC_1.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    unpack(_write(tmp_path, buffer.getvalue()), folder)
    assert not (folder / "ISIC_1.jpg").is_symlink()
    assert (folder / "ISIC_1.jpg").read_text() == "/etc/passwd"


def test_the_first_of_two_namesakes_is_kept(tmp_path: Path, folder: Path) -> None:
    archive = _write(tmp_path, zipped({"a/ISIC_1.jpg": b"first", "b/ISIC_1.jpg": b"second"}))
    assert unpack(archive, folder) == 1
    assert (folder / "ISIC_1.jpg").read_bytes() == b"first"


def test_archives_in_an_archive_are_unpacked_one_deep(tmp_path: Path, folder: Path) -> None:
    innermost = zipped({"ISIC_3.jpg": IMAGE})
    inner = zipped({"ISIC_2.jpg": IMAGE, "more.zip": innermost})
    archive = _write(tmp_path, zipped({"HAM10000_images_part_1.zip": inner, "ISIC_1.jpg": IMAGE}))
    assert unpack(archive, folder) == 2
    assert files(folder) == ["ISIC_1.jpg", "ISIC_2.jpg"]


def test_more_than_the_limit_is_refused_before_anything_is_written(
    tmp_path: Path, folder: Path
) -> None:
    archive = _write(tmp_path, zipped({"ISIC_1.jpg": bytes(600), "ISIC_2.jpg": bytes(600)}))
    with pytest.raises(InvalidDataset, match="2 files of 1200 bytes, more than"):
        unpack(archive, folder, max_bytes=1199)
    assert files(folder) == []
    assert unpack(archive, folder, max_bytes=1200) == 2


def test_the_limit_counts_inner_archives(tmp_path: Path, folder: Path) -> None:
    inner = zipped({"ISIC_1.jpg": bytes(100_000)})  # a thousandth of that when packed
    archive = _write(tmp_path, zipped({"part.zip": inner}))
    with pytest.raises(InvalidDataset, match="more than"):
        unpack(archive, folder, max_bytes=100_000)
    assert unpack(archive, folder, max_bytes=100_000 + len(inner)) == 1


def test_a_huge_file_is_left_packed(tmp_path: Path, folder: Path) -> None:
    archive = _write(tmp_path, zipped({"ISIC_1.jpg": bytes(MAX_FILE_BYTES + 1)}))
    assert unpack(archive, folder) == 0


def test_an_archive_that_lies_about_sizes_is_refused(tmp_path: Path, folder: Path) -> None:
    content = zipped({"ISIC_1.jpg": bytes(100_000)})
    lying = content.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert lying != content
    with pytest.raises(InvalidDataset, match="cannot be unpacked"):
        unpack(_write(tmp_path, lying), folder)


@pytest.mark.parametrize("damage", ["empty", "no zip", "cut", "flipped", "encrypted"])
def test_damaged_archives_are_refused_in_a_sentence(
    tmp_path: Path, folder: Path, damage: str
) -> None:
    content = bytearray(zipped({"ISIC_1.jpg": bytes(range(256)) * 50}))
    if damage == "empty":
        content = bytearray()
    elif damage == "no zip":
        content = bytearray(b"<html>Please sign in</html>")
    elif damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "flipped":
        content[60] ^= 0xFF
    else:
        content[content.index(b"PK\x01\x02") + 8] |= 1
        content[6] |= 1
    archive = _write(tmp_path, bytes(content))
    with pytest.raises(InvalidDataset, match=r"cannot be unpacked: .* Download it again"):
        unpack(archive, folder)


def test_a_missing_archive_is_refused_in_a_sentence(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InvalidDataset, match="cannot be unpacked to"):
        unpack(tmp_path / "none.zip", folder)
