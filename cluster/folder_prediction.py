"""Folder prediction: all pictures of a folder, classified by the workers of a Ray cluster.

Paths travel through Ray Data, and pictures do not: each worker reads its own, so that one that
cannot be read becomes a row with an error. `ray.data.read_binary_files` would end the whole job
there, and bring every picture through the object store.
"""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import fsspec
import pyarrow as pa
import pyarrow.dataset as pads
from fsspec.implementations.local import LocalFileSystem
from pyarrow.fs import FSSpecHandler, PyFileSystem

from cluster.exit_code import CommandFailed, usage_error
from cluster.image_paths import MAX_FILE_BYTES, SUFFIXES, UnreadableFile, read_image_file
from cluster.offline_classifier import OfflineClassifier, Picture
from cluster.predicted_file import COLUMNS, PredictedFile
from cluster.printable import printable
from cluster.record_output import csv_cell
from models.package import ModelPackage
from models.registered_version import CHAMPION, is_version_name
from models.registry_process import resolve
from models.tracking_uri import REGISTRY_VARIABLE, tracking_uri

FileFormat = Literal["parquet", "csv", "jsonl"]

SUMMARY_FILE = "_summary.json"
"""Written last; readers of datasets pass over names with an underscore."""

BATCH = 64
"""Files that a worker is given at a time."""

_PARTITION_FILES = 4096
_FLOATS = {"confidence", "malignant_score"}
SCHEMA = pa.schema(
    [
        pa.field(
            name,
            pa.float64()
            if name in _FLOATS or name.startswith("p_")
            else pa.bool_()
            if name == "calls_for_action"
            else pa.string(),
        )
        for name in COLUMNS
    ]
)
"""Of the rows; the columns of `dermserve predict --format csv`."""


@dataclass(frozen=True)
class FolderJob:
    """What is to be done; it travels to the workers."""

    folder: str
    """Absolute, or a place that fsspec knows, as s3://bucket/scans."""
    output: str
    format: FileFormat
    package: str
    """A version or a folder, so that all workers have the same model for the whole job."""
    engine: str
    threads: int
    """Of one worker, each of which keeps a core busy."""
    workers: int
    """Most of them."""


@dataclass(frozen=True)
class FolderSummary:
    """What came of it."""

    folder: str
    files: int
    failed: int
    model_version: str
    dataset_hash: str
    engine: str
    seconds: float
    disclaimer: str


class FolderClassifier:
    """One worker: loads the model once and classifies batch after batch."""

    def __init__(self, job: FolderJob) -> None:
        self._job = job
        self._classifier = OfflineClassifier(job.package, job.engine, job.threads)
        self._files, self._root = fsspec.url_to_fs(job.folder)
        self._pool = ThreadPoolExecutor(self._classifier.threads)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """A row for each path of a batch."""
        paths = [os.fsdecode(path) for path in batch.column("path").to_pylist()]
        piece = self._classifier.piece
        pieces = [paths[start : start + piece] for start in range(0, len(paths), piece)]
        results = [each for found in self._pool.map(self._classify, pieces) for each in found]
        return pa.Table.from_pylist([self._row(each) for each in results], SCHEMA)

    def _classify(self, paths: list[str]) -> list[PredictedFile]:
        return self._classifier.classify([self._read(path) for path in paths])

    def _read(self, path: str) -> Picture:
        try:
            full = f"{self._root}/{path}"
            if isinstance(self._files, LocalFileSystem):
                return path, read_image_file(full)
            if self._files.info(full)["size"] > MAX_FILE_BYTES:
                raise UnreadableFile(f"The file has more than {MAX_FILE_BYTES / 1e6:.0f} MB.")
            return path, self._files.cat_file(full)
        except UnreadableFile as error:
            return path, error
        except Exception as error:  # a store's library raises what it likes
            return path, UnreadableFile(f"The file cannot be read: {error}.")

    def _row(self, result: PredictedFile) -> dict[str, object]:
        cells = result.cells()
        if self._job.format == "csv":
            return {name: csv_cell(value) for name, value in cells.items() if value is not None}
        return {
            name: printable(value) if isinstance(value, str) else value
            for name, value in cells.items()
        }


