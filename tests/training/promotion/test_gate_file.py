"""The gate file: the shipped one is valid, and what nobody has decided is refused by name."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.errors import InvalidConfiguration
from training.promotion import gate_file
from training.promotion.gate_file import PROMOTION_FILE, Gate, GateFile

SHIPPED: dict[str, Any] = yaml.safe_load(PROMOTION_FILE.read_text())

LEAVES = [
    *((name,) for name, value in SHIPPED.items() if not isinstance(value, dict)),
    *((n, field) for n, value in SHIPPED.items() if isinstance(value, dict) for field in value),
]

OUT_OF_RANGE = [
    ("minimum_new_images", -1),
    ("minimum_new_images", 1.5),
    ("balanced_accuracy.min_difference", 0.01),
    ("balanced_accuracy.min_difference", -1.01),
    ("balanced_accuracy.min_difference", float("nan")),
    ("balanced_accuracy.min", 1.01),
    ("melanoma_sensitivity.specificity", 0),
    ("melanoma_sensitivity.specificity", 1),
    ("melanoma_sensitivity.min_difference", 0.01),
    ("calibration_error.max", -0.01),
    ("calibration_error.max_increase", float("inf")),
    ("subgroups.min_difference", 0.1),
    ("subgroups.minimum_images", 0),
    ("subgroups.minimum_images_of_class", 0),
    ("labels.max_excess", 1.01),
    ("labels.minimum_lesions", 0),
    ("shadow.share", 1.01),
    ("shadow.share", float("nan")),
    ("shadow.window_s", 0),
    ("shadow.window_s", float("inf")),
    ("shadow.minimum_images", 0),
    ("shadow.max_disagreement", -0.1),
    ("shadow.max_latency_ratio", 0),
    ("shadow.required", "perhaps"),
    ("observation.share", -0.01),
    ("observation.window_s", -1),
    ("observation.minimum_images", 0),
    ("observation.max_error_rate", 2),
    ("observation.max_disagreement", "few"),
    ("resamples", 199),
    ("resamples", 20_001),
    ("seed", -1),
]


def _write(path: Path, document: object) -> Path:
    path.write_text(yaml.safe_dump(document))
    return path


def _changed(leaf: tuple[str, ...], value: object) -> dict[str, Any]:
    document = {name: dict(v) if isinstance(v, dict) else v for name, v in SHIPPED.items()}
    inner = document if len(leaf) == 1 else document[leaf[0]]
    inner[leaf[-1]] = value
    return document


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    gate, content = GateFile.load(), PROMOTION_FILE.read_bytes()
    assert gate.hash == hashlib.sha256(content).hexdigest()
    other = tmp_path / "promotion.yaml"
    other.write_bytes(content + b"# The same rules.\n")
    assert GateFile.load(other).hash != gate.hash
    assert GateFile.load(other) == gate.model_copy(update={"hash": GateFile.load(other).hash})


def test_a_gate_survives_json() -> None:
    gate = GateFile.load()
    assert GateFile.model_validate_json(gate.model_dump_json()) == gate


@pytest.mark.parametrize(("field", "value"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_refused_by_name(tmp_path: Path, field: str, value: object) -> None:
    path = _write(tmp_path / "promotion.yaml", _changed(tuple(field.split(".")), value))
    with pytest.raises(InvalidConfiguration, match=rf"breaks a rule\. {field}: "):
        GateFile.load(path)


def test_every_value_has_one_out_of_range_above() -> None:
    assert {field for field, _ in OUT_OF_RANGE} == {".".join(leaf) for leaf in LEAVES}


@pytest.mark.parametrize("leaf", [*LEAVES, *((name,) for name in SHIPPED)], ids=".".join)
def test_no_rule_has_a_default(tmp_path: Path, leaf: tuple[str, ...]) -> None:
    document = _changed(leaf, None)
    del (document if len(leaf) == 1 else document[leaf[0]])[leaf[-1]]
    with pytest.raises(InvalidConfiguration, match=rf"{'.'.join(leaf)}: Field required"):
        GateFile.load(_write(tmp_path / "promotion.yaml", document))


@pytest.mark.parametrize("name", ["hash", "balanced_acuracy", "shadow.weight"])
def test_what_is_no_rule_is_refused(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path / "promotion.yaml", _changed(tuple(name.split(".")), "0" * 64))
    with pytest.raises(InvalidConfiguration, match=rf"{name}: Extra inputs"):
        GateFile.load(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "Field required"),
        (b"- balanced_accuracy\n", "the document: "),
        (b"balanced_accuracy: {min: 0.7", "no valid YAML"),
        (b"\xff\xfe\x00", "no valid YAML"),
        (b"seed: !!python/object/apply:os.getcwd []", "no valid YAML"),
    ],
)
def test_what_is_no_gate_file_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "promotion.yaml"
    path.write_bytes(content)
    with pytest.raises(InvalidConfiguration, match=says):
        GateFile.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match=r"promotion\.yaml cannot be read"):
        GateFile.load(tmp_path / "promotion.yaml")


def test_a_file_that_changes_meanwhile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _write(tmp_path / "promotion.yaml", SHIPPED)
    hash_of = gate_file.sha256_of

    def edited(file: Path) -> str:
        _write(file, _changed(("seed",), 1))
        return hash_of(file)

    monkeypatch.setattr(gate_file, "sha256_of", edited)
    with pytest.raises(InvalidConfiguration, match="was changed while it was read"):
        GateFile.load(path)


def test_a_gate_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        GateFile.load().seed = 1  # type: ignore[misc]
    assert set(GateFile.model_fields) == {*Gate.model_fields, "hash"}
