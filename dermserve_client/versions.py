"""Versions of the model: what the registry knows, and how the server is asked to change it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from dermserve_client.answer import Answer, as_model
from dermserve_client.call import Call, segment
from dermserve_client.retraining import Rollout, Run


class ModelSummary(Answer):
    """A version of the model."""

    version: str
    package_hash: str
    dataset_hash: str
    registered: datetime
    metrics: dict[str, float]
    """On the frozen test split."""
    champion: bool
    verdict: str | None
    """Of the promotion gate: `passed` or `refused`; None for a version that no retraining made."""
    reason: str | None
    """Of the verdict."""
    replicas: int
    """That serve it now."""


class ModelList(Answer):
    """Every version in the order of registration."""

    champion: str
    previous: str | None
    """What a rollback would go back to."""
    models: list[ModelSummary]
    rollouts: list[Rollout]
    """The newest first."""


class ModelCard(ModelSummary):
    """What is known of one version."""

    manifest: dict[str, Any]
    card: str | None
    """The model card in Markdown."""
    report: bool
    """Whether there is an evaluation report."""
    run: Run | None
    """The retraining that made it."""


def models() -> Call[ModelList]:
    """List all versions, which of them serves, and the newest rollouts.

    Returns:
        `ModelList`.

    Raises:
        Unavailable: if the trainer does not answer.
        DermServeError: its root, and of what may go wrong on the way.
    """
    return Call("GET", "/models", as_model(ModelList), repeatable=True)


def model(version: str = "champion") -> Call[ModelCard]:
    """Tell what is known of a version.

    Args:
        version: its name, or `champion`.

    Returns:
        `ModelCard`.

    Raises:
        NotFound: if there is no such version.
        Conflict: if its package is damaged.
        DermServeError: their root, and of what may go wrong on the way.
    """
    return Call("GET", version_path(version), as_model(ModelCard), repeatable=True)


def model_report(version: str = "champion") -> Call[str]:
    """Fetch the evaluation report of a version.

    Args:
        version: its name, or `champion`.

    Returns:
        A page of HTML with its figures.

    Raises:
        NotFound: if there is no such version, or no report of it.
        Conflict: if its package is damaged.
        DermServeError: their root, and of what may go wrong on the way.
    """
    path = f"{version_path(version)}/report"
    return Call("GET", path, lambda response: response.content.decode(), repeatable=True)


def promote(version: str, *, force: bool = False) -> Call[Rollout]:
    """Make a version champion. A client never repeats that by itself.

    Args:
        version: its name.
        force: even if the gate refused it.

    Returns:
        `Rollout`; some replicas may not serve the version yet. `retrain_status` tells how it ends.

    Raises:
        NotFound: if there is no such version.
        Conflict: if the gate refused it, it is the champion, another rollout is under way, the
            version is pinned or damaged, or not every replica could take it over.
        DermServeError: their root, and of what may go wrong on the way.
    """
    params = {"force": True if force else None}
    return Call("POST", f"{version_path(version)}/promote", as_model(Rollout), params=params)


def rollback() -> Call[Rollout]:
    """Let the champion before this one serve again. A client never repeats that by itself.

    Returns:
        `Rollout`, as for `promote`.

    Raises:
        NotFound: if there was none before.
        Conflict: as `promote`.
        DermServeError: their root, and of what may go wrong on the way.
    """
    return Call("POST", "/models/rollback", as_model(Rollout))


def version_path(version: str) -> str:
    """The route of one version; raises `ValueError` if it is no name."""
    return f"/models/{segment(version)}"
