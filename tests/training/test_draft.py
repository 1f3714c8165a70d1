"""Drafts: a folder is replaced whole or not at all, and never if it is no package."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import InvalidConfiguration
from models.package import MANIFEST_FILE
from tests.conftest import PROJECT
from training.draft import PackageNotWritten, check_replaceable, clear_drafts, draft_of


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder that passes for a package."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / MANIFEST_FILE).write_text("old")
    return folder


def test_an_absent_an_empty_and_a_package_folder_may_be_replaced(
    tmp_path: Path, package: Path
) -> None:
    check_replaceable(tmp_path / "deep" / "below" / "new")
    (tmp_path / "empty").mkdir()
    check_replaceable(tmp_path / "empty")
    check_replaceable(package)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "empty", "model"]


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    (tmp_path / "file").touch()
    for folder in (tmp_path / "thesis", tmp_path / "file", tmp_path):
        with pytest.raises(InvalidConfiguration, match="is no model package and would be replaced"):
            check_replaceable(folder)


def test_the_working_folder_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidConfiguration, match=str(tmp_path)):
        check_replaceable(Path("."))


def test_a_parent_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidConfiguration, match=r"cannot be written: .* Choose another"):
        check_replaceable(tmp_path / "file" / "model")


def test_a_finished_draft_takes_the_place(package: Path) -> None:
    with draft_of(package) as draft:
        (draft / MANIFEST_FILE).write_text("new")
        assert (package / MANIFEST_FILE).read_text() == "old"
    assert (package / MANIFEST_FILE).read_text() == "new"
    assert list(package.parent.iterdir()) == [package]
    assert package.stat().st_mode & 0o055 == 0o055


def test_a_new_folder_appears_at_the_end_only(tmp_path: Path) -> None:
    with draft_of(tmp_path / "new") as draft:
        (draft / MANIFEST_FILE).touch()
        assert not (tmp_path / "new").exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == [MANIFEST_FILE]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a bug"), SystemExit(3)])
def test_an_interrupted_draft_leaves_the_old_folder(package: Path, error: BaseException) -> None:
    def interrupted() -> None:
        with draft_of(package) as draft:
            (draft / MANIFEST_FILE).write_text("half")
            raise error

    with pytest.raises(type(error)):
        interrupted()
    assert (package / MANIFEST_FILE).read_text() == "old"
    assert list(package.parent.iterdir()) == [package]


def test_a_failed_rename_brings_the_old_folder_back(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def full(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(PackageNotWritten, match="No space left on device"), draft_of(package):
        pass
    assert (package / MANIFEST_FILE).read_text() == "old"
    assert list(package.parent.iterdir()) == [package]


def test_a_link_goes_on_pointing_to_the_package(package: Path) -> None:
    link = package.parent / "champion"
    link.symlink_to(package)
    with draft_of(link) as draft:
        (draft / MANIFEST_FILE).write_text("new")
    assert link.is_symlink()
    assert (package / MANIFEST_FILE).read_text() == "new"


def test_what_a_killed_process_left_is_cleared_and_nothing_else(package: Path) -> None:
    program = (
        "import os, pathlib, sys; from training.draft import draft_of\n"
        "with draft_of(pathlib.Path(sys.argv[1])) as draft:\n"
        "    (draft / 'weights').write_text('half')\n"
        "    os._exit(9)"
    )
    killed = subprocess.run([sys.executable, "-c", program, package], cwd=PROJECT)
    assert killed.returncode == 9
    neighbours = [package.parent / ".model-2-abcdefgh", package.parent / ".models"]
    for folder in neighbours:
        folder.mkdir()
    assert len(list(package.parent.iterdir())) == 4
    clear_drafts(package)
    assert sorted(package.parent.iterdir()) == sorted([package, *neighbours])
    assert (package / MANIFEST_FILE).read_text() == "old"
    clear_drafts(package.parent / "absent")
