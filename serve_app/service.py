"""What the routes need: the chain behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from models.errors import DermServeError, ModelUnavailable, StageUnavailable
from serve_app.explanation import ExplainedImage
from serve_app.message import Image
from serve_app.open_inference.statistics import Statistics
from serve_app.work import Priority


class Service(Protocol):
    """What the routes need: the chain behind them."""

    statistics: Statistics

    async def predict(
        self, image: bytes, request_id: str, *, priority: Priority, timeout_s: float | None
    ) -> dict[str, Any]:
        """The wire form of one image's answer; raises its error."""
        ...

    async def classify(
        self,
        images: Sequence[Image],
        request_id: str,
        *,
        priority: Priority,
        timeout_s: float | None,
    ) -> list[dict[str, Any] | DermServeError]:
        """The wire form of an answer, or an error, for each image in order."""
        ...

    def check_room(self, priority: Priority) -> None:
        """Raises `Overloaded` if not even one more image would find room."""
        ...

    async def explain(self, image: bytes, explained_class: str | None) -> ExplainedImage:
        """The overlay of one image; raises its error."""
        ...

    async def health(self) -> dict[str, Any]:
        """The wire form of `schemas.Health`."""
        ...


async def ready_health(service: Service) -> dict[str, Any]:
    """The wire form of `schemas.Health` of a service that can answer predictions.

    Raises:
        StageUnavailable: if the chain does not answer.
        ModelUnavailable: if it has no model.
    """
    health = await service.health()
    if health["status"] == "unreachable":
        raise StageUnavailable(health["reason"])
    if health["status"] != "ok":
        raise ModelUnavailable(health["reason"])
    return health
