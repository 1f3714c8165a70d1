"""Statistics: what the server counts, what data it has, and how it is asked for both."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from dermserve_client.answer import Answer, as_model
from dermserve_client.call import Call
from dermserve_client.versions import version_path


class Bucket(Answer):
    """Observations of at most so many seconds, those of smaller buckets included."""

    le: float | None
    """Seconds; None is no bound."""
    count: int


class StageCounts(Answer):
    """What one stage has counted in all its replicas since they started."""

    images: dict[str, int]
    """By outcome: `taken`, `expired`, `cancelled`, `rejected`; `sent_again` if a replica died."""
    batches: int
    waiting: int
    """Images in its queue, or of the ingress in progress, now."""


class Replicas(Answer):
    """Replicas of one deployment."""

    application: str
    status: str
    """Of the deployment, such as `HEALTHY`."""
    states: dict[str, int]
    """How many replicas are in each state, such as `RUNNING`."""


class Metrics(Answer):
    """Counts since the replicas started. They fall when a replica ends; take differences."""

    time: datetime
    """Of this answer; counts are up to 2 s older."""
    requests: int
    """Predictions answered, a batch request counting once."""
    latency: list[Bucket]
    """Seconds from a request's arrival to its answer."""
    stages: dict[str, StageCounts]
    replicas: dict[str, Replicas]
    """By deployment; empty if the server does not know."""


class SizeCount(Answer):
    """Stored images of one size."""

    width: int
    """Pixels."""
    height: int
    """Pixels."""
    images: int


class UploadSummary(Answer):
    """What has been uploaded and is still there."""

    labelled: dict[str, int]
    """By class code."""
    new: dict[str, int]
    """Of those, images that no run has learned from."""
    needs_label: int
    by_source: dict[str, int]
    """Labelled ones, by how that was established."""
    sizes: list[SizeCount]
    """The most frequent first."""


class ModelData(Answer):
    """What the champion learned from, and what it is worth on its frozen test split."""

    version: str
    splits: dict[str, dict[str, int]]
    """Images by split and class code."""
    by_class: dict[str, dict[str, float | None]]
    """Images, recall, precision and AUC on the test split, by class code."""


class EmbeddingDrift(Answer):
    """Whether live images look, to the network, like the validation images."""

    mmd: float
    """Squared maximum mean discrepancy, unbiased; about 0 without drift."""
    p_value: float
    """Of no drift, by permutation."""


class ClassMixDrift(Answer):
    """Whether live images get other answers than the validation images got."""

    distance: float
    """Jensen-Shannon distance of the two mixes, 0 to 1."""
    p_value: float
    """Of no drift, by permutation."""
    predicted: dict[str, float]
    """Share of the answers to live images, by class code."""
    expected: dict[str, float]
    """The same of the validation images."""
    estimated: dict[str, float]
    """Estimated share of the live images that are of a class, if only frequencies have changed."""


class Expected(Answer):
    """What a measure is expected to be, and the range that it is in 19 times of 20."""

    value: float
    low: float
    high: float


class ExpectedPerformance(Answer):
    """Estimated without labels: holds where confidence means what it does on validation images."""

    accuracy: Expected
    balanced_accuracy: Expected
    """Mean recall of the classes that are there."""
    validation_accuracy: float
    """On the validation images, from their labels."""
    validation_balanced_accuracy: float


class Drift(Answer):
    """Live traffic beside the validation images of the model that answers."""

    status: str
    """`assessed`, `collecting` or `no_reference`."""
    reason: str | None
    """Why nothing is assessed."""
    version: str | None
    """Of the model; None if it cannot be compared."""
    samples: int
    """Live images in the window, of all replicas."""
    minimum: int
    """Images before anything is said."""
    since: datetime | None
    """Of the oldest of them."""
    assessed: datetime | None
    embedding: EmbeddingDrift | None
    class_mix: ClassMixDrift | None
    out_of_distribution: float | None
    """Share of live images on which the model abstains as out of distribution."""
    performance: ExpectedPerformance | None
    """Of the other live images; None if there are none."""


class DataSummary(Answer):
    """Classes, sizes, latencies and drift; a part that does not answer the server is None."""

    uploads: UploadSummary | None
    model: ModelData | None
    latency: list[Bucket] | None
    drift: Drift | None = None
    """None also of a server that does not watch for it."""


def metrics() -> Call[Metrics]:
    """Tell how much has been answered, how fast, what waits and which replicas run.

    Returns:
        `Metrics`.

    Raises:
        Unavailable: if no node of the server answers with its metrics.
        DermServeError: its root, and of what may go wrong on the way.
    """
    return Call(
        "GET",
        "/metrics",
        as_model(Metrics),
        repeatable=True,
        body={"headers": {"accept": "application/json"}},
    )


def data_summary() -> Call[DataSummary]:
    """Tell what has been uploaded, what the champion learned from, drift, and how fast it answers.

    Returns:
        `DataSummary`.

    Raises:
        DermServeError: what may go wrong on the way.
    """
    return Call("GET", "/data/summary", as_model(DataSummary), repeatable=True)


def model_evaluation(version: str = "champion") -> Call[dict[str, Any]]:
    """Fetch the numbers of a version's evaluation report.

    Args:
        version: its name, or `champion`.

    Returns:
        A dictionary: `evaluation` (measures with intervals, confusion matrix, reliability,
        subgroups), `operating_points`, `calibration_steps`, `history` and more.

    Raises:
        NotFound: if there is no such version, or no report of it.
        Conflict: if its package is damaged.
        DermServeError: their root, and of what may go wrong on the way.
    """
    path = f"{version_path(version)}/evaluation"

    def read(response: Any) -> dict[str, Any]:
        report = response.json()
        if not isinstance(report, dict):
            raise ValueError("It is no JSON object.")
        return report

    return Call("GET", path, read, repeatable=True)
