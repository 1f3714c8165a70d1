"""The wire contract of the model registry."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from serve_app.retrain_schemas import Rollout, Run
from serve_app.schemas import Exact


class ModelSummary(Exact):
    """A version of the model."""

    version: str
    package_hash: str
    dataset_hash: str
    registered: str = Field(description="ISO 8601")
    metrics: dict[str, float] = Field(description="on the frozen test split")
    champion: bool
    verdict: Literal["passed", "refused"] | None = Field(
        description="of the promotion gate; null for a version that no retraining made"
    )
    reason: str | None = Field(description="of the verdict")
    replicas: int = Field(description="that serve it now")


class ModelList(Exact):
    """Every version in the order of registration."""

    champion: str
    previous: str | None = Field(description="what a rollback would go back to")
    models: list[ModelSummary]
    rollouts: list[Rollout] = Field(description="the newest first")


class ModelCard(ModelSummary):
    """What is known of one version."""

    manifest: dict[str, Any]
    card: str | None = Field(description="the model card in Markdown")
    report: bool = Field(description="whether there is an evaluation report")
    run: Run | None = Field(description="the retraining that made it")
