"""What a retraining does and did, in sentences and rows."""

from __future__ import annotations

from datetime import datetime, timezone

from dashboard.wording import at, count, duration
from dermserve_client import Rollout, Run

PHASES: dict[str, str] = {
    "": "Waiting for the trainer",
    "queued": "Waiting for the trainer",
    "starting": "Starting the workers",
    "features": "Reading the new images",
    "training": "Training",
    "judging": "Judging on the test images",
    "packaging": "Judging and packing the new version",
    "gate": "Held to the promotion gate",
    "registering": "Registering the new version",
    "shadowing": "Running beside the champion, unseen",
    "switching": "Replicas change over",
    "observing": "Serving, watched",
    "done": "Done",
}

_STATES: dict[str, str] = {
    "promoted": "✓ promoted",
    "refused": "✗ refused by the gate",
    "failed": "✗ failed",
    "cancelled": "- stopped",
    "running": "… running",
    "queued": "… queued",
}


def phase_text(run: Run) -> str:
    """What a run is doing."""
    said = PHASES.get(run.phase, run.phase.capitalize())
    if run.epoch is not None and run.epochs is not None and run.phase == "training":
        said += f", epoch {run.epoch} of {run.epochs} at most"
    if run.cancel_requested:
        said += "; asked to stop"
    return said


def run_sentence(run: Run, now: datetime | None = None) -> str:
    """How far a run is, or how it ended."""
    images = count(run.images, "labelled image")
    if not run.over:
        since = run.started or run.created
        elapsed_s = ((now or datetime.now(timezone.utc)) - since).total_seconds()
        left = "" if run.eta_s is None else f", about {duration(max(1, run.eta_s))} left"
        return f"{phase_text(run)}. {images}; running for {duration(max(0, elapsed_s))}{left}."
    took = ""
    if run.started is not None and run.finished is not None:
        took = f" It took {duration((run.finished - run.started).total_seconds())}."
    ended = {
        "promoted": f"Version {run.challenger_version} was promoted",
        "refused": f"Version {run.challenger_version or 'made by it'} was refused",
        "failed": "It failed",
        "cancelled": "It was stopped",
    }.get(run.state, run.state.capitalize())
    reason = f" {run.reason}" if run.reason else ""
    return f"{ended}.{reason}{took}"


def history_rows(runs: list[Run]) -> list[dict[str, str]]:
    """Runs as a table, the newest first as they came."""
    return [
        {
            "Run": str(run.id),
            "Began (UTC)": at(run.started or run.created),
            "Ended as": _STATES.get(run.state, run.state),
            "Version": run.challenger_version or "",
            "Images": f"{run.images:,} ({run.new_images:,} new)",
            "Mode": run.mode,
            "Asked by": "threshold" if run.trigger == "threshold" else run.actor,
            "Why": run.reason or "",
        }
        for run in runs
    ]


def rollout_sentence(rollout: Rollout) -> str:
    """How far a move of the replicas is."""
    way = f"from version {rollout.from_version} to {rollout.to_version}"
    said = {
        "shadowing": f"Version {rollout.to_version} runs beside {rollout.from_version}, unseen.",
        "switching": f"Replicas change over {way}.",
        "observing": f"Version {rollout.to_version} serves and is watched.",
        "completed": f"Version {rollout.to_version} serves.",
        "reverted": f"The move {way} was undone.",
        "failed": f"The move {way} failed.",
    }.get(rollout.state, f"The move {way} is {rollout.state}.")
    return f"{said} {rollout.reason}" if rollout.reason else said
