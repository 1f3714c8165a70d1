"""Answers: what goes over the wire is what the schema promises, field by field."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from models import errors
from models.classes import CLASSES
from models.decision import Decision
from models.diagnosis import diagnoses
from models.errors import DermServeError, EmptyImage, Overloaded
from models.package import DecisionRules, OperatingPoint
from serve_app import schemas
from serve_app.answers import (
    error_detail,
    error_response,
    item,
    json_response,
    prediction,
)
from serve_app.classification import Classification, ServedModel

MODEL = ServedModel(
    version="v7",
    dataset_hash="abc",
    rules=DecisionRules(
        logit_shift=(0.0,) * len(CLASSES),
        temperature=1.0,
        melanoma=OperatingPoint(
            threshold=0.125,
            validation_sensitivity=0.9,
            test_sensitivity=0.89,
            test_specificity=0.81,
        ),
        malignant=OperatingPoint(
            threshold=0.25,
            validation_sensitivity=0.95,
            test_sensitivity=0.93,
            test_specificity=0.71,
        ),
        prediction_set_threshold=0.1,
        prediction_set_coverage=0.9,
        max_prediction_set=3,
        novelty_threshold=2.5,
    ),
)


def _classification(code: str = "mel", **changes: Any) -> Classification:
    share = 0.3 / (len(CLASSES) - 1)
    probabilities = tuple(0.7 if name == code else share for name in CLASSES)
    fields = {
        "predicted_class": code,
        "probabilities": probabilities,
        "malignant_score": 0.8,
        "prediction_set": (code, "nv"),
        "novelty": 1.25,
        "abstain_reason": None,
    }
    return Classification(Decision(**{**fields, **changes}), MODEL, 0.004, 0.001)


def _sent(classification: Classification) -> dict[str, Any]:
    """The answer as a client reads it."""
    wire = prediction(classification, request_id="r-1", total_s=0.009)
    body: dict[str, Any] = orjson.loads(json_response(wire).body)
    return body


@pytest.mark.parametrize("code", CLASSES)
def test_a_prediction_has_every_field_of_the_schema_and_no_other(code: str) -> None:
    sent = _sent(_classification(code))
    answer = schemas.Prediction.model_validate(sent)
    assert answer.model_dump() == sent
    assert answer.predicted_class == code
    assert answer.class_name == diagnoses()[code].name
    assert answer.diagnosis == diagnoses()[code]
    assert list(answer.probabilities) == list(CLASSES)
    assert answer.confidence == answer.probabilities[code] == 0.7


def test_confidence_is_the_probability_of_what_was_predicted() -> None:
    probabilities = tuple(0.6 if code == "nv" else 0.4 / 6 for code in CLASSES)
    sent = _sent(_classification("mel", probabilities=probabilities))
    assert sent["confidence"] == sent["probabilities"]["mel"] < sent["probabilities"]["nv"]


def test_it_says_who_answered_when_and_what_it_is_for() -> None:
    answer = schemas.Prediction.model_validate(_sent(_classification()))
    assert (answer.model_version, answer.dataset_hash) == ("v7", "abc")
    assert answer.request_id == "r-1"
    assert answer.inference_time == 0.004
    assert answer.timings.model_dump() == pytest.approx(
        {"preprocessing": 0.001, "queue": 0.004, "forward": 0.004, "total": 0.009}
    )
    assert answer.disclaimer == schemas.RESEARCH_USE
    assert "not a diagnosis" in answer.disclaimer


@pytest.mark.parametrize(
    ("score", "exceeded"), [(0.0, False), (0.2499, False), (0.25, True), (1.0, True)]
)
def test_the_operating_point_is_reached_at_its_threshold(score: float, exceeded: bool) -> None:
    point = _sent(_classification(malignant_score=score))["operating_point"]
    assert point == {
        "threshold": 0.25,
        "exceeded": exceeded,
        "validation_sensitivity": 0.95,
        "test_sensitivity": 0.93,
        "test_specificity": 0.71,
    }


@pytest.mark.parametrize(
    ("reason", "abstain"),
    [(None, False), ("too_uncertain", True), ("out_of_distribution", True)],
)
def test_abstaining_names_its_reason(reason: str | None, abstain: bool) -> None:
    sent = _sent(_classification(abstain_reason=reason))
    assert sent["abstain"] == {"abstain": abstain, "reason": reason}
    assert sent["novelty"] == {"score": 1.25, "threshold": 2.5}
    schemas.Prediction.model_validate(sent)


@pytest.mark.parametrize(("share", "exceeded"), [(0.124, False), (0.125, True), (0.7, True)])
def test_melanoma_has_its_own_operating_point(share: float, exceeded: bool) -> None:
    rest = (1 - share) / (len(CLASSES) - 1)
    probabilities = tuple(share if code == "mel" else rest for code in CLASSES)
    point = _sent(_classification(probabilities=probabilities))["melanoma_operating_point"]
    assert point["exceeded"] is exceeded
    assert point["threshold"] == 0.125
    assert point["test_sensitivity"] == 0.89


@pytest.mark.parametrize(
    "error",
    [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, DermServeError)],
    ids=lambda error: error.__name__,
)
def test_every_error_has_the_one_form(error: type[DermServeError]) -> None:
    raised = error("Say what to do. Größe 3.")
    response = error_response(raised, "r-2")
    assert response.status_code == error.status
    assert response.headers["content-type"] == "application/json"
    answer = schemas.ErrorResponse.model_validate_json(response.body)
    assert answer.error.model_dump() == {
        "code": error.code,
        "message": "Say what to do. Größe 3.",
        "request_id": "r-2",
    }
    # Of the error itself: how long a key has to wait differs from one time to the next.
    wait = None if raised.retry_after_s is None else str(raised.retry_after_s)
    assert response.headers.get("retry-after") == wait
    assert {**error.headers}.items() <= dict(response.headers).items()


def test_an_entry_of_a_batch_is_a_prediction_or_an_error() -> None:
    answered = item(prediction(_classification(), request_id="r", total_s=0.1), "r")
    failed = item(EmptyImage("The file is empty."), "r")
    for index, entry in enumerate((answered, failed)):
        sent = orjson.loads(orjson.dumps({"index": index, "filename": "a.jpg", **entry}))
        schemas.BatchItem.model_validate(sent)
    assert set(answered) == {"prediction"}
    assert failed == {"error": error_detail(EmptyImage("The file is empty."), "r")}


def test_success_is_200_and_json() -> None:
    response = json_response({"a": 1})
    assert (response.status_code, response.body) == (200, b'{"a":1}')
    assert error_response(Overloaded("Later."), "").headers["retry-after"] == "1"
