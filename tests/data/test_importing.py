"""The import: from any packing to one checked folder, with every problem told."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from data.duplicates import HASH_BYTES
from data.ham10000 import METADATA_FILE, Ham10000, load_ham10000
from data.importing import (
    REPORT_FILE,
    Listeners,
    check_images,
    import_ham10000,
)
from data.splits import frozen_split
from data.synthetic import write_synthetic_ham10000
from models.errors import InvalidDataset
from tests.data.archives import dataverse, files, zipped


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of small pictures, enough of each class to be split."""
    folder = tmp_path_factory.mktemp("small")
    write_synthetic_ham10000(folder, lesions_per_class=4, seed=3, width=96, height=72)
    return folder


@pytest.fixture
def dataset(small: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    return shutil.copytree(small, tmp_path / "dataset")


def _images(dataset: Path) -> list[Path]:
    return sorted((dataset / "HAM10000_images").iterdir())


def test_a_folder_is_copied_whole(small: Path, tmp_path: Path) -> None:
    output = tmp_path / "parent" / "made"
    imported = import_ham10000([small], output)
    original = load_ham10000(small)
    assert files(output) == sorted([*files(small), REPORT_FILE])
    assert load_ham10000(output).hash == original.hash == imported.checked.dataset.hash
    assert imported.folder == output
    assert imported.split == frozen_split(imported.checked.dataset.images)
    assert {len(one) for one in imported.checked.hashes} == {HASH_BYTES}
    assert len(imported.checked.hashes) == len(original.images)
    assert not any(path.is_symlink() for path in output.rglob("*"))
    assert sorted(path.name for path in output.parent.iterdir()) == ["made"]


def test_a_folder_can_be_linked(small: Path, tmp_path: Path) -> None:
    output = tmp_path / "made"
    import_ham10000([small], output, link=True)
    made = load_ham10000(output).images
    assert all(image.path.is_symlink() for image in made)
    assert [image.path.resolve() for image in made] == [path.resolve() for path in _images(small)]


@pytest.mark.parametrize("packing", ["files", "folder", "kaggle", "bundle"])
def test_every_packing_gives_the_same_dataset(small: Path, tmp_path: Path, packing: str) -> None:
    parts = dataverse(small)
    source = tmp_path / "source"
    source.mkdir()
    if packing == "kaggle":
        members = {METADATA_FILE: parts["HAM10000_metadata"]}
        for path in _images(small):
            for folder in ("HAM10000_images_part_1", "ham10000_images_part_1"):
                members[f"{folder}/{path.name}"] = path.read_bytes()
        (source / "archive.zip").write_bytes(zipped(members))
    elif packing == "bundle":
        (source / "dataverse_files.ZIP").write_bytes(zipped(parts))
    else:
        for name, content in parts.items():
            (source / name).write_bytes(content)
    sources = [source] if packing == "folder" else sorted(source.iterdir())
    before = files(source)
    imported = import_ham10000(sources, tmp_path / "made")
    assert imported.checked.dataset.hash == load_ham10000(small).hash
    made = load_ham10000(tmp_path / "made")
    assert made.hash == load_ham10000(small).hash
    assert made.problems == ()
    assert files(source) == before


def test_tabs_become_commas(dataset: Path, tmp_path: Path) -> None:
    metadata = dataset / METADATA_FILE
    published = metadata.read_bytes()
    (dataset / "HAM10000_metadata.tab").write_bytes(published.replace(b",", b"\t"))
    metadata.unlink()
    import_ham10000([dataset], tmp_path / "made")
    assert (tmp_path / "made" / METADATA_FILE).read_bytes() == published


def test_every_problem_is_told_and_counted(dataset: Path, tmp_path: Path) -> None:
    empty, cut, text, gone, *others = _images(dataset)
    empty.write_bytes(b"")
    cut.write_bytes(cut.read_bytes()[:700])
    text.write_text("<html>")
    gone.unlink()
    with (dataset / METADATA_FILE).open("a") as file:
        file.write("L1,SYN_X,wart,histo,45.0,male,trunk\n")
    imported = import_ham10000([dataset], tmp_path / "made")
    found = imported.checked.dataset
    assert found.problem_counts == {"missing": 1, "unknown label": 1, "unreadable": 3}
    assert [image.image_id for image in found.images] == [path.stem for path in others]
    report = json.loads((tmp_path / "made" / REPORT_FILE).read_text())
    assert report["dataset_hash"] == found.hash
    assert report["images"] == len(others)
    assert report["problem_counts"] == found.problem_counts
    told = {problem["image_id"]: problem for problem in report["problems"]}
    assert set(told) == {empty.stem, cut.stem, text.stem, gone.stem, "SYN_X"}
    assert "no bytes" in told[empty.stem]["detail"]
    # What cannot be decoded is not taken, so it is missing from then on.
    made = load_ham10000(tmp_path / "made")
    assert set(made.missing) == {empty.stem, cut.stem, text.stem, gone.stem}
    assert made.hash == found.hash


def test_an_image_that_may_not_be_read_is_listed(small: Path, tmp_path: Path) -> None:
    dataset = load_ham10000(small)
    lost = shutil.copytree(small, tmp_path / "lost")
    moved = load_ham10000(lost)
    _images(lost)[0].unlink()  # after it was found
    checked = check_images(moved)
    assert checked.dataset.problem_counts == {"unreadable": 1}
    assert len(checked.dataset.images) == len(dataset.images) - 1


def test_images_in_a_folder_of_another_name_are_found_again(dataset: Path, tmp_path: Path) -> None:
    (dataset / "HAM10000_images").rename(dataset / "my pictures")
    made = import_ham10000([dataset], tmp_path / "made")
    assert {p.parent.name for p in (tmp_path / "made").rglob("*.jpg")} == {"images"}
    again = load_ham10000(tmp_path / "made")
    assert again.hash == made.checked.dataset.hash
    assert {image.sharp for image in again.images} == {False}


def test_a_copy_under_another_lesion_is_found(dataset: Path, tmp_path: Path) -> None:
    images = load_ham10000(dataset).images
    first = images[0]
    other = next(image for image in images[1:] if image.lesion_id != first.lesion_id)
    shutil.copy(first.path, other.path)
    imported = import_ham10000([dataset], tmp_path / "made")
    assert imported.checked.merged == ((first.lesion_id, other.lesion_id),)
    assert imported.split is not None
    lesions = imported.split.lesions
    assert lesions[first.lesion_id] == lesions[other.lesion_id]


def test_too_few_lesions_are_imported_without_a_split(tmp_path: Path) -> None:
    write_synthetic_ham10000(tmp_path / "few", 1, seed=1, width=64, height=48)
    imported = import_ham10000([tmp_path / "few"], tmp_path / "made")
    assert imported.split is None
    assert "No lesion of akiec" in imported.split_problem
    assert len(load_ham10000(tmp_path / "made").images) == 14


def test_listeners_hear_of_every_file(small: Path, tmp_path: Path) -> None:
    (tmp_path / "all.zip").write_bytes(zipped(dataverse(small)))
    unpacked: list[int] = []
    counts: list[int] = []
    checked: list[int] = []

    def on_images(count: int) -> object:
        counts.append(count)
        return lambda: checked.append(1)

    listeners = Listeners(on_unpacked=lambda: unpacked.append(1), on_images=on_images)  # type: ignore[arg-type]
    import_ham10000([tmp_path / "all.zip"], tmp_path / "made", listeners=listeners)
    images = len(_images(small))
    assert len(unpacked) == images + 1
    assert counts == [images]
    assert len(checked) == images


def test_an_empty_output_folder_is_used(small: Path, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    import_ham10000([small], tmp_path / "made")
    assert (tmp_path / "made" / METADATA_FILE).is_file()


@pytest.mark.parametrize("taken", ["folder", "file"])
def test_an_output_that_holds_something_is_left_alone(
    small: Path, tmp_path: Path, taken: str
) -> None:
    output = tmp_path / "made"
    if taken == "folder":
        output.mkdir()
        (output / "thesis.tex").write_text("years")
    else:
        output.write_text("years")
    with pytest.raises(InvalidDataset, match="is not an empty folder"):
        import_ham10000([small], output)
    held = output / "thesis.tex" if taken == "folder" else output
    assert held.read_text() == "years"


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda folder: shutil.rmtree(folder), "dataset does not exist"),
        (lambda folder: (folder / METADATA_FILE).unlink(), "There is no HAM10000_metadata.csv in"),
        (lambda folder: shutil.rmtree(folder / "HAM10000_images"), "holds no JPEG images"),
        (lambda folder: [p.write_bytes(b"x") for p in _images(folder)], "can be decoded"),
        (lambda folder: (folder / "part.zip").write_bytes(b"PK"), "part.zip cannot be unpacked"),
    ],
)
def test_what_cannot_be_used_leaves_nothing_behind(
    dataset: Path,
    tmp_path: Path,
    break_it: object,
    says: str,
) -> None:
    assert callable(break_it)
    break_it(dataset)
    with pytest.raises(InvalidDataset, match=says):
        import_ham10000([dataset], tmp_path / "new" / "made")
    assert files(tmp_path / "new") == []


def test_images_without_metadata_are_refused_by_their_own_name(small: Path, tmp_path: Path) -> None:
    archive = tmp_path / "HAM10000_images_part_1.zip"
    archive.write_bytes(dataverse(small)[archive.name])
    with pytest.raises(
        InvalidDataset, match=re.escape(f"HAM10000_metadata.csv in {archive}. Name")
    ):
        import_ham10000([archive], tmp_path / "made")


def test_an_output_that_cannot_be_written_is_one_sentence(small: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidDataset, match="cannot be written"):
        import_ham10000([small], tmp_path / "file" / "made")


def test_real_images_pass_the_check(real_ham10000: Ham10000) -> None:
    few = Ham10000(real_ham10000.images[::100])
    checked = check_images(few)
    assert checked.dataset == few
    assert checked.merged == ()
