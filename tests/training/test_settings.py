"""Settings: the shipped recipe is valid, and every value out of range is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from configs import FOLDER
from models.configuration import read_config
from models.errors import InvalidConfiguration
from training.settings import (
    DriftSettings,
    FullSettings,
    HeadSettings,
    Phase,
    RetrainSettings,
    TrainingSettings,
)

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
    ("notes", None),
    ("workers", -1),
    ("workers", 1.5),
    ("workers", True),
    ("workers", [0, 2]),
    ("workers", [3, 2]),
    ("workers", [1, 2, 3]),
    ("workers", None),
    ("resources_per_worker", "one CPU"),
    ("use_gpu", "perhaps"),
    ("threads_per_worker", 0),
    ("nice", -1),
    ("nice", 20),
    ("checkpoint_steps", 0),
    ("max_failures", -1),
    ("start_timeout_s", 0),
    ("start_timeout_s", float("inf")),
    ("retrain", None),
    ("drift", None),
    ("optimizer", "sgd"),
]

RETRAIN_OUT_OF_RANGE = [
    ("threshold", 0),
    ("threshold", 2.5),
    ("per_class_minimum", {"melanoma": 1}),
    ("per_class_minimum", {"mel": 0}),
    ("quiet_s", -1),
    ("quiet_s", float("nan")),
    ("mode", "everything"),
    ("base_images", "ham10000"),
    ("workers", 0),
    ("workers", [1, 2]),
    ("resources_per_worker", {"CPU": -1}),
    ("max_attempts", 0),
    ("poll_s", 0),
    ("lease_s", 1),
    ("lease_s", float("inf")),
    ("head", {"iterations": 0}),
    ("head", {"anchor": 0}),
    ("head", {"upload_weight": 0}),
    ("full", {"phases": []}),
    ("full", {"learning_rate": 0}),
    ("full", {"ema_decay": 1}),
    ("full", {"upload_copies": 0}),
    ("optimizer", "sgd"),
]


DRIFT_OUT_OF_RANGE = [
    ("window", 1),
    ("window", 2001),
    ("minimum", 1),
    ("minimum", 1001),
    ("span_s", 0),
    ("max_age_s", 0),
    ("max_age_s", float("inf")),
    ("period_s", 0),
    ("threshold", 0.01),
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


@pytest.mark.parametrize(("field", "value"), RETRAIN_OUT_OF_RANGE)
def test_a_value_of_retraining_out_of_range_is_refused_by_field_and_file(
    tmp_path: Path, field: str, value: object
) -> None:
    path = tmp_path / "training.yaml"
    path.write_text(yaml.safe_dump({"phases": PHASES, "retrain": {field: value}}))
    with pytest.raises(InvalidConfiguration, match="retrain") as refusal:
        read_config(path, TrainingSettings)
    assert str(path) in refusal.value.message
    assert field in refusal.value.message


@pytest.mark.parametrize(("field", "value"), DRIFT_OUT_OF_RANGE)
def test_a_value_of_the_drift_watch_out_of_range_is_refused_by_field_and_file(
    tmp_path: Path, field: str, value: object
) -> None:
    path = tmp_path / "training.yaml"
    path.write_text(yaml.safe_dump({"phases": PHASES, "drift": {field: value}}))
    with pytest.raises(InvalidConfiguration, match="drift") as refusal:
        read_config(path, TrainingSettings)
    assert str(path) in refusal.value.message
    assert field in refusal.value.message


def test_every_field_has_a_value_out_of_range_above() -> None:
    assert {field for field, _ in OUT_OF_RANGE} == {*TrainingSettings.model_fields, "optimizer"}
    fields = {field for field, _ in RETRAIN_OUT_OF_RANGE}
    assert fields == {*RetrainSettings.model_fields, "optimizer"}
    fields = {field for field, _ in DRIFT_OUT_OF_RANGE}
    assert fields == {*DriftSettings.model_fields, "threshold"}


def test_the_shipped_recipe_is_valid_and_names_every_setting() -> None:
    path = FOLDER / "training.yaml"
    settings = read_config(path, TrainingSettings)
    assert yaml.safe_load(path.read_text()).keys() == TrainingSettings.model_fields.keys()
    assert settings.phases[-1].image_size == 224
    shipped = yaml.safe_load(path.read_text())["retrain"]
    assert shipped.keys() == RetrainSettings.model_fields.keys()
    assert shipped["head"].keys() == HeadSettings.model_fields.keys()
    assert shipped["full"].keys() == FullSettings.model_fields.keys()
    assert settings.retrain == RetrainSettings()  # who has no file gets the same
    assert settings.drift == DriftSettings()


def test_epochs_are_those_of_all_phases() -> None:
    phases = (Phase(epochs=2, image_size=64), Phase(epochs=3, image_size=96))
    assert TrainingSettings(phases=phases).epochs == 5


def test_what_a_worker_reserves_is_not_negative(tmp_path: Path) -> None:
    path = tmp_path / "training.yaml"
    path.write_text(yaml.safe_dump({"phases": PHASES, "resources_per_worker": {"CPU": -1}}))
    with pytest.raises(InvalidConfiguration, match=r"resources_per_worker\.CPU: "):
        read_config(path, TrainingSettings)


@pytest.mark.parametrize("workers", [5, [1, 5]])
def test_more_workers_than_a_batch_can_feed_are_refused(
    tmp_path: Path, workers: int | list[int]
) -> None:
    path = tmp_path / "training.yaml"
    path.write_text(yaml.safe_dump({"phases": PHASES, "workers": workers, "batch_size": 9}))
    with pytest.raises(InvalidConfiguration, match="5 workers need a batch_size of at least 10"):
        read_config(path, TrainingSettings)


@pytest.mark.parametrize(
    ("workers", "least", "most"), [(0, 1, 1), (3, 3, 3), ([2, 4], 2, 4), ((1, 1), 1, 1)]
)
def test_workers_are_a_number_or_a_pair_and_survive_json(
    workers: object, least: int, most: int
) -> None:
    settings = TrainingSettings.model_validate({"phases": PHASES, "workers": workers})
    assert (settings.least_workers, settings.most_workers) == (least, most)
    assert TrainingSettings.model_validate_json(settings.model_dump_json()) == settings


def test_the_recipe_does_not_hold_who_trains() -> None:
    one = TrainingSettings.model_validate({"phases": PHASES})
    other = one.model_copy(update={"workers": 4, "nice": 0, "max_failures": 9})
    assert one.recipe() == other.recipe()
    assert one.recipe() != one.model_copy(update={"seed": 8}).recipe()
    assert {"workers", "nice"}.isdisjoint(one.recipe())


def test_the_whole_network_needs_base_images(tmp_path: Path) -> None:
    with_images = RetrainSettings(base_images=tmp_path)
    without = RetrainSettings()
    assert [with_images.mode_of(wish) for wish in (None, "head", "full")] == [
        "full",
        "head",
        "full",
    ]
    assert [without.mode_of(wish) for wish in (None, "head")] == ["head", "head"]
    assert RetrainSettings(base_images=tmp_path, mode="head").mode_of() == "head"
    with pytest.raises(InvalidConfiguration, match=r"retrain\.base_images"):
        without.mode_of("full")
    with pytest.raises(ValidationError, match="needs base_images"):
        RetrainSettings(mode="full")


def test_a_full_run_follows_the_recipe_but_for_what_retraining_changes(tmp_path: Path) -> None:
    phases = (Phase(epochs=2, image_size=64),)
    full = FullSettings(phases=phases, learning_rate=1e-5, ema_decay=0.5)
    settings = read_config(FOLDER / "training.yaml", TrainingSettings).model_copy(
        update={"retrain": RetrainSettings(full=full, workers=2, resources_per_worker={"CPU": 0.5})}
    )
    changed = settings.retraining()
    expected = {"phases": phases, "learning_rate": 1e-5, "ema_decay": 0.5, "notes": ()}
    expected |= {"workers": 2, "resources_per_worker": {"CPU": 0.5}, "retrain": RetrainSettings()}
    assert changed == settings.model_copy(update=expected)


def test_more_retraining_workers_than_a_batch_can_feed_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "training.yaml"
    retrain = {"workers": 5}
    path.write_text(yaml.safe_dump({"phases": PHASES, "batch_size": 9, "retrain": retrain}))
    with pytest.raises(InvalidConfiguration, match="5 workers need a batch_size of at least 10"):
        read_config(path, TrainingSettings)
