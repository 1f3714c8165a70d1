"""Settings: the shipped recipe is valid, and every value out of range is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from configs import FOLDER
from models.configuration import read_config
from models.errors import InvalidConfiguration
from training.settings import Phase, TrainingSettings

PHASES = [{"epochs": 1, "image_size": 64}]

OUT_OF_RANGE = [
    ("seed", -1),
    ("seed", 2**63),
    ("seed", "seven"),
    ("batch_size", 1),
    ("batch_size", 2.5),
    ("learning_rate", 0),
    ("learning_rate", float("inf")),
    ("learning_rate", float("nan")),
    ("weight_decay", -0.1),
    ("warmup_fraction", -0.1),
    ("warmup_fraction", 1),
    ("label_smoothing", -0.1),
    ("label_smoothing", 1),
    ("ema_decay", -0.1),
    ("ema_decay", 1),
    ("logit_adjustment", -1),
    ("logit_adjustment", float("inf")),
    ("dropout", -0.1),
    ("dropout", 1),
    ("phases", []),
    ("phases", None),
    ("optimizer", "sgd"),
]


@pytest.mark.parametrize(("field", "value"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_refused_by_field_and_file(
    tmp_path: Path, field: str, value: object
) -> None:
    path = tmp_path / "training.yaml"
    path.write_text(yaml.safe_dump({"phases": PHASES, field: value}))
    with pytest.raises(InvalidConfiguration) as refusal:
        read_config(path, TrainingSettings)
    assert str(path) in refusal.value.message
    assert f" {field}: " in refusal.value.message


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 0), ("image_size", 31), ("image_size", 513), ("image_size", "large"), ("size", 64)],
)
def test_a_phase_out_of_range_is_refused_by_its_number(
    tmp_path: Path, field: str, value: object
) -> None:
    path = tmp_path / "training.yaml"
    path.write_text(yaml.safe_dump({"phases": [*PHASES, {**PHASES[0], field: value}]}))
    with pytest.raises(InvalidConfiguration, match=rf"phases\.1\.{field}: "):
        read_config(path, TrainingSettings)


def test_every_field_has_a_value_out_of_range_above() -> None:
    assert {field for field, _ in OUT_OF_RANGE} == {*TrainingSettings.model_fields, "optimizer"}


def test_the_shipped_recipe_is_valid_and_names_every_setting() -> None:
    path = FOLDER / "training.yaml"
    settings = read_config(path, TrainingSettings)
    assert yaml.safe_load(path.read_text()).keys() == TrainingSettings.model_fields.keys()
    assert settings.phases[-1].image_size == 224


def test_epochs_are_those_of_all_phases() -> None:
    phases = (Phase(epochs=2, image_size=64), Phase(epochs=3, image_size=96))
    assert TrainingSettings(phases=phases).epochs == 5
