"""A server's status: what it says of itself in several answers, put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, TypeVar

from dermserve_client import (
    Client,
    DermServeError,
    Health,
    Metrics,
    ModelList,
    Refused,
    RetrainStatus,
    ServiceInfo,
)
from dermserve_client.traffic import Window, whole_window, window_between

Answer = TypeVar("Answer")

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class ServerStatus:
    """What could be learned; a part that the server refuses is None, and `problems` says why."""

    url: str
    health: Health
    service: ServiceInfo | None
    metrics: Metrics | None
    models: ModelList | None
    training: RetrainStatus | None
    problems: dict[str, str] = field(default_factory=dict)
    """Sentences, by part."""
    recent: Window | None = None
    """Since the reading before this one."""

    @property
    def ready(self) -> bool:
        """Whether it answers predictions."""
        return self.health.status == "ok"

    def since(self, earlier: ServerStatus | None) -> ServerStatus:
        """The same, with what happened since an earlier reading."""
        if earlier is None or earlier.metrics is None or self.metrics is None:
            return self
        if self.metrics.time <= earlier.metrics.time:
            return self
        window = window_between(earlier.metrics, self.metrics)
        return ServerStatus(**{**self.__dict__, "recent": window})

    def document(self) -> dict[str, Any]:
        """For programs: times in seconds, counts since the replicas started."""
        return {
            "time": datetime.now(timezone.utc).isoformat(),
            "url": self.url,
            "ready": self.ready,
            "version": self.service and self.service.version,
            "health": self.health.model_dump(mode="json"),
            "replicas": self.metrics
            and {name: each.model_dump() for name, each in self.metrics.replicas.items()},
            "stages": self.metrics
            and {name: each.model_dump() for name, each in self.metrics.stages.items()},
            "requests": self.metrics and self.metrics.requests,
            "latency_s": self.metrics and quantiles(whole_window(self.metrics)),
            "recent": self.recent
            and {
                "seconds": self.recent.seconds,
                "requests": self.recent.requests,
                "requests_per_s": self.recent.rate,
                "latency_s": quantiles(self.recent),
            },
            "champion": self.models and self.models.champion,
            "versions": self.models
            and [each.model_dump(mode="json") for each in self.models.models],
            "training": self.training and self.training.model_dump(mode="json"),
            "problems": self.problems,
        }


def quantiles(window: Window) -> dict[str, float | None]:
    """Seconds within which half, 95 and 99 of 100 requests were answered."""
    return {name: window.quantile(share) for name, share in QUANTILES.items()}


def read_status(client: Client, url: str) -> ServerStatus:
    """Ask a server for everything.

    Raises:
        DermServeError: if it does not even say how it is.
    """
    problems: dict[str, str] = {}

    def part(name: str, ask: Callable[[], Answer]) -> Answer | None:
        try:
            return ask()
        except DermServeError as error:
            problems[name] = error.message if isinstance(error, Refused) else str(error)
            return None

    return ServerStatus(
        url=url,
        health=client.health(),
        service=part("server", client.service_info),
        metrics=part("traffic", client.metrics),
        models=part("models", client.models),
        training=part("training", client.retrain_status),
        problems=problems,
    )
