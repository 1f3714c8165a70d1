"""The typed Python client of DermServe: for ordinary code and for asyncio.

It needs httpx, httpx-sse and pydantic, and nothing of the server.

>>> from dermserve_client import Client, InvalidImage
>>> client = Client()  # http://127.0.0.1:8000, or the variables DERMSERVE_URL, DERMSERVE_API_KEY
>>> client.predict("lesion.jpg").class_name  # doctest: +SKIP
'Melanocytic nevus'
>>> try:
...     client.predict(b"no image")
... except InvalidImage as error:
...     print(error.code)
unsupported_image
>>> client.close()
"""

from dermserve_client.async_client import AsyncClient
from dermserve_client.client import Client
from dermserve_client.errors import (
    AccessDenied,
    Conflict,
    DeadlineExceeded,
    DermServeError,
    InvalidImage,
    InvalidRequest,
    NotFound,
    Refused,
    ServerMistake,
    StorageFull,
    TooLarge,
    TooManyRequests,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from dermserve_client.image import ImageSource
from dermserve_client.predictions import BatchItem, Explanation, Prediction
from dermserve_client.readiness import Health, ServiceInfo
from dermserve_client.retraining import RetrainStatus, Rollout, Run, RunPage
from dermserve_client.retries import Retries
from dermserve_client.review_queue import Deleted, Upload, UploadChange, UploadPage
from dermserve_client.statistics import DataSummary, Drift, Metrics
from dermserve_client.uploads import Missing, UploadAnswer, UploadResult
from dermserve_client.versions import ModelCard, ModelList, ModelSummary

__all__ = [
    "AccessDenied",
    "AsyncClient",
    "BatchItem",
    "Client",
    "Conflict",
    "DataSummary",
    "DeadlineExceeded",
    "Deleted",
    "DermServeError",
    "Drift",
    "Explanation",
    "Health",
    "ImageSource",
    "InvalidImage",
    "InvalidRequest",
    "Metrics",
    "Missing",
    "ModelCard",
    "ModelList",
    "ModelSummary",
    "NotFound",
    "Prediction",
    "Refused",
    "RetrainStatus",
    "Retries",
    "Rollout",
    "Run",
    "RunPage",
    "ServerMistake",
    "ServiceInfo",
    "StorageFull",
    "TooLarge",
    "TooManyRequests",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
    "Upload",
    "UploadAnswer",
    "UploadChange",
    "UploadPage",
    "UploadResult",
]
