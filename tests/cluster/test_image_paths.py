"""Image paths: what folders, patterns and odd names stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster import image_paths as module
from cluster.image_paths import UnreadableFile, find_images, read_image_file


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "a.PNG", "c.txt", ".d.jpg", "in/e.tiff", "in/deep/f.webp", ".git/g.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("paths", "files"),
    [
        (["."], ["./a.PNG", "./b.jpg", "./in/e.tiff", "./in/deep/f.webp"]),
        (["in"], ["in/e.tiff", "in/deep/f.webp"]),
        (["c.txt", "b.jpg"], ["c.txt", "b.jpg"]),
        (["b.jpg", "./b.jpg", "."], ["b.jpg", "./a.PNG", "./in/e.tiff", "./in/deep/f.webp"]),
        (["*.jpg"], ["b.jpg"]),
        (["**/*.webp"], ["in/deep/f.webp"]),
        (["in/*"], ["in/deep/f.webp", "in/e.tiff"]),
        (["none.jpg"], ["none.jpg"]),
        (["none-*.jpg"], []),
        (["a\0b"], ["a\0b"]),
        ([""], [""]),
    ],
)
def test_what_is_found(paths: list[str], files: list[str]) -> None:
    found = find_images(paths)
    assert list(found.files) == files
    assert list(found.empty) == ([] if files else paths)


def test_a_name_with_brackets_is_no_pattern(here: Path) -> None:
    (here / "[ab].jpg").write_bytes(b"")
    assert find_images(["[ab].jpg"]).files == ("[ab].jpg",)


def test_links_in_a_circle_end(here: Path) -> None:
    (here / "in" / "again").symlink_to(here)
    assert len(find_images([str(here)]).files) == 4


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("path", ["", "in", "a\0b", "none", "b.jpg/none", "x" * 300])
def test_what_cannot_be_read(path: str) -> None:
    with pytest.raises(UnreadableFile):
        read_image_file(path)


def test_a_file_that_grows_is_not_read_for_ever(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 3)
    (here / "b.jpg").write_bytes(b"123")
    assert read_image_file("b.jpg") == b"123"
    (here / "b.jpg").write_bytes(b"1234")
    with pytest.raises(UnreadableFile, match="smaller"):
        read_image_file("b.jpg")
