"""The chain in one replica: ingress, preprocessor and classifier for one small machine.

The same stages as in their own replicas, without what lies between those: no message is packed,
and one pool of threads, one for each core, decodes and infers. It runs in pieces of a few images
of either, so that the two do not push each other's code and data out of a core's cache.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ray.serve.handle import DeploymentHandle

from serve_app.classification import Classification
from serve_app.classifier import Classifier
from serve_app.ingress import Ingress
from serve_app.message import Message
from serve_app.niceness import give_way
from serve_app.preprocessing import Preprocessor
from serve_app.settings import ServeSettings


class Colocated(Ingress):
    """One replica: an ingress with the stages behind it.

    Args:
        explainer: handle of the stage beside the chain.
        archive: handle of what keeps uploads.
        settings: of the application.
    """

    def __init__(
        self,
        explainer: DeploymentHandle[Any],
        archive: DeploymentHandle[Any],
        settings: ServeSettings,
    ) -> None:
        pool = ThreadPoolExecutor(settings.effective_threads, "compute", initializer=give_way)
        self._classifier = Classifier(settings, pool)
        self._preprocessor = Preprocessor(self._classifier, settings, pool)
        super().__init__(self._preprocessor, explainer, archive, settings)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """See `Classifier.reconfigure`."""
        await self._classifier.reconfigure(user_config)

    async def receive(self, message: Message) -> list[Classification | Exception] | str:
        """See `Preprocessor.receive`; for the archive."""
        return await self._preprocessor.receive(message)

    async def status(self) -> dict[str, Any]:
        """See `Classifier.status`."""
        return await self._classifier.status()

    async def check_health(self) -> None:
        """See `Classifier.check_health`."""
        await self._classifier.check_health()
