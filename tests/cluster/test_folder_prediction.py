"""Folder prediction: a worker's rows, and what a job means wherever it runs; without Ray."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from cluster.exit_code import CommandFailed
from cluster.folder_prediction import (
    SCHEMA,
    FileFormat,
    FolderClassifier,
    FolderJob,
    list_images,
    plan_job,
    summarise,
)
from cluster.offline_classifier import OfflineClassifier
from cluster.served_files import read
from models.package import BUNDLED_CHAMPION
from models.registry import Registry
from models.tracking_uri import REGISTRY_VARIABLE
from tests.cluster.conftest import HOSTILE


def _job(folder: str, format_: FileFormat = "parquet") -> FolderJob:
    return FolderJob(folder, "/nowhere", format_, str(BUNDLED_CHAMPION), "auto", 2, 1)


def _rows(job: FolderJob, paths: list[str]) -> list[dict[str, object]]:
    batch = pa.table({"path": pa.array([os.fsencode(path) for path in paths], pa.binary())})
    table = FolderClassifier(job)(batch)
    assert table.schema.equals(SCHEMA)
    rows: list[dict[str, object]] = table.to_pylist()
    return rows


def test_a_worker_s_rows_are_those_of_one_process(pictures: Path) -> None:
    (pictures / HOSTILE).write_bytes((pictures / "a.jpg").read_bytes())
    paths = list_images(str(pictures))
    assert paths == sorted(["a.jpg", "b.JPEG", "below/c.jpg", "broken.png", "empty.jpg", HOSTILE])
    classifier = OfflineClassifier(str(BUNDLED_CHAMPION))
    wanted = classifier.classify([(path, read(str(pictures / path))) for path in paths])
    for row, other in zip(_rows(_job(str(pictures)), paths), wanted, strict=True):
        for name, value in other.cells().items():
            if name == "file":
                assert str(row[name]).isprintable()
            elif isinstance(value, float):
                assert row[name] == pytest.approx(value, abs=0.02)
            else:
                assert row[name] == value


def test_what_cannot_be_read_is_a_row(pictures: Path) -> None:
    os.mkfifo(pictures / "pipe.jpg")
    (pictures / "loop.jpg").symlink_to("loop.jpg")
    name = os.fsdecode(b"\xff.jpg")
    rows = _rows(_job(str(pictures)), ["pipe.jpg", "loop.jpg", "none.jpg", name, "a.jpg"])
    assert [row["error_code"] for row in rows] == ["unreadable_file"] * 4 + [None]
    assert rows[3]["file"] == "\\xff.jpg"
    assert rows[4]["p_nv"] is not None


def test_csv_is_safe_in_a_spreadsheet(pictures: Path) -> None:
    (pictures / "=cmd.jpg").write_bytes(b"no image")
    for format_, shown in (("csv", "'=cmd.jpg"), ("parquet", "=cmd.jpg"), ("jsonl", "=cmd.jpg")):
        (row,) = _rows(_job(str(pictures), format_), ["=cmd.jpg"])  # type: ignore[arg-type]
        assert (row["file"], row["error_code"]) == (shown, "unsupported_image")


def test_a_store_that_is_no_folder_of_this_machine(pictures: Path) -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/scans/in/a.jpg", (pictures / "a.jpg").read_bytes())
    store.pipe("/scans/notes.txt", b"none")
    assert list_images("memory://scans") == ["in/a.jpg"]
    rows = _rows(_job("memory://scans"), ["in/a.jpg", "gone.jpg"])
    assert rows[0]["predicted_class"]
    assert rows[1]["error_code"] == "unreadable_file"


def test_the_model_is_the_same_for_the_whole_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REGISTRY_VARIABLE, f"sqlite:///{tmp_path}/mlflow.db")
    champion = Registry().champion().version
    monkeypatch.chdir(tmp_path)
    job = plan_job("in", "out", "csv", "champion", "auto", 1, 2)
    assert job.package == champion
    assert (job.folder, job.output) == (str(tmp_path / "in"), str(tmp_path / "out"))
    assert plan_job("s3://a/b", "o", "csv", "./c", "auto", 1, 1).package == str(tmp_path / "c")
    assert plan_job("s3://a/b", "o", "csv", "2", "auto", 1, 1).folder == "s3://a/b"


@pytest.mark.parametrize("format_", ["parquet", "csv", "jsonl"])
def test_rows_are_counted_where_they_were_written(
    pictures: Path, tmp_path: Path, format_: FileFormat
) -> None:
    """Written by the functions that Ray Data writes a block with."""
    job = _job(str(pictures), format_)
    table = pa.Table.from_pylist(_rows(job, list_images(str(pictures))), SCHEMA)
    folder = tmp_path / "rows"
    folder.mkdir()
    for number in range(2):
        path = str(folder / f"{number}.{format_}")
        if format_ == "parquet":
            pyarrow.parquet.write_table(table, path)
        elif format_ == "csv":
            pyarrow.csv.write_csv(table, path)
        else:
            table.to_pandas().to_json(path, orient="records", lines=True)
    files, place = fsspec.url_to_fs(str(folder))
    summary = summarise(job, files, place, 1.0)
    assert (summary.files, summary.failed, summary.model_version) == (10, 4, "2")


def test_an_output_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    for place in (tmp_path, tmp_path / "x"):
        with pytest.raises(CommandFailed, match="not empty"):
            plan_job("in", str(place), "csv", "1", "auto", 1, 1)
