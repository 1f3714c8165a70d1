"""The explainer: Grad-CAM overlays by one replica beside the chain, which never waits for it."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from models.configuration import validate
from models.errors import DermServeError, InvalidPackage, ModelUnavailable, Overloaded
from models.log_records import write_log_records
from models.package import MANIFEST_FILE, WEIGHTS_FILE, ModelPackage, sha256_of
from models.preprocessing import decode_image
from models.registry_process import resolve
from serve_app.classifier_config import ClassifierConfig
from serve_app.explanation import ExplainedImage, ExplanationRequest
from serve_app.niceness import step_back
from serve_app.settings import ServeSettings

if TYPE_CHECKING:
    from models.architecture import LesionClassifier

logger = logging.getLogger("ray.serve")

MAX_EXPLANATIONS = 16
"""In progress in one replica before it answers 503. One takes a fraction of a second, so that
the last of them is done long before its deadline."""


@dataclass(frozen=True)
class _Loaded:
    """A model ready to explain."""

    wish: dict[str, Any]
    """The configuration that it was loaded for."""
    package_hash: str
    network: LesionClassifier
    version: str


class Explainer:
    """One replica: one network in torch, loaded by the first request, and one thread for it.

    Args:
        settings: of the application.
    """

    def __init__(self, settings: ServeSettings) -> None:
        write_log_records()
        self._limits = settings.image_limits
        self._wish: dict[str, Any] = {"model": "champion"}
        self._loaded: _Loaded | None = None
        self._in_progress = 0
        # One, because the network carries one explanation at a time; it alone loads models too.
        self._pool = ThreadPoolExecutor(1, "explain", initializer=step_back)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Note the model that the configuration names, for the next request to load.

        It never raises, for the reason that `Classifier.reconfigure` gives.
        """
        self._wish = user_config

    async def explain(
        self, requests: list[ExplanationRequest]
    ) -> list[ExplainedImage | DermServeError]:
        """Explain images, one after the other.

        Returns:
            One result per request, in order: an overlay; the error of `decode_image`;
            `Overloaded` where too many are in progress; `ModelUnavailable` where the model
            cannot be loaded or does not answer.
        """
        if self._in_progress + len(requests) > MAX_EXPLANATIONS:
            full = Overloaded(
                f"{self._in_progress} explanations are in progress, which is all the server "
                "takes. Send the request again in a second."
            )
            return [full] * len(requests)
        self._in_progress += len(requests)
        loop = asyncio.get_running_loop()
        try:
            # A caller that is cancelled takes what has not begun out of the pool's queue.
            return [
                # In a context of its own, so that its log lines say whose request it is.
                await loop.run_in_executor(self._pool, copy_context().run, self._explain, request)
                for request in requests
            ]
        finally:
            self._in_progress -= len(requests)

    def _explain(self, request: ExplanationRequest) -> ExplainedImage | DermServeError:
        """Everything that takes time, on the one thread."""
        try:
            # First, so that no model is loaded for an image that is none.
            pixels = decode_image(request.image, self._limits)
            loaded = self._current()
            from models.explanation import explain, overlay

            explanation = explain(loaded.network, pixels, request.explained_class)
        except InvalidPackage as error:
            return ModelUnavailable(f"The model cannot explain. {error.message}")
        except DermServeError as error:
            return error
        return ExplainedImage(
            png=overlay(pixels, explanation.heat),
            model_version=loaded.version,
            predicted_class=explanation.predicted_class,
            explained_class=explanation.explained_class,
        )

    def _current(self) -> _Loaded:
        """The model that is wished for, loaded now if it is not yet.

        Where it cannot be loaded, the one before goes on explaining as it goes on predicting.

        Raises:
            ModelUnavailable: if there is none before it. The next request tries again.
        """
        wish, loaded = self._wish, self._loaded
        if loaded is not None and loaded.wish is wish:
            return loaded
        try:
            self._loaded = _load(wish, loaded)
        except Exception as error:
            logger.exception("The model to explain with was not loaded")
            if loaded is None:
                reason = "The server's log says why."
                if isinstance(error, DermServeError):
                    reason = error.message
                raise ModelUnavailable(f"No model is loaded to explain with. {reason}") from error
            self._loaded = replace(loaded, wish=wish)  # tried once, as the classifier does
        else:
            logger.info("Model %s is loaded to explain with", self._loaded.version)
        return self._loaded


def _load(wish: dict[str, Any], before: _Loaded | None) -> _Loaded:
    """The model of a configuration: the one before, if that is what it names again."""
    config = validate(wish, ClassifierConfig, "The user_config of the explainer")
    folder = resolve(config.model)
    package_hash = sha256_of(folder / MANIFEST_FILE)
    if before is not None and before.package_hash == package_hash:
        return replace(before, wish=wish)
    package = ModelPackage.load(folder)
    # Here, because torch takes seconds and memory that a server without explanations saves.
    import torch

    from models.architecture import load_classifier

    torch.set_num_threads(1)
    network = load_classifier(package.file(WEIGHTS_FILE))
    return _Loaded(wish, package_hash, network, package.manifest.version)
