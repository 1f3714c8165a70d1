"""The application: three deployments and how they hang together."""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.schema import LoggingConfig

from configs import validate
from serve_app.classifier import Classifier
from serve_app.datapath import REPLICA_ENVIRONMENT
from serve_app.ingress import Ingress
from serve_app.preprocessing import Preprocessor
from serve_app.settings import ServeSettings


def build(args: dict[str, Any]) -> Application:
    """Compose the chain ingress -> preprocessor -> classifier.

    Args:
        args: fields of `ServeSettings`, from the `args` of `serve_config.yaml`.

    Raises:
        InvalidConfiguration: if a field is unknown or out of range.
    """
    settings = validate(args, ServeSettings, "The args of serve_config.yaml")
    classifier = serve.deployment(
        Classifier,
        name="classifier",
        max_ongoing_requests=settings.stage_ongoing_requests,
        max_queued_requests=settings.max_waiting,
        **_replica(settings.classifier_cpus, settings.classifier_gpus),
    ).bind(settings)
    preprocessor = serve.deployment(
        Preprocessor,
        name="preprocessor",
        max_ongoing_requests=settings.stage_ongoing_requests,
        max_queued_requests=settings.max_waiting,
        **_replica(0.25),
    ).bind(classifier, settings)
    ingress = serve.deployment(
        serve.ingress()(Ingress),
        name="ingress",
        max_ongoing_requests=settings.ingress_ongoing_requests,
        max_queued_requests=settings.max_waiting,
        **_replica(0.1, access_log=True),
    )
    return ingress.bind(preprocessor, classifier, settings)


def _replica(cpus: float, gpus: float = 0.0, *, access_log: bool = False) -> dict[str, Any]:
    """Options that all three share: what Ray reserves, and the fast path's environment."""
    return {
        "ray_actor_options": {
            "num_cpus": cpus,
            "num_gpus": gpus,
            "runtime_env": {"env_vars": REPLICA_ENVIRONMENT},
        },
        "max_surge_percent": 100,
        "graceful_shutdown_wait_loop_s": 0.5,
        "logging_config": LoggingConfig(enable_access_log=access_log),
    }
