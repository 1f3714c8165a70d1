"""The observer: tells Prometheus, every few seconds, how learning does; for the trainer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

from ray.serve.metrics import Gauge

from data.catalogue.database import Database
from data.catalogue.learning_summary import summarise_learning
from data.catalogue.uploads import Uploads
from models.errors import DermServeError
from models.registry import Registry
from training.retraining.readings import METRICS, Reading, of_champion, of_learning, of_uploads
from training.settings import RetrainSettings

logger = logging.getLogger("ray.serve")

PERIOD_S = 5.0
"""Between two looks. Ray's agents forget a gauge that was not set for 20 s."""


class Observer:
    """Looks at catalogue and registry; from one thread, because all of it blocks.

    What cannot be reached is told as `dermserve_dependency_up` of 0, and its numbers are not
    told at all: an old one would look like a new one.

    Args:
        database: the catalogue.
        registry: of the models.
        settings: of the retraining.
        stopped: set when the trainer shuts down.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        settings: RetrainSettings,
        stopped: threading.Event,
    ) -> None:
        self._database = database
        self._uploads = Uploads(database)
        self._registry = registry
        self._settings = settings
        self._stopped = stopped
        self._problems: dict[str, str | None] = {}
        self._gauges: dict[str, Any] = {
            # Ray means a tuple of any length and says of one.
            name: Gauge(name, description, tag_keys=tags)  # type: ignore[arg-type]
            for name, (description, tags) in METRICS.items()
        }

    def run(self) -> None:
        """Tell again and again, until the trainer stops."""
        while not self._stopped.is_set():
            try:
                for reading in self.look():
                    self._gauges[reading.name].set(reading.value, reading.tags)
            except Exception:
                logger.exception("The observer looks again in %.0f s", PERIOD_S)
            self._stopped.wait(PERIOD_S)

    def look(self) -> Iterator[Reading]:
        """One look at both, told as it goes: one that is away may take its time to say so."""
        yield from self._reached_by("catalogue", self._catalogue)
        yield from self._reached_by("registry", lambda: of_champion(self._registry.champion()))

    def _catalogue(self) -> Iterator[Reading]:
        yield from of_uploads(self._uploads.counts(), self._settings)
        yield from of_learning(summarise_learning(self._database))

    def _reached_by(
        self, dependency: str, read: Callable[[], Iterator[Reading]]
    ) -> Iterator[Reading]:
        """What a dependency says, and whether it said anything."""
        try:
            readings, problem = list(read()), None
        except DermServeError as error:
            readings, problem = [], error.message
        if problem is not None and self._problems.get(dependency) is None:
            logger.error("The %s does not answer the trainer: %s", dependency, problem)
        self._problems[dependency] = problem
        yield Reading("dermserve_dependency_up", problem is None, {"dependency": dependency})
        yield from readings
