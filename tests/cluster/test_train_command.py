"""`dermserve train`: help with an example, one sentence for a mistake, a package at the end."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster.cli import app, main
from models.package import ModelPackage
from training.pipeline import run_training
from training.storage import RUNS_VARIABLE

RECIPE = """\
workers: 0
batch_size: 16
phases:
  - {epochs: 2, image_size: 32}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def _run_main(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path
) -> tuple[int, str]:
    """Exit status and standard error, on one line, of `dermserve ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["dermserve", *map(str, arguments)])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # Typer replaces it
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit) as end:
        main()
    code = end.value.code
    assert isinstance(code, int)
    return code, capsys.readouterr().err


def test_help_shows_an_example_and_every_option() -> None:
    result = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "120"})
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    assert "Example: dermserve train --data ~/HAM10000 --output var/model-2 --version 2" in text
    options = ("--data", "--output", "--weights", "--from", "--version", "--config", "--workers")
    for option in (*options, "--run"):
        assert option in text


def test_a_missing_folder_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "models" / "new"
    code, said = _run_main(
        monkeypatch, capsys, "train", "--data", tmp_path / "none", "--output", output
    )
    assert code == 1
    assert said.startswith(f"Error: {tmp_path / 'none' / 'HAM10000_metadata.csv'} does not exist.")
    assert "Point --data at a folder that holds HAM10000" in said
    assert len(said.splitlines()) == 1
    assert not output.parent.exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [("batch_size: 0", "batch_size: Input should be greater"), ("phases: [", "no valid YAML")],
)
def test_a_broken_recipe_is_told_by_file_and_field(
    tmp_path: Path,
    recipe: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    says: str,
) -> None:
    recipe.write_text(text)
    code, said = _run_main(
        monkeypatch, capsys, "train", "--data", tmp_path, "--config", recipe, "--output", tmp_path
    )
    assert code == 1
    assert f"Error: {recipe}" in said
    assert says in said
    assert "Traceback" not in said


def test_a_missing_option_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = _run_main(monkeypatch, capsys, "train")
    assert code == 2
    assert "--data" in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--weights", "a", "--from", "b"], "Use either --weights or --from"),
        (["--workers", "-1"], "--workers breaks a rule. workers: "),
        (["--workers", "9"], "9 workers need a batch_size of at least 18"),
        (["--workers", "0", "--run", "../x"], "'../x' is no name of a run"),
        (["--from", "nowhere"], "nowhere"),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(
    synthetic_dataset: Path,
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    says: str,
) -> None:
    _keep_var(monkeypatch, tmp_path)
    monkeypatch.setattr("training.pipeline.Tracking", _NoTracking)
    code, said = _run_main(
        monkeypatch,
        capsys,
        *("train", "--data", synthetic_dataset, "--config", recipe),
        *("--output", tmp_path / "new", *options),
    )
    assert code == 1
    assert says in said
    assert len(said.splitlines()) == 1


class _NoTracking:
    """In place of MLflow, whose database takes seconds to make."""

    def __init__(self, *_: object) -> None:
        pass

    def on_epoch(self, record: object) -> None:
        pass

    def finish(self, metrics: object) -> None:
        pass


def _keep_var(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Runs and records go to the test's folder."""
    monkeypatch.setenv(RUNS_VARIABLE, str(folder / "var" / "runs"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'var' / 'mlflow.db'}")
    monkeypatch.delenv("DERMSERVE_REGISTRY", raising=False)


@pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")  # MLflow
def test_a_run_writes_a_package_and_says_how_it_went(
    synthetic_dataset: Path,
    untrained_features: Path,
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _keep_var(monkeypatch, tmp_path)
    quick = partial(run_training, int8=False, bootstrap=20)
    monkeypatch.setattr("training.pipeline.run_training", quick)
    # Rich would read the brackets as a style and leave them out.
    output = tmp_path / "models [new]" / "2"
    result = CliRunner().invoke(
        app,
        [
            "train",
            *("--data", str(synthetic_dataset)),
            *("--weights", str(untrained_features)),
            *("--config", str(recipe)),
            *("--output", str(output)),
            *("--version", "2", "--run", "first"),
        ],
    )
    assert result.exit_code == 0, result.output
    manifest = ModelPackage.load(output).manifest
    assert manifest.version == "2"
    assert manifest.recipe["batch_size"] == 16
    metrics: Any = manifest.metrics["test"]
    assert (
        f"Model 2 is in {output}: test balanced accuracy {metrics['balanced_accuracy']:.3f}, "
        f"macro AUC {metrics['macro_auc']:.3f}."
    ) in result.output
    assert "epoch  1: validation balanced accuracy" in result.output
    assert "epoch  2: validation balanced accuracy" in result.output
    for line in ("45 train images decoded", "step 1/4, epoch 1/2, loss ", "step 4/4, "):
        assert line in result.output
    assert (tmp_path / "var" / "runs" / "first" / "average.safetensors").is_file()
    assert "is not recorded" not in result.output
