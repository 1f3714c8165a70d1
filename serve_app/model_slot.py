"""The slot that a replica's models stand in: what is wished for is loaded beside and swapped in."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from models.configuration import validate
from models.errors import (
    DermServeError,
    InvalidConfiguration,
    InvalidPackage,
    ModelUnavailable,
    NotFound,
)
from models.package import MANIFEST_FILE, ModelPackage, sha256_of
from models.registered_version import CHAMPION, is_version_name
from models.registry_process import resolve
from serve_app.classifier_config import ClassifierConfig
from serve_app.generation import Generation
from serve_app.loaded_model import LoadedModel
from serve_app.niceness import give_way

logger = logging.getLogger("ray.serve")

# `/health` answers everybody, so it names no folder and repeats no library's words.
_PROBLEMS: dict[type[DermServeError], str] = {
    NotFound: "the model registry has no such version",
    InvalidPackage: "its package is not there, is altered or damaged, or fails its self-test",
    ModelUnavailable: "the model registry does not answer",
}


class ModelSlot:
    """The model that serves and the one kept warm beside it.

    Belongs to one event loop; every method runs on it. Packages are verified, loaded and freed
    on one thread, one after the other, so that the loop never waits for any of it.

    Args:
        load: makes a model of a verified package; called on that thread.
        changed: called whenever `generation` was replaced.
    """

    def __init__(
        self, load: Callable[[ModelPackage], LoadedModel], changed: Callable[[], None]
    ) -> None:
        self.generation = Generation()
        """What is in place now. May be read from any thread."""
        self.decided = asyncio.Event()
        """Set once the first model is in place, or could not be loaded."""
        self._load = load
        self._changed = changed
        self._wish: asyncio.Task[None] | None = None
        # An engine's own threads are as nice as this one for the rest of their life.
        self._thread = ThreadPoolExecutor(1, "load", initializer=give_way)

    def wish(self, user_config: object) -> None:
        """Set out for what a configuration names, and give up what was wished for before.

        Models that are loaded already are used again, so that the serving one and the standby
        change places without loading. Where a model cannot be loaded, the one before it goes
        on serving; a standby has no substitute. `generation` says why.

        Args:
            user_config: fields of `ClassifierConfig`, or anything else.
        """
        if self._wish is not None:
            self._wish.cancel()
        # In no caller's context: a load belongs to no request.
        self._wish = contextvars.Context().run(asyncio.create_task, self._fulfil(user_config))

    def drop_standby(self, reason: str) -> None:
        """Free a standby that turned out not to work."""
        self._place(replace(self.generation, standby=None, standby_error=reason))

    async def close(self) -> None:
        """Give up the wish and free the models."""
        if self._wish is not None:
            self._wish.cancel()
            await asyncio.wait([self._wish])
        self._replace(Generation())
        self._thread.shutdown(wait=False)

    async def _fulfil(self, user_config: object) -> None:
        try:
            config = validate(user_config, ClassifierConfig, "The user_config of the classifier")
        except InvalidConfiguration as error:
            logger.error("The models stay as they are: %s", error.message)
            self._place(replace(self.generation, load_error=error.message))
            return
        before = (self.generation.serving, self.generation.standby)
        held = {model.package_hash: model for model in before if model is not None}
        del before
        try:
            serving, load_error = await self._attempt(config.model, held)
            self._place(
                Generation(
                    number=config.generation,
                    shadow_share=config.shadow_share,
                    serving=serving or self.generation.serving,
                    load_error=load_error,
                )
            )
            if config.standby is not None:
                standby, standby_error = await self._attempt(config.standby, held, no_other=True)
                self._place(replace(self.generation, standby=standby, standby_error=standby_error))
        finally:
            self._thread.submit(held.clear)

    async def _attempt(
        self, name: str, held: dict[str, LoadedModel], *, no_other: bool = False
    ) -> tuple[LoadedModel | None, str | None]:
        """The model that a name stands for, or why there is none."""
        started = time.perf_counter()
        try:
            model = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._obtain, name, held, no_other
            )
        except DermServeError as error:
            logger.error("Model %s was not loaded: %s", name, error.message)
            return None, _told(name, error)
        except Exception as error:
            logger.exception("Model %s was not loaded", name)
            return None, _told(name, error)
        logger.info(
            "Model %s is loaded and tested after %.2f s: %s",
            model.served.version,
            time.perf_counter() - started,
            model.engine.info,
        )
        return model, None

    def _obtain(self, name: str, held: dict[str, LoadedModel], no_other: bool) -> LoadedModel:
        """Find a model among those held, or load it; on the thread.

        Args:
            name: that the registry resolves.
            held: models in memory by the hash of their package; this one is added.
            no_other: take all others out of `held` before anything is loaded.
        """
        folder = resolve(name)
        package_hash = sha256_of(folder / MANIFEST_FILE)
        if no_other:
            for other in held.keys() - {package_hash}:
                del held[other]
        if package_hash not in held:
            held[package_hash] = self._load(ModelPackage.load(folder))
        return held[package_hash]

    def _place(self, generation: Generation) -> None:
        self._replace(generation)
        self.decided.set()
        self._changed()

    def _replace(self, generation: Generation) -> None:
        replaced, self.generation = [self.generation], generation
        self._thread.submit(replaced.clear)  # it takes 20 ms to free an engine


def _told(name: str, error: Exception) -> str:
    """Why a model was not loaded, for everybody; the log has the rest."""
    model = f"Model {name}" if name == CHAMPION or is_version_name(name) else "The model"
    problems = [text for kind, text in _PROBLEMS.items() if isinstance(error, kind)]
    return (
        f"{model} was not loaded: {problems[0] if problems else 'its load failed'}. The log of the "
        "classifier says more, and `dermserve models list` which versions there are."
    )
