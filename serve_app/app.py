"""The application: five deployments and how they hang together."""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.serve import Application, Deployment
from ray.serve.schema import LoggingConfig

from models.configuration import validate
from serve_app.archive import MAX_CALLS, Archive
from serve_app.classifier import Classifier
from serve_app.datapath import REPLICA_ENVIRONMENT
from serve_app.explainer import MAX_EXPLANATIONS, Explainer
from serve_app.ingress import Ingress
from serve_app.preprocessing import Preprocessor
from serve_app.settings import ServeSettings


def build(args: dict[str, Any]) -> Application:
    """Compose the chain ingress -> preprocessor -> classifier, explainer and archive beside it.

    Args:
        args: fields of `ServeSettings`, from the `args` of `serve_config.yaml`.

    Raises:
        InvalidConfiguration: if a field is unknown or out of range.
    """
    settings = validate(args, ServeSettings, "The args of serve_config.yaml")
    classifier = _deployment(
        Classifier,
        max_ongoing_requests=settings.stage_ongoing_requests,
        max_queued_requests=settings.max_waiting,
        cpus=settings.classifier_cpus,
        gpus=settings.classifier_gpus,
        user_config={"model": "champion"},
    ).bind(settings)
    preprocessor = _deployment(
        Preprocessor,
        max_ongoing_requests=settings.stage_ongoing_requests,
        max_queued_requests=settings.max_waiting,
        cpus=0.25,
    ).bind(classifier, settings)
    explainer = _deployment(
        Explainer,
        # More than it takes, so that it is our 503 with its advice that a client sees.
        max_ongoing_requests=2 * MAX_EXPLANATIONS,
        max_queued_requests=MAX_EXPLANATIONS,
        cpus=0.05,
        user_config={"model": "champion"},
    ).bind(settings)
    archive = _deployment(
        Archive,
        max_ongoing_requests=MAX_CALLS,
        max_queued_requests=MAX_CALLS,
        cpus=0.05,
    ).bind(preprocessor, settings)
    return _deployment(
        serve.ingress()(Ingress),
        max_ongoing_requests=settings.ingress_ongoing_requests,
        max_queued_requests=settings.max_waiting,
        cpus=0.1,
        access_log=True,
    ).bind(preprocessor, explainer, archive, settings)


def _deployment(
    target: type,
    *,
    max_ongoing_requests: int,
    max_queued_requests: int,
    cpus: float,
    gpus: float = 0.0,
    access_log: bool = False,
    user_config: dict[str, Any] | None = None,
) -> Deployment:
    """A deployment named after its class, with the options that all of them share."""
    deploy: Any = serve.deployment(
        name=target.__name__.lower(),
        max_ongoing_requests=max_ongoing_requests,
        max_queued_requests=max_queued_requests,
        ray_actor_options={
            "num_cpus": cpus,
            "num_gpus": gpus,
            "runtime_env": {"env_vars": REPLICA_ENVIRONMENT},
        },
        user_config=user_config,
        max_surge_percent=100,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=30,  # longer than any request may take
        logging_config=LoggingConfig(enable_access_log=access_log),
    )
    deployment: Deployment = deploy(target)
    return deployment
