"""`dermserve predict-dir`: the numbers of `predict --offline`, from workers of a Ray cluster."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cluster.folder_prediction import SCHEMA, SUMMARY_FILE
from cluster.predicted_file import COLUMNS
from models.package import BUNDLED_CHAMPION
from tests.cluster.command_line import Shell
from tests.cluster.conftest import HOSTILE

pytestmark = [
    # Ray Data uses what Ray Data no longer wants to be used.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

PACKAGE = ("--package", str(BUNDLED_CHAMPION))


def _offline(shell: Shell, folder: Path) -> dict[str, dict[str, str]]:
    ended = shell("predict", folder, "--offline", "--format", "csv", *PACKAGE)
    rows = csv.DictReader(io.StringIO(ended.out))
    return {row["file"].removeprefix(f"{folder}/"): row for row in rows}


def _assert_same(found: dict[str, dict[str, object]], wanted: dict[str, dict[str, str]]) -> None:
    assert found.keys() == wanted.keys()
    for name, row in found.items():
        for column in COLUMNS[1:]:
            value = row.get(column)
            text = "" if value is None else value
            if isinstance(value, float):
                assert value == pytest.approx(float(wanted[name][column]), abs=0.02)
            else:
                assert str(text) == wanted[name][column], (name, column)


@pytest.mark.server
@pytest.mark.usefixtures("server")
def test_its_numbers_are_those_of_one_process(shell: Shell, pictures: Path, tmp_path: Path) -> None:
    """On the cluster of the server, beside it."""
    (pictures / HOSTILE).write_bytes((pictures / "a.jpg").read_bytes())
    (pictures / "large.jpg").touch()
    os.truncate(pictures / "large.jpg", 65 * 1024 * 1024)
    (pictures / "gone.jpg").symlink_to("nowhere")
    output = tmp_path / "rows"
    ended = shell("predict-dir", pictures, "--output", output, *PACKAGE)
    assert ended.code == 1, ended.err
    assert "8 files by model 2" in ended.err
    table = pq.read_table(output)  # the summary beside it does not disturb
    assert table.schema.equals(SCHEMA)
    found = {row["file"]: row for row in table.to_pylist()}
    _assert_same(found, _offline(shell, pictures))
    assert found["large.jpg"]["error_code"] == found["gone.jpg"]["error_code"] == "unreadable_file"
    summary = json.loads((output / SUMMARY_FILE).read_text())
    assert (summary["files"], summary["failed"]) == (8, 4)
    assert summary["model_version"] == "2"
    assert "not a diagnosis" in summary["disclaimer"]


@pytest.mark.server
@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("format_", ["csv", "jsonl"])
def test_its_other_formats(shell: Shell, pictures: Path, tmp_path: Path, format_: str) -> None:
    (pictures / "=cmd.jpg").write_bytes(b"no image")
    output = tmp_path / "rows"
    ended = shell(
        *("predict-dir", pictures, "--output", output, "--format", format_, "--workers", 1),
        *PACKAGE,
    )
    assert ended.code == 1, ended.err
    found: dict[str, dict[str, object]] = {}
    for path in output.glob("[!_]*"):
        if format_ == "jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
        else:
            text = io.StringIO(path.read_text())
            rows = [
                {**row, **{c: float(row[c]) for c in COLUMNS if c[:2] == "p_" and row[c]}}
                for row in csv.DictReader(text)
            ]
            for row in rows:
                if row["calls_for_action"]:
                    row["calls_for_action"] = row["calls_for_action"].capitalize()
                for column in ("confidence", "malignant_score"):
                    row[column] = float(row[column]) if row[column] else None
        found |= {str(row["file"]).removeprefix("'"): row for row in rows}
        marked = [str(row["file"]) for row in rows if "=cmd" in str(row["file"])]
        assert marked in ([], ["'=cmd.jpg" if format_ == "csv" else "=cmd.jpg"])
    wanted = _offline(shell, pictures)
    _assert_same(found, wanted)
    assert json.loads((output / SUMMARY_FILE).read_text())["failed"] == 3


def test_what_makes_no_sense_is_told_before_ray_starts(shell: Shell, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    ended = shell("predict-dir", empty, "--output", tmp_path / "rows")
    assert (ended.code, "no images" in ended.err) == (2, True)
    ended = shell("predict-dir", tmp_path / "none", "--output", tmp_path / "rows")
    assert (ended.code, "is no folder" in ended.err) == (2, True)
    (empty / "x.jpg").write_bytes(b"")
    ended = shell("predict-dir", empty, "--output", empty, *PACKAGE)
    assert (ended.code, "not empty" in ended.err) == (2, True)
    ended = shell("predict-dir", empty, "--output", "nowhere://x", *PACKAGE)
    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert not (tmp_path / "rows").exists()
