"""The wire contract of metrics and of the data behind them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from serve_app.schemas import Exact


class Bucket(Exact):
    """Observations of at most so many seconds, those of smaller buckets included."""

    le: float | None = Field(description="seconds; null is no bound")
    count: int


class StageCounts(Exact):
    """What one stage has counted in all its replicas since they started."""

    images: dict[str, int] = Field(
        description="by outcome: taken, expired, cancelled or rejected; sent_again counts those "
        "taken whose replica died"
    )
    batches: int
    waiting: int = Field(description="images in its queue, or of the ingress in progress, now")


class Replicas(Exact):
    """Replicas of one deployment by state, such as RUNNING."""

    application: str
    status: str = Field(description="of the deployment, such as HEALTHY")
    states: dict[str, int]


class MetricsSummary(Exact):
    """Counts since the replicas started. They fall when a replica ends; take differences."""

    time: str = Field(description="ISO 8601, of this answer; counts are up to 2 s older")
    requests: int = Field(description="predictions answered, a batch request counting once")
    latency: list[Bucket] = Field(description="seconds from a request's arrival to its answer")
    stages: dict[str, StageCounts]
    replicas: dict[str, Replicas] = Field(description="by deployment; empty if Serve is away")


class SizeCount(Exact):
    """Stored images of one size."""

    width: int = Field(description="pixels")
    height: int = Field(description="pixels")
    images: int


class UploadSummary(Exact):
    """What has been uploaded and is still there."""

    labelled: dict[str, int] = Field(description="by class code")
    new: dict[str, int] = Field(description="of those, images that no run has learned from")
    needs_label: int
    by_source: dict[str, int] = Field(description="labelled ones, by how that was established")
    sizes: list[SizeCount] = Field(description="most frequent first, 200 at most")


class ModelData(Exact):
    """What the champion learned from, and what it is worth on its frozen test split."""

    version: str
    splits: dict[str, dict[str, int]] = Field(description="images by split and class code")
    by_class: dict[str, dict[str, float | None]] = Field(
        description="images, recall, precision and AUC on the test split"
    )


class EmbeddingDrift(Exact):
    """Whether live images look, to the network, like the validation images."""

    mmd: float = Field(
        description="squared maximum mean discrepancy, unbiased; about 0 without drift"
    )
    p_value: float = Field(description="of no drift, by permutation")


class ClassMixDrift(Exact):
    """Whether live images get other answers than the validation images got."""

    distance: float = Field(description="Jensen-Shannon distance of the two mixes, 0 to 1")
    p_value: float = Field(description="of no drift, by permutation")
    predicted: dict[str, float] = Field(description="share of the answers to live images, by class")
    expected: dict[str, float] = Field(description="the same of the validation images")
    estimated: dict[str, float] = Field(
        description="estimated share of the live images that are of a class; takes for granted "
        "that images of a class look as they did, and only the frequencies have changed"
    )


class Expected(Exact):
    """What a measure is expected to be, and the range that it is in 19 times of 20."""

    value: float
    low: float
    high: float


class ExpectedPerformance(Exact):
    """Estimated without labels: holds where confidence means what it does on validation images."""

    accuracy: Expected
    balanced_accuracy: Expected = Field(description="mean recall of the classes that are there")
    validation_accuracy: float = Field(description="on the validation images, from their labels")
    validation_balanced_accuracy: float


class Drift(Exact):
    """Live traffic beside the validation images of the model that answers."""

    status: Literal["assessed", "collecting", "no_reference"]
    reason: str | None = Field(description="why nothing is assessed")
    version: str | None = Field(description="of the model; null if it cannot be compared")
    samples: int = Field(description="live images in the window, of all replicas")
    minimum: int = Field(description="images before anything is said")
    since: str | None = Field(description="ISO 8601, of the oldest of them")
    assessed: str | None = Field(description="ISO 8601")
    embedding: EmbeddingDrift | None
    class_mix: ClassMixDrift | None
    out_of_distribution: float | None = Field(
        description="share of live images on which the model abstains as out of distribution"
    )
    performance: ExpectedPerformance | None = Field(
        description="of the other live images; null if there are none"
    )


class DataSummary(Exact):
    """For plots; a part that does not answer is null."""

    uploads: UploadSummary | None
    model: ModelData | None
    latency: list[Bucket] | None = Field(description="as /metrics has it")
    drift: Drift | None