def plan_job(
    folder: str,
    output: str,
    format_: FileFormat,
    package: str,
    engine: str,
    threads: int,
    workers: int,
) -> FolderJob:
    """Turn what was typed into a job that means the same on every machine.

    Raises:
        CommandFailed: if the output is there already.
        NotFound, InvalidPackage, ModelUnavailable: if the model cannot be had.
    """
    job = FolderJob(
        _absolute(folder),
        _absolute(output),
        format_,
        _fixed(package),
        engine,
        threads,
        workers,
    )
    files, place = _reach(job.output)
    if files.exists(place) and (not files.isdir(place) or files.ls(place)):
        raise usage_error(f"{output} is there already and not empty. Name a new folder.")
    return job


def list_images(folder: str) -> list[str]:
    """Paths of the images in a folder and below, relative to it and sorted.

    Raises:
        CommandFailed: if there is no such folder, or no image in it.
    """
    files, root = _reach(_absolute(folder))
    if not files.isdir(root):
        raise usage_error(f"{folder} is no folder.")
    found = [
        relative
        for path in files.find(root)
        if (relative := path[len(root) :].lstrip("/")).lower().endswith(SUFFIXES)
        and not any(part.startswith(".") for part in relative.split("/"))
    ]
    if not found:
        raise usage_error(f"There are no images in {folder}.")
    return sorted(found)


def predict_folder(job: FolderJob, paths: list[str], started: float) -> FolderSummary:
    """Classify, write the rows, and say what came of it; Ray has to be connected.

    Args:
        job: what is to be done.
        paths: from `list_images`.
        started: `time.monotonic()` of the beginning.

    Raises:
        CommandFailed: if the job ends early; its rows so far have no summary beside them.
    """
    import ray
    from ray.data import ActorPoolStrategy

    table = pa.table({"path": pa.array([os.fsencode(path) for path in paths], pa.binary())})
    blocks = max(min(len(paths), job.workers), -(-len(paths) // _PARTITION_FILES))
    rows = ray.data.from_arrow(table, override_num_blocks=blocks).map_batches(
        FolderClassifier,
        fn_constructor_args=(job,),
        batch_size=BATCH,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(min_size=1, max_size=job.workers),
        num_cpus=job.threads,
        runtime_env={"env_vars": {REGISTRY_VARIABLE: tracking_uri()}},
    )
    files, place = fsspec.url_to_fs(job.output)
    write = {"parquet": rows.write_parquet, "csv": rows.write_csv, "jsonl": rows.write_json}
    try:
        write[job.format](
            place,
            filesystem=PyFileSystem(FSSpecHandler(files)),
            # Workers may hold every CPU; to write a few rows takes none.
            ray_remote_args={"num_cpus": 0},
        )
    except Exception as error:  # Ray's, or the store's
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise CommandFailed(
            f"The job ended early: {reason} What is in {job.output} is not all of it; remove it "
            "and begin anew."
        ) from error
    summary = summarise(job, files, place, time.monotonic() - started)
    with files.open(f"{place}/{SUMMARY_FILE}", "w") as file:
        file.write(json.dumps(asdict(summary), indent=2) + "\n")
    return summary


def summarise(job: FolderJob, files: Any, place: str, seconds: float) -> FolderSummary:
    """Count the rows that were written.

    Args:
        job: that wrote them.
        files: filesystem of the output, as fsspec has it.
        place: of the output in it.
        seconds: that the job took.
    """
    from serve_app.schemas import RESEARCH_USE

    written = pads.dataset(
        place,
        format={"jsonl": "json"}.get(job.format, job.format),
        filesystem=files,
        schema=SCHEMA,
    )
    predicted = pads.field("predicted_class")
    good = written.count_rows(filter=predicted.is_valid() & (predicted != ""))
    total = written.count_rows()
    manifest = ModelPackage.load(resolve(job.package)).manifest
    return FolderSummary(
        folder=printable(job.folder),
        files=total,
        failed=total - good,
        model_version=manifest.version,
        dataset_hash=manifest.dataset_hash,
        engine=job.engine,
        seconds=round(seconds, 3),
        disclaimer=RESEARCH_USE,
    )


def _reach(place: str) -> tuple[Any, str]:
    try:
        found: tuple[Any, str] = fsspec.url_to_fs(place)
    except (ImportError, ValueError) as error:
        raise usage_error(f"{place} cannot be reached: {error}.") from error
    return found


def _absolute(place: str) -> str:
    return place if "://" in place else os.path.abspath(place)


def _fixed(package: str) -> str:
    """A name that stands for the same model until the job is over, wherever the alias moves."""
    if package == CHAMPION:
        return ModelPackage.load(resolve(CHAMPION)).manifest.version
    return package if is_version_name(package) else str(Path(package).absolute())
