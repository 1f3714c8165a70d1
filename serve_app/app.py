"""The application: its deployments and how they hang together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ray import serve
from ray.serve import Application, Deployment

from models.configuration import validate
from serve_app.archive import CLASSIFIER, MAX_CALLS, Archive
from serve_app.classifier import Classifier
from serve_app.colocated import Colocated
from serve_app.datapath import REPLICA_ENVIRONMENT
from serve_app.explainer import MAX_EXPLANATIONS, Explainer
from serve_app.ingress import Ingress
from serve_app.preprocessing import Preprocessor
from serve_app.settings import ServeSettings
from serve_app.telemetry.tracing import exporters

_CHAMPION = {"model": "champion"}

HEALTH_CHECK_PERIOD_S = 1.0
"""Serve's own is 10 s, for as long as which it would not notice that a replica has died."""


def build(args: dict[str, Any]) -> Application:
    """Compose the chain ingress -> preprocessor -> classifier, explainer and archive beside it.

    With `colocated`, the chain is one deployment.

    Args:
        args: fields of `ServeSettings`, from the `args` of `serve_config.yaml`.

    Raises:
        InvalidConfiguration: if a field is unknown or out of range, or the environment asks for
            traces in a way that is not there.
    """
    settings = validate(args, ServeSettings, "The args of serve_config.yaml")
    exporters(os.environ)
    explainer = _deployment(
        Explainer,
        # More than it takes, so that it is our 503 with its advice that a client sees.
        max_ongoing_requests=2 * MAX_EXPLANATIONS,
        max_queued_requests=MAX_EXPLANATIONS,
        cpus=0.05,
        user_config=_CHAMPION,
    ).bind(settings)
    if settings.colocated:
        return _entrance(
            Colocated,
            settings,
            # Where a configuration names the model, and where the trainer does.
            name=CLASSIFIER,
            cpus=settings.classifier_cpus,
            gpus=settings.classifier_gpus,
            user_config=_CHAMPION,
        ).bind(explainer, _archive().bind(None, settings), settings)
    classifier = _deployment(
        Classifier,
        max_ongoing_requests=settings.stage_ongoing_requests,
        max_queued_requests=settings.max_waiting,
        cpus=settings.classifier_cpus,
        gpus=settings.classifier_gpus,
        user_config=_CHAMPION,
    ).bind(settings)
    preprocessor = _deployment(
        Preprocessor,
        max_ongoing_requests=settings.stage_ongoing_requests,
        max_queued_requests=settings.max_waiting,
        cpus=0.25,
    ).bind(classifier, settings)
    archive = _archive().bind(preprocessor, settings)
    return _entrance(Ingress, settings, cpus=0.1).bind(preprocessor, explainer, archive, settings)


def _archive() -> Deployment:
    return _deployment(
        Archive,
        max_ongoing_requests=MAX_CALLS,
        max_queued_requests=MAX_CALLS,
        cpus=0.05,
    )


def _entrance(target: type, settings: ServeSettings, **options: Any) -> Deployment:
    """The deployment that takes requests from outside."""
    return _deployment(
        serve.ingress()(target),
        max_ongoing_requests=settings.ingress_ongoing_requests,
        max_queued_requests=settings.max_waiting,
        # Serve takes messages of 2 GiB, and reads a whole one before it asks us.
        environment={"RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(settings.max_grpc_bytes)},
        **options,
    )


def _deployment(
    target: type,
    *,
    name: str | None = None,
    max_ongoing_requests: int,
    max_queued_requests: int,
    cpus: float,
    gpus: float = 0.0,
    user_config: dict[str, Any] | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Deployment:
    """A deployment with the options that all of them share, named after its class by default."""
    deploy: Any = serve.deployment(
        name=name or target.__name__.lower(),
        max_ongoing_requests=max_ongoing_requests,
        max_queued_requests=max_queued_requests,
        ray_actor_options={
            "num_cpus": cpus,
            "num_gpus": gpus,
            "runtime_env": {"env_vars": {**REPLICA_ENVIRONMENT, **environment}},
        },
        user_config=user_config,
        max_surge_percent=100,
        health_check_period_s=HEALTH_CHECK_PERIOD_S,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=30,  # longer than any request may take
    )
    deployment: Deployment = deploy(target)
    return deployment
