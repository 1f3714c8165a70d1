"""What the drift watch found, in sentences computed from its numbers."""

from __future__ import annotations

from dashboard.lesion_classes import name_of
from dashboard.wording import at, count, percent
from dermserve_client import Drift
from dermserve_client.statistics import ClassMixDrift, EmbeddingDrift, ExpectedPerformance

UNLIKELY = 0.01
"""P-value below which a difference is called one."""


def drift_sentences(drift: Drift | None) -> list[str]:
    """Whether live images are like those that the model was validated on, and what follows."""
    if drift is None:
        return ["The server does not say at the moment how live images compare."]
    if drift.embedding is None or drift.class_mix is None:
        return [drift.reason or "Nothing has been assessed yet."]
    since = f" since {at(drift.since)} UTC" if drift.since else ""
    sentences = [
        f"The latest {count(drift.samples, 'classified image')}{since}, beside the validation "
        f"images of version {drift.version}.",
        _looks(drift.embedding),
        _mix(drift.class_mix),
    ]
    if drift.out_of_distribution:
        sentences.append(
            f"On {percent(drift.out_of_distribution)} of them it abstains, because they do not "
            "look like lesions."
        )
    sentences.append(_performance(drift.performance, drift.embedding.p_value < UNLIKELY))
    return sentences


def _looks(embedding: EmbeddingDrift) -> str:
    figures = f"discrepancy {embedding.mmd:.4f}, {_chance(embedding.p_value)}"
    if embedding.p_value < UNLIKELY:
        return f"They look different to the network ({figures})."
    return f"Nothing says that they look different to the network ({figures})."


def _mix(mix: ClassMixDrift) -> str:
    figures = f"distance {mix.distance:.2f}, {_chance(mix.p_value)}"
    if mix.p_value >= UNLIKELY:
        return f"Its answers are mixed as on the validation images ({figures})."
    moved = max(
        mix.predicted, key=lambda code: abs(mix.predicted[code] - mix.expected.get(code, 0))
    )
    return (
        f"Its answers are mixed differently ({figures}): most of all {name_of(moved)}, "
        f"{percent(mix.predicted[moved])} instead of {percent(mix.expected.get(moved, 0))}. If "
        "images of a class look as they did, "
        f"{percent(mix.estimated.get(moved, 0))} of the images really are of that class."
    )


def _performance(expected: ExpectedPerformance | None, different: bool) -> str:
    if expected is None:
        return "Nothing can be expected of its answers to such images."
    accuracy, balanced = expected.accuracy, expected.balanced_accuracy
    said = (
        f"By its confidence it is right in {percent(accuracy.value)} of them "
        f"({percent(accuracy.low)} to {percent(accuracy.high)}), after "
        f"{percent(expected.validation_accuracy)} of the validation images; balanced accuracy "
        f"{balanced.value:.3f} ({balanced.low:.3f} to {balanced.high:.3f}), after "
        f"{expected.validation_balanced_accuracy:.3f}. "
    )
    if different:
        return f"{said}Of images that look different its confidence says little: label some."
    return f"{said}That holds as long as its confidence means what it did; labels would tell."


def _chance(p_value: float) -> str:
    """How often chance alone does as much."""
    return f"by chance {'at most ' if p_value <= 0.001 else ''}{percent(p_value)} of the time"
