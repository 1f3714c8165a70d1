"""Answers: classifications and errors as the JSON of the wire contract."""

from __future__ import annotations

from functools import cache
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from models.classes import CLASSES
from models.diagnosis import diagnoses
from models.errors import DermServeError
from models.package import OperatingPoint
from serve_app.classification import Classification
from serve_app.schemas import RESEARCH_USE


def prediction(
    classification: Classification, *, request_id: str, total_s: float
) -> dict[str, Any]:
    """The wire form of one image's answer; see `schemas.Prediction`."""
    decision, model = classification.decision, classification.model
    probabilities = dict(zip(CLASSES, decision.probabilities, strict=True))
    diagnosis = _diagnosis(decision.predicted_class)
    return {
        "predicted_class": decision.predicted_class,
        "class_name": diagnosis["name"],
        "confidence": probabilities[decision.predicted_class],
        "probabilities": probabilities,
        "inference_time": classification.forward_s,
        "diagnosis": diagnosis,
        "malignant_score": decision.malignant_score,
        "operating_point": _operating_point(model.rules.malignant, decision.malignant_score),
        "melanoma_operating_point": _operating_point(model.rules.melanoma, probabilities["mel"]),
        "prediction_set": decision.prediction_set,
        "abstain": {
            "abstain": decision.abstain_reason is not None,
            "reason": decision.abstain_reason,
        },
        "novelty": {
            "score": decision.novelty,
            "threshold": model.rules.novelty_threshold,
        },
        "model_version": model.version,
        "dataset_hash": model.dataset_hash,
        "request_id": request_id,
        "timings": {
            "preprocessing": classification.preprocessing_s,
            "queue": max(0.0, total_s - classification.preprocessing_s - classification.forward_s),
            "forward": classification.forward_s,
            "total": total_s,
        },
        "disclaimer": RESEARCH_USE,
    }


def request_id_of(request: Request) -> str:
    """The request's id: the client's `X-Request-ID`, or the one Serve made."""
    return request.headers.get("x-request-id", "")


def error_detail(error: DermServeError, request_id: str) -> dict[str, str]:
    """The wire form of an error; see `schemas.ErrorDetail`."""
    return {"code": error.code, "message": error.message, "request_id": request_id}


def item(answer: dict[str, Any] | DermServeError, request_id: str) -> dict[str, Any]:
    """One entry of a batch: `{"prediction": ...}` or `{"error": ...}`."""
    if isinstance(answer, DermServeError):
        return {"error": error_detail(answer, request_id)}
    return {"prediction": answer}


def error_response(
    error: DermServeError, request_id: str, *, open_inference: bool = False
) -> Response:
    """The HTTP answer of an error, with `Retry-After` where waiting helps.

    Args:
        error: what is wrong.
        request_id: echoed in the answer.
        open_inference: in the form of that protocol, where an error is its message alone; the
            code is in the header `x-error-code`.
    """
    detail = error.message if open_inference else error_detail(error, request_id)
    response = json_response({"error": detail}, error.status)
    response.headers.update(error.headers)
    if open_inference:
        response.headers["x-error-code"] = error.code
    if error.retry_after_s is not None:
        response.headers["retry-after"] = str(error.retry_after_s)
    return response


def json_response(content: dict[str, Any], status: int = 200) -> Response:
    """Serialise with orjson, which takes floats ten times as fast as the standard library."""
    return Response(orjson.dumps(content), status, media_type="application/json")


def _operating_point(point: OperatingPoint, score: float) -> dict[str, Any]:
    return {
        "threshold": point.threshold,
        "exceeded": score >= point.threshold,
        "validation_sensitivity": point.validation_sensitivity,
        "test_sensitivity": point.test_sensitivity,
        "test_specificity": point.test_specificity,
    }


@cache
def _diagnosis(code: str) -> dict[str, Any]:
    return diagnoses()[code].model_dump()
