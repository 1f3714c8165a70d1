"""The wire contract of metrics and of the data behind them."""

from __future__ import annotations

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


class DataSummary(Exact):
    """For plots; a part that does not answer is null."""

    uploads: UploadSummary | None
    model: ModelData | None
    latency: list[Bucket] | None = Field(description="as /metrics has it")
