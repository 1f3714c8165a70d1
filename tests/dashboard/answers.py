"""Answers of the server as the client gives them, made by hand for the pages' parts."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from dermserve_client import Prediction, Upload
from dermserve_client.statistics import Bucket, Metrics, StageCounts
from models.classes import CLASSES
from models.diagnosis import diagnoses

NOON = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)


def prediction(code: str = "nv", **changes: Any) -> Prediction:
    """A prediction of a class, with most of the probability on it."""
    probabilities = dict.fromkeys(CLASSES, 0.02) | {code: 0.88}
    point = {
        "threshold": 0.07,
        "exceeded": code in ("mel", "bcc", "akiec"),
        "validation_sensitivity": 0.95,
        "test_sensitivity": 0.951,
        "test_specificity": 0.698,
    }
    answer: dict[str, Any] = {
        "predicted_class": code,
        "class_name": diagnoses()[code].name,
        "confidence": 0.88,
        "probabilities": probabilities,
        "inference_time": 0.005,
        "diagnosis": diagnoses()[code].model_dump(),
        "malignant_score": sum(probabilities[each] for each in ("mel", "bcc", "akiec")),
        "operating_point": point,
        "melanoma_operating_point": point,
        "prediction_set": [code],
        "abstain": {"abstain": False, "reason": None},
        "novelty": {"score": 1.2, "threshold": 2.5},
        "model_version": "2",
        "dataset_hash": "0" * 64,
        "request_id": "r",
        "timings": {"preprocessing": 0.003, "queue": 0.019, "forward": 0.005, "total": 0.027},
        "disclaimer": "For research.",
    }
    return Prediction.model_validate(answer | changes)


def upload(name: str, label: str | None = None, held: float | None = None) -> Upload:
    """An upload; with `held`, the model gave its label that probability."""
    probabilities = None
    if held is not None and label is not None:
        rest = (1 - held) / 6
        probabilities = dict.fromkeys(CLASSES, rest) | {label: held}
    return Upload.model_validate(
        {
            "id": name,
            "status": "needs_label" if label is None else "labelled",
            "label": label,
            "label_source": None if label is None else "expert",
            "lesion_id": None,
            "uploader": None,
            "media_type": "image/jpeg",
            "width": 600,
            "height": 450,
            "size_bytes": 1000,
            "content_hash": "0" * 64,
            "prediction": probabilities
            and {"probabilities": probabilities, "uncertainty": 0.5, "model_version": "2"},
            "created": NOON,
            "updated": NOON,
        }
    )


def metrics(seconds: float, *counts: int) -> Metrics:
    """A reading so long after noon: requests within 0.1 s, within 1 s, and in all."""
    bounds = (0.1, 1.0, None)
    return Metrics(
        time=NOON + timedelta(seconds=seconds),
        requests=counts[-1],
        latency=[Bucket(le=le, count=n) for le, n in zip(bounds, counts, strict=True)],
        stages={"ingress": StageCounts(images={"taken": counts[-1]}, batches=1, waiting=0)},
        replicas={},
    )
