"""The protocol's operations over the chain and the registry, whichever transport asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from models.errors import (
    AlreadyChampion,
    DeadlineExceeded,
    DermServeError,
    InvalidField,
    NotFound,
)
from serve_app.message import Image
from serve_app.models_api import is_served
from serve_app.open_inference.inference import (
    InferenceAnswer,
    InferenceRequest,
    priority_of,
    timeout_of,
)
from serve_app.open_inference.metadata import MODEL, model_config, model_metadata
from serve_app.open_inference.outputs import Prediction, requested, tensors
from serve_app.open_inference.tensors import read_images
from serve_app.service import Service, ready_health
from serve_app.settings import ServeSettings
from serve_app.trainer_client import TrainerClient

_INLINE_BYTES = 1024 * 1024
"""Of a request that is read at once; a larger one would hold up the event loop."""

_Result = TypeVar("_Result")


class ModelNeeded(DermServeError):
    """The server was asked to go on without its model."""

    status, code = 409, "model_needed"


class OpenInference:
    """What REST and gRPC offer in the forms of the protocol. Has no state: each makes its own.

    Every method that takes a `model` and a `version` raises `NotFound` unless that model is ours
    and that version serves; an empty version stands for the one that does. All raise
    `ModelUnavailable` or `StageUnavailable` while no model serves.

    Args:
        service: predicts.
        trainer: knows the registry and rolls versions out.
        settings: limits of a request.
    """

    def __init__(self, service: Service, trainer: TrainerClient, settings: ServeSettings) -> None:
        self._service = service
        self._trainer = trainer
        self._settings = settings

    async def is_ready(self) -> bool:
        """Whether a model is loaded, warmed up and self-tested."""
        health = await self._service.health()
        return bool(health["status"] == "ok")

    async def require(self, model: str, version: str) -> dict[str, Any]:
        """The health of the server, if this version of this model serves."""
        require_model(model)
        health = await ready_health(self._service)
        _require_version(version, health["model"]["version"])
        return health

    async def metadata(self, model: str, version: str) -> dict[str, Any]:
        """Versions, inputs and outputs."""
        health = await self.require(model, version)
        return model_metadata(health["model"]["version"], health["engine"]["name"])

    async def config(self, model: str, version: str) -> dict[str, Any]:
        """Triton's model configuration."""
        health = await self.require(model, version)
        return model_config(health["engine"]["name"], self._settings.max_files)

    async def statistics(self, model: str, version: str) -> dict[str, Any]:
        """What the ingress replica that is asked has answered since it began.

        Args:
            model: empty stands for all models, which are one.
            version: empty stands for all that have answered.
        """
        health = await self.require(model or MODEL, version)
        return self._service.statistics.report(health["model"]["version"], version)

    async def infer(self, request: InferenceRequest, request_id: str) -> InferenceAnswer:
        """Classify the images of a request.

        Args:
            request: whose version is compared to the one that has answered.
            request_id: of the predictions inside the output `PREDICTION`.

        Raises:
            DermServeError: what is wrong with the request; or with one of its images, which then
                has no answer for the others either: the protocol has no error of an element.
        """
        require_model(request.model)
        wanted = requested(request.parameters, request.outputs)
        timeout_s = timeout_of(request.parameters)
        images: list[Image] = await aside(
            request.size_bytes, read_images, request.inputs, self._settings.max_files
        )
        results = await self._service.classify(
            images,
            request_id,
            priority=priority_of(request.parameters, len(images)),
            timeout_s=timeout_s,
        )
        answers = [_answer(result, index, len(results)) for index, result in enumerate(results)]
        versions = list(dict.fromkeys(answer["model_version"] for answer in answers))
        for version in versions:
            _require_version(request.version, version)
        return InferenceAnswer(
            request.model, ",".join(versions), request.id, tensors(answers, wanted)
        )

    async def index(self, ready: bool) -> list[dict[str, str]]:
        """The versions in the registry.

        Args:
            ready: only those that serve.
        """
        health = await self._service.health()
        served = health["model"]["version"] if health["status"] == "ok" else None
        known = await self._trainer.ask("models")
        entries = [_entry(each["version"], served) for each in known["models"]]
        return [entry for entry in entries if entry["state"] == "READY" or not ready]

    async def load(self, model: str, parameters: dict[str, Any], actor: str) -> None:
        """Let a version serve instead of the one that does; see `POST /models/{v}/promote`.

        Args:
            model: the only one.
            parameters: `version` names the version, and there is no other.
            actor: for the audit log.

        Raises:
            InvalidField: if there is no `version`, or anything else.
            RolloutFailed: if a replica could not take it over.
            DeadlineExceeded: if not all have within some seconds; they go on.
        """
        require_model(model)
        version = parameters.get("version")
        if len(parameters) != 1 or not isinstance(version, str) or not version:
            raise InvalidField(
                "parameters: name a version of the registry as `version` and nothing else. "
                "POST /v2/repository/index lists them."
            )
        try:
            rollout = await self._trainer.ask("promote", version, actor, False)
        except AlreadyChampion:
            return
        if not is_served(rollout):
            raise DeadlineExceeded(
                f"Version {version} is on its way, and not every replica serves it yet. "
                "GET /v2/models/dermserve tells which version does."
            )

    def unload(self, model: str) -> None:
        """Refuse: there is no server without a model.

        Raises:
            ModelNeeded: always.
        """
        require_model(model)
        raise ModelNeeded(
            f"The server needs its model {MODEL}. Load another version to replace it, or stop "
            "the server."
        )


async def aside(
    size_bytes: int, function: Callable[..., _Result], *arguments: Any, **named: Any
) -> _Result:
    """Call a function that reads a request: in a thread, if that has over a megabyte."""
    if size_bytes <= _INLINE_BYTES:
        return function(*arguments, **named)
    return await asyncio.to_thread(function, *arguments, **named)


def require_model(model: str) -> None:
    """Raise `NotFound` unless there is such a model."""
    if model != MODEL:
        raise NotFound(f"There is no model {model!r:.50}. The only one is {MODEL}.")


def _require_version(version: str, served: str) -> None:
    if version not in ("", served):
        raise NotFound(
            f"Version {version!r:.50} does not serve; {served} does. Leave the version out, or "
            "promote it."
        )


def _answer(result: Prediction | DermServeError, index: int, count: int) -> Prediction:
    if not isinstance(result, DermServeError):
        return result
    if count == 1:
        raise result
    raise type(result)(f"Image {index} of {count}, counted from 0: {result.message}")


def _entry(version: str, served: str | None) -> dict[str, str]:
    if version == served:
        return {"name": MODEL, "version": version, "state": "READY", "reason": ""}
    reason = "not loaded: the server holds one version"
    return {"name": MODEL, "version": version, "state": "UNAVAILABLE", "reason": reason}
