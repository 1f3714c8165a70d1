"""The answers of the client have what the server's have, and bear with what they do not know."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from dermserve_client import (
    errors,
    predictions,
    readiness,
    retraining,
    review_queue,
    statistics,
    uploads,
    versions,
)
from models.diagnosis import Diagnosis
from serve_app import metrics_schemas, model_schemas, retrain_schemas, schemas, upload_schemas
from serve_app.settings import ServeSettings

PAIRS: list[tuple[type[BaseModel], type[BaseModel]]] = [
    (predictions.Diagnosis, Diagnosis),
    (predictions.ActionPoint, schemas.ActionPoint),
    (predictions.Abstain, schemas.Abstain),
    (predictions.Novelty, schemas.Novelty),
    (predictions.Timings, schemas.Timings),
    (predictions.Prediction, schemas.Prediction),
    (errors.ErrorDetail, schemas.ErrorDetail),
    (errors.ErrorAnswer, schemas.ErrorResponse),
    (readiness.Health, schemas.Health),
    (uploads.Missing, upload_schemas.Missing),
    (uploads.UploadAnswer, upload_schemas.UploadAnswer),
    (review_queue.UploadPrediction, upload_schemas.UploadPrediction),
    (review_queue.Upload, upload_schemas.Upload),
    (review_queue.UploadPage, upload_schemas.UploadPage),
    (review_queue.TrainedModel, upload_schemas.TrainedModel),
    (review_queue.Deleted, upload_schemas.Deleted),
    (retraining.Run, retrain_schemas.Run),
    (retraining.Rollout, retrain_schemas.Rollout),
    (retraining.RetrainStatus, retrain_schemas.RetrainStatus),
    (retraining.RunPage, retrain_schemas.RunPage),
    (versions.ModelSummary, model_schemas.ModelSummary),
    (versions.ModelList, model_schemas.ModelList),
    (versions.ModelCard, model_schemas.ModelCard),
    (statistics.Bucket, metrics_schemas.Bucket),
    (statistics.StageCounts, metrics_schemas.StageCounts),
    (statistics.Replicas, metrics_schemas.Replicas),
    (statistics.Metrics, metrics_schemas.MetricsSummary),
    (statistics.SizeCount, metrics_schemas.SizeCount),
    (statistics.UploadSummary, metrics_schemas.UploadSummary),
    (statistics.ModelData, metrics_schemas.ModelData),
    (statistics.EmbeddingDrift, metrics_schemas.EmbeddingDrift),
    (statistics.ClassMixDrift, metrics_schemas.ClassMixDrift),
    (statistics.Expected, metrics_schemas.Expected),
    (statistics.ExpectedPerformance, metrics_schemas.ExpectedPerformance),
    (statistics.Drift, metrics_schemas.Drift),
    (statistics.DataSummary, metrics_schemas.DataSummary),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda model: model.__name__)
def test_nothing_that_the_server_says_is_missing(
    ours: type[BaseModel], theirs: type[BaseModel]
) -> None:
    assert ours.model_fields.keys() == theirs.model_fields.keys()


def test_what_became_of_a_file() -> None:
    theirs = upload_schemas.UploadResult.model_fields.keys()
    assert uploads.UploadResult.model_fields.keys() == theirs - {"filename"} | {"name"}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (uploads.LabelSource, upload_schemas.LabelSource),
        (review_queue.Status, upload_schemas.Status),
        (review_queue.Order, upload_schemas.Order),
        (retraining.Mode, retrain_schemas.Mode),
    ],
)
def test_what_may_be_asked_is_what_may_be_answered(ours: object, theirs: object) -> None:
    assert ours == theirs


def test_a_newer_server_may_say_more() -> None:
    read = review_queue.TrainedModel.model_validate(
        {"version": "3", "promoted": True, "colour": "red"}
    )
    assert read == review_queue.TrainedModel(version="3", promoted=True)


def test_a_chunk_is_within_the_limits_of_a_server() -> None:
    settings = ServeSettings()
    assert settings.max_files >= predictions.CHUNK_IMAGES
    assert settings.max_batch_bytes >= predictions.CHUNK_BYTES + 2**20
    # In a chunk of one image, which may be larger, the server judges it.
    assert settings.max_image_bytes <= predictions.CHUNK_BYTES
