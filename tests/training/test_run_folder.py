"""The run's folder: resumed as the same run or refused, held by one process at a time."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from data.ham10000 import LesionImage
from models.architecture import LesionClassifier, load_classifier
from models.errors import InvalidConfiguration
from training.progress import EpochRecord
from training.run_folder import RunFolder, TrainedRun
from training.settings import Phase, TrainingSettings
from training.stored_run import RunNotStored

SETTINGS = TrainingSettings(phases=(Phase(epochs=1, image_size=32),))


def _images(count: int, folder: Path) -> tuple[LesionImage, ...]:
    return tuple(
        LesionImage(f"I{n}", f"L{n}", "nv", "histo", folder / f"I{n}.jpg", sharp=True)
        for n in range(count)
    )


@pytest.fixture
def begun(tmp_path: Path, untrained_features: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    with folder.held():
        folder.begin(SETTINGS, untrained_features, _images(3, tmp_path), _images(2, tmp_path))
    return folder


def test_a_plan_comes_back_with_absolute_paths(
    begun: RunFolder, untrained_features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = begun.plan()
    assert plan.settings == SETTINGS
    assert plan.train == _images(3, tmp_path)
    assert begun.result() is None

    monkeypatch.chdir(tmp_path)
    begun.begin(SETTINGS, untrained_features, _images(3, Path("x")), plan.validation)
    assert begun.plan().train[0].path == tmp_path / "x" / "I0.jpg"


def test_the_same_run_begins_again_with_its_first_network(
    begun: RunFolder, tmp_path: Path, untrained_features: Path
) -> None:
    first = begun.network(0.1)
    torch.manual_seed(1)
    more = SETTINGS.model_copy(update={"workers": (1, 2), "max_failures": 1})
    begun.begin(more, untrained_features, _images(3, tmp_path), _images(2, tmp_path))
    again = begun.network(0.3)
    assert begun.plan().settings == more
    assert (first.classifier[0].p, again.classifier[0].p) == (0.1, 0.3)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


@pytest.mark.parametrize("changed", ["recipe", "start", "images"])
def test_another_run_under_the_same_name_is_refused(
    begun: RunFolder, tmp_path: Path, untrained_features: Path, changed: str
) -> None:
    settings, start, train = SETTINGS, untrained_features, _images(3, tmp_path)
    if changed == "recipe":
        settings = settings.model_copy(update={"learning_rate": 0.5})
    elif changed == "start":
        begun.finish(LesionClassifier(), TrainedRun(history=(), class_counts={}, unreadable=()))
        start = begun.average
    else:
        train = (dataclasses.replace(train[0], diagnosis="mel"), *train[1:])
    with pytest.raises(InvalidConfiguration, match=f"a run with another {changed}") as refusal:
        begun.begin(settings, start, train, _images(2, tmp_path))
    assert "another --run" in refusal.value.message


def test_a_result_comes_back(begun: RunFolder) -> None:
    record = EpochRecord(1, 0.5, 2.0, 31.0, {"macro_auc": 0.9})
    result = TrainedRun(history=(record,), class_counts={"nv": 3}, unreadable=("I1",))
    torch.manual_seed(4)
    network = LesionClassifier()
    begun.finish(network, result)
    assert begun.result() == result
    stored = load_classifier(begun.average).state_dict()
    assert all(torch.equal(value, stored[name]) for name, value in network.state_dict().items())


def test_a_held_run_is_refused_to_others(begun: RunFolder) -> None:
    with (
        begun.held(),
        pytest.raises(InvalidConfiguration, match="Another process works on"),
        RunFolder(begun.path).held(),
    ):
        pass
    with begun.held():
        pass


@pytest.mark.parametrize(
    "name", ["", "..", "../run", "a/b", ".hidden", "a b", "x" * 129, "-x", "\u00e9"]
)
def test_a_name_that_is_no_folder_of_ours_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidConfiguration, match="no name of a run"):
        RunFolder.named(tmp_path, name)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with (
        pytest.raises(RunNotStored, match="choose another --run"),
        RunFolder(tmp_path / "runs" / "run").held(),
    ):
        pass


@pytest.mark.parametrize("text", ["", "{}", json.dumps({"format": 2})])
def test_a_damaged_plan_or_result_is_told(begun: RunFolder, text: str) -> None:
    (begun.path / "plan.json").write_text(text)
    (begun.path / "result.json").write_text(text)
    with pytest.raises(RunNotStored, match="cannot be read"):
        begun.plan()
    with pytest.raises(RunNotStored, match="cannot be read"):
        begun.result()
