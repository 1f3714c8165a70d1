"""`dermserve package`: weights in, a judged package out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.cli import app
from models.errors import DermServeError, InvalidConfiguration, InvalidPackage
from models.package import WEIGHTS_FILE, ModelPackage


def _package(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["package", *map(str, arguments)])
    if isinstance(result.exception, DermServeError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_weights_are_averaged_judged_and_packaged(
    champion: ModelPackage, tiny_package: ModelPackage, synthetic_dataset: Path, tmp_path: Path
) -> None:
    history = tmp_path / "history.jsonl"
    history.write_text(
        "".join(json.dumps({"epoch": epoch, "loss": 1 / epoch}) + "\n" for epoch in (1, 2, 3))
    )
    output = _package(
        *(champion.file(WEIGHTS_FILE), tiny_package.file(WEIGHTS_FILE)),
        *("--data", synthetic_dataset, "--output", tmp_path / "model", "--version", "soup"),
        *("--history", history, "--no-int8"),
    )
    package = ModelPackage.load(tmp_path / "model")
    assert package.manifest.version == "soup"
    assert "Model soup is in" in output
    report = json.loads(package.file("report.json").read_text())
    assert [epoch["epoch"] for epoch in report["history"]] == [1, 2, 3]
    assert not {"workers", "notes"} <= package.manifest.recipe.keys()
    assert package.manifest.notes  # those of the recipe


@pytest.mark.parametrize("content", ["{", "7\n", '["epoch"]\n'])
def test_a_broken_history_is_refused_before_any_work(tmp_path: Path, content: str) -> None:
    history = tmp_path / "history.jsonl"
    history.write_text(content)
    with pytest.raises(InvalidConfiguration, match="cannot be read as JSON lines"):
        _package(
            *("any.safetensors", "--data", "nowhere", "--output", tmp_path / "model"),
            *("--version", "2", "--history", history),
        )
    assert not (tmp_path / "model").exists()


def test_missing_weights_leave_the_old_package(
    tiny_package: ModelPackage, synthetic_dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidPackage, match="absent"):
        _package(
            *(tmp_path / "absent.safetensors", "--data", synthetic_dataset),
            *("--output", tmp_path / "model", "--version", "2"),
        )
    assert not (tmp_path / "model").exists()
