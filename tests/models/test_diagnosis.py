"""The texts: every class has a full one, and a broken file says what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

import models.diagnosis
from configs import FOLDER
from models.classes import CLASSES, MALIGNANT
from models.diagnosis import Diagnosis, diagnoses
from models.errors import InvalidConfiguration


@pytest.mark.parametrize("code", CLASSES)
def test_every_class_has_its_texts(code: str) -> None:
    diagnosis = diagnoses()[code]
    assert diagnosis.name[0].isupper()
    assert len(diagnosis.description.split()) >= 5
    assert len(diagnosis.recommendation.split()) >= 5
    for text in (diagnosis.description, diagnosis.recommendation):
        assert text == text.strip()
        assert text.endswith(".")
        assert "\n" not in text


def test_there_are_no_others() -> None:
    assert set(diagnoses()) == set(CLASSES)
    assert len({diagnosis.name for diagnosis in diagnoses().values()}) == len(CLASSES)


def test_only_benign_classes_are_of_low_risk() -> None:
    low = {code for code, diagnosis in diagnoses().items() if diagnosis.risk_level == "low"}
    assert low == set(CLASSES) - set(MALIGNANT)
    assert diagnoses()["mel"].risk_level == "high"


def test_a_text_cannot_be_changed_by_a_request() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        diagnoses()["mel"].risk_level = "low"


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (lambda texts: texts.pop("vasc"), "akiec, bcc, bkl, df, mel, nv, vasc"),
        (lambda texts: texts.update(wart=texts["nv"]), "akiec, bcc, bkl, df, mel, nv, vasc"),
        (lambda texts: texts["mel"].pop("recommendation"), r"mel\.recommendation"),
        (lambda texts: texts["mel"].update(risk_level="none"), r"mel\.risk_level"),
        (lambda texts: texts["mel"].update(notes="x"), r"mel\.notes"),
    ],
)
def test_a_broken_file_is_refused(
    fault: object, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = yaml.safe_load((FOLDER / "diagnoses.yaml").read_text(encoding="utf-8"))
    assert callable(fault)
    fault(texts)
    (tmp_path / "diagnoses.yaml").write_text(yaml.safe_dump(texts), encoding="utf-8")
    monkeypatch.setattr(models.diagnosis, "FOLDER", tmp_path)
    with pytest.raises(InvalidConfiguration, match=says):
        diagnoses.__wrapped__()


def test_the_texts_are_read_once() -> None:
    assert diagnoses() is diagnoses()
    assert isinstance(diagnoses()["mel"], Diagnosis)
