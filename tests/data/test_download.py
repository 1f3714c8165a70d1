"""The download: from a real server, whole or not at all, and one sentence when it fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from data.download import DownloadFailed, download_ham10000
from data.importing import import_ham10000
from tests.conftest import free_port
from tests.data.archives import dataverse, files
from tests.data.repository import Repository

PART_1 = "HAM10000_images_part_1.zip"
FETCHED = ["ham10000_images_part_1.zip", "ham10000_images_part_2.zip", "ham10000_metadata.csv"]


@pytest.fixture
def repository(synthetic_dataset: Path) -> Iterator[Repository]:
    others = {"ISIC2018_Task3_Test_Images.zip": b"PK", "../../evil.zip": b"PK"}
    with Repository(others | dataverse(synthetic_dataset)) as repository:
        yield repository


def test_what_is_fetched_can_be_imported(
    repository: Repository, synthetic_dataset: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "download"
    paths = download_ham10000(folder, server=repository.url)
    assert sorted(path.name for path in paths) == files(folder) == FETCHED
    imported = import_ham10000(paths, tmp_path / "made")
    assert len(imported.checked.dataset.images) == len(
        list((synthetic_dataset / "HAM10000_images").iterdir())
    )


def test_what_is_there_is_not_fetched_again(repository: Repository, tmp_path: Path) -> None:
    download_ham10000(tmp_path, server=repository.url)
    (tmp_path / FETCHED[1]).unlink()
    (tmp_path / FETCHED[0]).write_bytes(b"damaged on disk")
    before = repository.requests.copy()
    download_ham10000(tmp_path, server=repository.url)
    again = [path for path in repository.requests - before if "datafile" in path]
    assert again == ["/api/access/datafile/2", "/api/access/datafile/3"]


def test_a_table_is_fetched_as_it_was_uploaded(synthetic_dataset: Path, tmp_path: Path) -> None:
    contents = dataverse(synthetic_dataset)
    contents["HAM10000_metadata.tab"] = contents.pop("HAM10000_metadata")
    with Repository(contents, tables=("HAM10000_metadata.tab",)) as repository:
        download_ham10000(tmp_path, server=repository.url)
    assert (tmp_path / FETCHED[2]).read_bytes() == contents["HAM10000_metadata.tab"]


def test_progress_goes_from_nothing_to_the_whole(repository: Repository, tmp_path: Path) -> None:
    told: dict[str, list[int]] = {}
    sizes = {}

    def on_bytes(name: str, done: int, size: int) -> None:
        told.setdefault(name, []).append(done)
        sizes[name] = size

    download_ham10000(tmp_path, server=repository.url, on_bytes=on_bytes)
    assert sizes == {name: (tmp_path / name).stat().st_size for name in FETCHED}
    assert {name: done[-1] for name, done in told.items()} == sizes


def test_a_broken_transfer_is_tried_again(repository: Repository, tmp_path: Path) -> None:
    repository.failures[PART_1] = 1
    download_ham10000(tmp_path, server=repository.url, retries=1)
    assert files(tmp_path) == FETCHED


def test_a_transfer_that_stays_broken_leaves_nothing_half(
    repository: Repository, tmp_path: Path
) -> None:
    repository.failures[PART_1] = 9
    with pytest.raises(DownloadFailed, match=r"cannot be fetched: .* by hand from https://doi.org"):
        download_ham10000(tmp_path, server=repository.url, retries=0)
    assert files(tmp_path) == []


def test_another_content_than_announced_is_refused(repository: Repository, tmp_path: Path) -> None:
    repository.contents[PART_1] = b"something else"
    with pytest.raises(DownloadFailed, match="hash"):
        download_ham10000(tmp_path, server=repository.url, retries=0)
    assert files(tmp_path) == []


def test_a_file_without_end_is_stopped(repository: Repository, tmp_path: Path) -> None:
    repository.contents[PART_1] = bytes(40 * 1024**2)
    with pytest.raises(DownloadFailed, match="is larger than the server says"):
        download_ham10000(tmp_path, server=repository.url, retries=0)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "listing",
    [
        [],
        {"status": "ERROR", "message": "not found"},
        {"data": {"latestVersion": {"files": []}}},
        {"data": {"latestVersion": {"files": [{"dataFile": {"id": "../1", "filename": "x"}}]}}},
    ],
)
def test_a_listing_of_something_else_is_refused(
    repository: Repository, listing: object, tmp_path: Path
) -> None:
    repository.listing = listing
    with pytest.raises(DownloadFailed, match=r"by hand from https://doi.org/10.7910/DVN/DBW86T"):
        download_ham10000(tmp_path, server=repository.url)


def test_a_dataset_larger_than_the_disk_is_not_begun(
    repository: Repository, tmp_path: Path
) -> None:
    listing: dict[str, dict[str, dict[str, list[dict[str, dict[str, object]]]]]]
    listing = repository.listing  # type: ignore[assignment]
    for file in listing["data"]["latestVersion"]["files"]:
        file["dataFile"]["filesize"] = 10**15
    with pytest.raises(DownloadFailed, match="Choose an output folder on a larger disk"):
        download_ham10000(tmp_path, server=repository.url)
    assert not any("datafile" in path for path in repository.requests)


def test_without_a_network_it_says_where_to_get_the_files(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed) as failure:
        download_ham10000(tmp_path / "new", server=f"http://127.0.0.1:{free_port()}")
    assert "HAM10000_images_part_1.zip" in failure.value.message
    assert "https://doi.org/10.7910/DVN/DBW86T" in failure.value.message
    assert "\n" not in failure.value.message
    assert not (tmp_path / "new").exists()
