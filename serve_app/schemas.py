"""The wire contract: request and response models, as OpenAPI shows them.

The hot path builds its JSON without them (see answers.py); the tests hold every answer
against these models.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from models import errors
from models.diagnosis import Diagnosis

RESEARCH_USE = (
    "For research and education only: decision support, not a diagnosis and not a medical device."
)

# Other errors of 500 stop a command; to a client they are mistakes of the server.
ERROR_CODES: list[JsonValue] = [
    *sorted(
        {
            each.code
            for each in vars(errors).values()
            if isinstance(each, type)
            and issubclass(each, errors.DermServeError)
            and (each.status != 500 or each in (errors.DermServeError, errors.ImageDamaged))
        }
    )
]
"""All that an error may be called."""


class Exact(BaseModel):
    """A model without room for what it does not name."""

    model_config = ConfigDict(extra="forbid")


class ActionPoint(Exact):
    """The threshold at which a score calls for action, and its measured worth."""

    threshold: float = Field(ge=0, le=1)
    exceeded: bool = Field(description="whether this image's score reaches the threshold")
    validation_sensitivity: float
    test_sensitivity: float
    test_specificity: float


class Abstain(Exact):
    """Whether the model declines to be relied on for this image."""

    abstain: bool
    reason: Literal["out_of_distribution", "too_uncertain"] | None


class Novelty(Exact):
    """How unlike the training images this one is; above the threshold, the model abstains."""

    score: float
    threshold: float


class Timings(Exact):
    """Seconds in each stage, and in all: from the whole body's arrival to the answer.

    `queue` is what is not work: waiting for a stage and travelling between stages.
    """

    preprocessing: float
    queue: float
    forward: float
    total: float


class Prediction(Exact):
    """The answer for one image."""

    predicted_class: str = Field(
        description="the class the image speaks for most, all taken as equally frequent; a "
        "common class may still be more probable"
    )
    class_name: str
    confidence: float = Field(ge=0, le=1, description="calibrated probability of predicted_class")
    probabilities: dict[str, float] = Field(description="calibrated, by class code")
    inference_time: float = Field(description="seconds of the model's forward pass")
    diagnosis: Diagnosis
    malignant_score: float = Field(ge=0, le=1, description="p(mel) + p(bcc) + p(akiec)")
    operating_point: ActionPoint = Field(description="of malignant_score")
    melanoma_operating_point: ActionPoint = Field(description="of the probability of mel")
    prediction_set: list[str] = Field(description="likeliest first")
    abstain: Abstain
    novelty: Novelty
    model_version: str
    dataset_hash: str
    request_id: str
    timings: Timings
    disclaimer: str


class ErrorDetail(Exact):
    """What went wrong and what to do."""

    code: str = Field(json_schema_extra={"enum": ERROR_CODES})
    message: str
    request_id: str


class ErrorResponse(Exact):
    """The body of every answer of 400 and above."""

    error: ErrorDetail


class BatchItem(Exact):
    """One file's answer: a prediction or an error."""

    index: int
    filename: str
    prediction: Prediction | None = None
    error: ErrorDetail | None = None


class BatchPrediction(Exact):
    """Answers in the order of the files."""

    results: list[BatchItem]
    succeeded: int
    failed: int
    request_id: str


class Health(Exact):
    """What `/health` and `/health/ready` say."""

    status: Literal["ok", "not_ready", "unreachable"]
    reason: str | None = None
    uptime_s: float
    model: dict[str, Any] | None = None
    engine: dict[str, Any] | None = None
    load_error: str | None = Field(None, description="why the last model change failed")
    standby: str | None = Field(None, description="version kept warm for a change without loading")
    standby_error: str | None = Field(None, description="why there is none, if one is wished for")
    waiting: int = Field(0, description="images in progress in this ingress replica")
    data_path: dict[str, str]


class Live(Exact):
    """What `/health/live` says."""

    status: Literal["ok"] = "ok"


class ServiceInfo(Exact):
    """What `/` says."""

    name: Literal["DermServe"] = "DermServe"
    version: str
    disclaimer: str = RESEARCH_USE
    links: dict[str, str]
