"""The observer: tells Prometheus how learning does; the trainer has it look every few seconds."""

from __future__ import annotations

import logging
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


class Observer:
    """Looks at the catalogue and at the registry, each for itself: one that hangs hides no other.

    Both block; call each from a thread of its own. What cannot be reached is told as
    `dermserve_dependency_up` of 0, and its numbers are not told at all: an old one would look like
    a new one.

    Args:
        database: the catalogue.
        registry: of the models.
        settings: of the retraining.
    """

    def __init__(self, database: Database, registry: Registry, settings: RetrainSettings) -> None:
        self._database = database
        self._uploads = Uploads(database)
        self._registry = registry
        self._settings = settings
        self._problems: dict[str, str | None] = {}
        self._gauges: dict[str, Any] = {
            # Ray means a tuple of any length and says of one.
            name: Gauge(name, description, tag_keys=tags)  # type: ignore[arg-type]
            for name, (description, tags) in METRICS.items()
        }

    def tell_catalogue(self) -> None:
        """Tell what the catalogue says of uploads, runs and rollouts."""
        self._tell("catalogue", self._catalogue)

    def tell_registry(self) -> None:
        """Tell what the registry says of the champion."""
        self._tell("registry", lambda: of_champion(self._registry.champion()))

    def _catalogue(self) -> Iterator[Reading]:
        yield from of_uploads(self._uploads.counts(), self._settings)
        yield from of_learning(summarise_learning(self._database))

    def _tell(self, dependency: str, read: Callable[[], Iterator[Reading]]) -> None:
        """What a dependency says, and whether it said anything."""
        try:
            readings, problem = list(read()), None
        except DermServeError as error:
            readings, problem = [], error.message
        if problem is not None and self._problems.get(dependency) is None:
            logger.error("The %s does not answer the trainer: %s", dependency, problem)
        self._problems[dependency] = problem
        up = Reading("dermserve_dependency_up", problem is None, {"dependency": dependency})
        for reading in (up, *readings):
            self._gauges[reading.name].set(reading.value, reading.tags)
