"""`dermserve evaluate`: what is served is judged, and a mistake is one sentence."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cluster.cli import app, main
from cluster.served_judgement import calibration_steps, predict
from data.ham10000 import load_ham10000
from data.splits import frozen_split
from models.errors import InvalidDataset
from models.package import CHAMPION_VARIABLE, ModelPackage
from models.preprocessing import decode_image
from models.tracking_uri import REGISTRY_VARIABLE
from serve_app.engines import create_engine


def test_predictions_are_the_engines_image_by_image(
    tiny_package: ModelPackage, synthetic_dataset: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(synthetic_dataset, tmp_path / "data")
    images = load_ham10000(folder).images[:11]
    images[3].path.write_bytes(b"no image")
    images[7].path.unlink()
    engine = create_engine(tiny_package, threads=2)
    done: list[int] = []
    judged, unreadable = predict(engine, tiny_package.manifest.decision, images, done.append)

    assert unreadable == (images[3].image_id, images[7].image_id)
    assert sum(done) == len(images)
    assert len(judged) == 9
    for image, logits in zip(judged.images, judged.logits, strict=True):
        alone = engine.forward([decode_image(image.path.read_bytes())]).logits[0]
        assert logits == pytest.approx(alone, abs=0.1)
    assert len(np.unique(judged.logits, axis=0)) > 1

    steps = calibration_steps(judged, tiny_package.manifest.decision)
    served = list(steps.values())[-1]
    assert served.brier_score == pytest.approx(
        float(((judged.probabilities - np.eye(7)[judged.labels]) ** 2).sum(axis=1).mean())
    )


def test_nothing_readable_is_one_sentence(
    tiny_package: ModelPackage, synthetic_dataset: Path, tmp_path: Path
) -> None:
    images = load_ham10000(shutil.copytree(synthetic_dataset, tmp_path / "data")).images[:2]
    for image in images:
        image.path.write_bytes(b"")
    with pytest.raises(InvalidDataset, match="None of the 2 images"):
        predict(create_engine(tiny_package), tiny_package.manifest.decision, images)


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_run_writes_a_report(
    tiny_package: ModelPackage, synthetic_dataset: Path, tmp_path: Path, split: str
) -> None:
    # Rich would read the brackets as a style and leave them out.
    output = tmp_path / "report [new]"
    result = CliRunner().invoke(
        app,
        [
            *("evaluate", str(tiny_package.folder)),
            *("--data", str(synthetic_dataset)),
            *("--split", split),
            *("--output", str(output)),
            *("--resamples", "20"),
        ],
    )
    assert result.exit_code == 0, result.output
    page = output / "report.html"
    data: Any = json.loads((output / "report.json").read_text())
    assert f"The report is {page}." in result.output
    assert f"of the {split} split" in result.output
    dataset = load_ham10000(synthetic_dataset)
    assert data["evaluation"]["images"] == len(getattr(frozen_split(dataset.images), split))
    assert data["model_version"] == "tiny"
    assert data["dataset_hash"] == dataset.hash
    assert data["evaluation"]["malignant_threshold"] == pytest.approx(
        tiny_package.manifest.decision.malignant.threshold
    )
    assert len(data["operating_points"]) == (6 if split == "test" else 0)
    assert len(data["calibration_steps"]) == 3
    assert ("flatter the model" in page.read_text()) == (split == "validation")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--data", "nowhere"), "nowhere"),
        (("./no-package", "--data", "nowhere"), "no model package in no-package"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: tuple[str, ...],
    says: str,
    serving_tiny: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (CHAMPION_VARIABLE, REGISTRY_VARIABLE):
        monkeypatch.setenv(name, serving_tiny[name])
    monkeypatch.setattr(sys, "argv", ["dermserve", "evaluate", *arguments])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # Typer replaces it
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr().err
    assert end.value.code == 1
    assert said.startswith("Error: ")
    assert says in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "var").exists()


def test_help_shows_an_example() -> None:
    result = CliRunner().invoke(app, ["evaluate", "--help"], env={"COLUMNS": "120"})
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    assert "Example: dermserve evaluate --data ~/HAM10000 --output var/report" in text
