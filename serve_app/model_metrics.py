"""What a replica tells Prometheus of its models: which it holds, and whether one did not load."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.serve.metrics import Gauge

from serve_app.generation import Generation, version_of
from serve_app.refresher import Refresher

# Ray means a tuple of any length and says of one.
_VERSION_AND_ROLE: Any = ("version", "role")


class ModelMetrics:
    """The metrics of one replica's models.

    Args:
        read: what is in place now.
    """

    def __init__(self, read: Callable[[], Generation]) -> None:
        self._read = read
        self._held = Gauge(
            "dermserve_model_held",
            "1 for each model in the replica: the one that answers (role serving) and the one "
            "that is kept warm beside it (standby).",
            tag_keys=_VERSION_AND_ROLE,
        )
        self._failed = Gauge(
            "dermserve_model_load_failed",
            "1 if the replica could not load the model that its configuration names, else 0.",
        )
        self._refresher = Refresher(self.tell)

    def start(self) -> None:
        """Begin to tell, if that has not begun; on the event loop."""
        self._refresher.start()

    def tell(self) -> None:
        """Tell once. A model that is not told of again is gone for Prometheus within 20 s."""
        generation = self._read()
        for role, model in (("serving", generation.serving), ("standby", generation.standby)):
            version = version_of(model)
            if version is not None:
                self._held.set(1, {"version": version, "role": role})
        self._failed.set(generation.load_error is not None)
