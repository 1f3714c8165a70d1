"""Readings: what catalogue and registry say of learning, as numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import get_args

from data.catalogue.learning_summary import LearningSummary
from data.catalogue.rollouts import RolloutState
from data.catalogue.upload_counts import UploadCounts
from models.registered_version import RegisteredVersion
from training.settings import RetrainSettings


@dataclass(frozen=True, slots=True)
class Reading:
    """One number; `METRICS` says what it means and which tags it has."""

    name: str
    value: float
    tags: dict[str, str] = field(default_factory=dict)


METRICS: dict[str, tuple[str, tuple[str, ...]]] = {
    "dermserve_dependency_up": (
        "1 if the trainer reached the catalogue or the registry at its last look, else 0.",
        ("dependency",),
    ),
    "dermserve_uploads_labelled": ("Uploads with a label, by class.", ("label",)),
    "dermserve_uploads_unlabelled": ("Uploads that wait for a label.", ()),
    "dermserve_retraining_new_images": (
        "Labelled uploads that no run has learned from, by class.",
        ("label",),
    ),
    "dermserve_retraining_threshold": ("New images that start a retraining.", ()),
    "dermserve_retraining_runs": ("Runs in the catalogue, by state.", ("state",)),
    "dermserve_retraining_active": ("1 while a run is queued or under way, else 0.", ()),
    "dermserve_retraining_progress": ("Of the run under way, 0 to 1; 0 if there is none.", ()),
    "dermserve_retraining_silence_seconds": (
        "Since the last sign of life of the run under way; 0 if there is none.",
        (),
    ),
    "dermserve_retraining_finished_timestamp_seconds": (
        "When the last run ended, Unix time.",
        (),
    ),
    "dermserve_gate_passed": ("1 if the gate let the last challenger pass, else 0.", ()),
    "dermserve_gate_rule_passed": ("1 for each rule that the last challenger kept.", ("rule",)),
    "dermserve_gate_rule_value": ("What a rule found in the last challenger.", ("rule",)),
    "dermserve_gate_rule_bound": ("What a rule held the last challenger to.", ("rule",)),
    "dermserve_rollouts": ("Rollouts in the catalogue.", ("kind", "state")),
    "dermserve_rollout_state": ("1 for the state of the newest rollout, else 0.", ("state",)),
    "dermserve_champion_registered_timestamp_seconds": (
        "When the champion was registered, Unix time.",
        ("version",),
    ),
    "dermserve_champion_test_metric": (
        "Of the champion on the frozen test images, by name.",
        ("version", "metric"),
    ),
}
"""What each is, and its tags."""


def of_uploads(counts: UploadCounts, settings: RetrainSettings) -> Iterator[Reading]:
    """What has come, and how much of it is new."""
    for label, images in counts.labelled.items():
        yield Reading("dermserve_uploads_labelled", images, {"label": label})
    for label, images in counts.new.items():
        yield Reading("dermserve_retraining_new_images", images, {"label": label})
    yield Reading("dermserve_uploads_unlabelled", counts.needs_label)
    yield Reading("dermserve_retraining_threshold", settings.threshold)


def of_learning(summary: LearningSummary) -> Iterator[Reading]:
    """How runs and rollouts do; of what has never been, nothing."""
    for state, runs in summary.runs.items():
        yield Reading("dermserve_retraining_runs", runs, {"state": state})
    for (kind, ended), rollouts in summary.rollouts.items():
        yield Reading("dermserve_rollouts", rollouts, {"kind": kind, "state": ended})
    for state in get_args(RolloutState):
        yield Reading("dermserve_rollout_state", state == summary.rollout, {"state": state})
    active = summary.active
    yield Reading("dermserve_retraining_active", active is not None)
    yield Reading("dermserve_retraining_progress", active.progress if active else 0)
    silence = 0.0
    if active is not None:
        silence = (summary.moment - (active.heartbeat or active.created)).total_seconds()
    yield Reading("dermserve_retraining_silence_seconds", max(0.0, silence))
    if summary.last_finished is not None:
        yield Reading(
            "dermserve_retraining_finished_timestamp_seconds", summary.last_finished.timestamp()
        )
    if summary.decision is not None:
        yield Reading("dermserve_gate_passed", bool(summary.decision["passed"]))
        for rule in summary.decision["rules"]:
            tags = {"rule": str(rule["name"])}
            yield Reading("dermserve_gate_rule_passed", bool(rule["passed"]), tags)
            yield Reading("dermserve_gate_rule_bound", rule["bound"], tags)
            if rule["value"] is not None:
                yield Reading("dermserve_gate_rule_value", rule["value"], tags)


def of_champion(champion: RegisteredVersion) -> Iterator[Reading]:
    """Which version the registry calls champion, since when it has it, and how good it was."""
    version = {"version": champion.version}
    yield Reading(
        "dermserve_champion_registered_timestamp_seconds", champion.registered.timestamp(), version
    )
    for metric, value in champion.metrics.items():
        yield Reading("dermserve_champion_test_metric", value, {**version, "metric": metric})
