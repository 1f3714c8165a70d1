"""The Serve configuration as it runs: read whole, changed in a few fields, put back whole.

Serve has one declarative configuration for all applications, and an application that a PUT leaves
out is deleted. The trainer writes it for a rollout, and `dermserve deploy` for a person. There is
no compare-and-swap: what one writes between the other's reading and writing is lost.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from models.errors import DermServeError
from models.registered_version import CHAMPION

APPLICATION = "dermserve"
CLASSIFIER = "classifier"

_SERVING = ("RUNNING", "UPDATING")
_FOLLOWED = ("proxy_location", "http_options", "grpc_options", "target_capacity")


REQUEST_TIMEOUT_S = 20.0
"""Longest wait for one answer of the dashboard."""


class ServeUnreachable(DermServeError):
    """Ray's dashboard, which takes Serve's configuration, does not answer; it may be starting."""

    status, code, retry_after_s = 503, "serve_unreachable", 5


class ServeRefused(DermServeError):
    """Serve does not take a configuration; sending it again would not help."""

    status, code = 409, "serve_refused"


@dataclass(frozen=True)
class ServedModels:
    """Which models the replicas are to hold: the fields of a `user_config` that a rollout sets."""

    generation: int
    """Number that the replicas report once they have done it."""
    standby: str | None = None
    """Version kept warm beside the champion."""
    shadow_share: float = 0.0
    """Share of live images that the standby scores too, in 0..1."""


@dataclass(frozen=True)
class RunningConfig:
    """What Serve was told, and what runs of it."""

    document: dict[str, Any]
    """As `serve deploy` takes it, with every declarative application."""
    replicas: frozenset[str]
    """Ids of the classifier's replicas that take requests."""

    @property
    def pinned(self) -> str | None:
        """The version or folder that the configuration names instead of the champion."""
        model = (_entry(self.document, CLASSIFIER).get("user_config") or {}).get("model", CHAMPION)
        return None if model == CHAMPION else str(model)

    @property
    def min_replicas(self) -> int | None:
        """Of the classifier; None where it is not scaled automatically."""
        block = _entry(self.document, CLASSIFIER).get("autoscaling_config")
        return None if block is None else int(block.get("min_replicas") or 1)

    def serving(self, models: ServedModels, min_replicas: int | None) -> dict[str, Any]:
        """The document in which replicas hold these models.

        Only numbers inside an existing `autoscaling_config` change: a block that appears or
        disappears would restart the application.

        Args:
            models: for the classifier; whatever else names a model is told the generation, so
                that it looks at the registry again.
            min_replicas: of the classifier; None leaves it.
        """
        document = copy.deepcopy(self.document)
        classifier = _entry(document, CLASSIFIER, create=True)
        classifier["user_config"] = {
            "model": CHAMPION,
            **(classifier.get("user_config") or {}),
            "standby": models.standby,
            "shadow_share": models.shadow_share,
        }
        for deployment in _application(document)["deployments"]:
            if "model" in (deployment.get("user_config") or {}):
                deployment["user_config"]["generation"] = models.generation
        block = classifier.get("autoscaling_config")
        if block is not None and min_replicas is not None:
            block["min_replicas"] = min(min_replicas, int(block.get("max_replicas") or 1))
        return document


class ServeConfig:
    """Serve's REST API on Ray's dashboard, as `serve deploy` uses it.

    Args:
        address: of the dashboard; None asks the Ray cluster that this process belongs to.
    """

    def __init__(self, address: str | None = None) -> None:
        self._address = address

    def details(self) -> dict[str, Any]:
        """What Serve tells of itself; of applications none, where it has not been started.

        Raises:
            ServeUnreachable: if the dashboard does not answer.
        """
        with _reaching():
            found: dict[str, Any] = self._client().get_serve_details()
        return found

    def read(self) -> RunningConfig:
        """Raises: ServeUnreachable: if the dashboard does not answer."""
        details = self.details()
        applications = details.get("applications", {})
        document: dict[str, Any] = {
            name: details[name] for name in _FOLLOWED if details.get(name) is not None
        }
        document["applications"] = [
            application["deployed_app_config"]
            for application in applications.values()
            if application.get("source") == "declarative" and application["deployed_app_config"]
        ]
        deployments = applications.get(APPLICATION, {}).get("deployments", {})
        replicas = deployments.get(CLASSIFIER, {}).get("replicas", [])
        if not any(each["name"] == APPLICATION for each in document["applications"]):
            raise ServeUnreachable(
                f"The application {APPLICATION} is not deployed, so no model can be rolled out. "
                "Deploy serve_config.yaml."
            )
        return RunningConfig(
            document,
            frozenset(each["replica_id"] for each in replicas if each["state"] in _SERVING),
        )

    def write(self, document: dict[str, Any]) -> None:
        """Put a configuration; Serve works towards it from then on.

        Raises:
            ServeUnreachable: if the dashboard does not answer.
            ServeRefused: if it does not take it.
        """
        with _reaching():
            self._client().deploy_applications(document)

    def _client(self) -> Any:
        from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

        class Client(ServeSubmissionClient):
            """Ray's, which would wait for ever for a dashboard that hangs."""

            def _do_request(self, *args: Any, **options: Any) -> Any:
                return super()._do_request(*args, timeout=REQUEST_TIMEOUT_S, **options)

        return Client(self._address or _dashboard_address())


def _application(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(
        each for each in document["applications"] if each["name"] == APPLICATION
    )
    return found


def _entry(document: dict[str, Any], deployment: str, *, create: bool = False) -> dict[str, Any]:
    """What the configuration says of a deployment; an empty entry if it says nothing."""
    application = _application(document)
    for each in application.get("deployments") or []:
        if each["name"] == deployment:
            found: dict[str, Any] = each
            return found
    entry: dict[str, Any] = {"name": deployment}
    if create:
        application["deployments"] = [*(application.get("deployments") or []), entry]
    return entry


def _dashboard_address() -> str:
    import ray
    from ray.dashboard.utils import ray_address_to_api_server_url

    return str(ray_address_to_api_server_url(ray.get_runtime_context().gcs_address))


@contextmanager
def _reaching() -> Iterator[None]:
    """Turn what the client raises, which is whatever it likes, into one sentence."""
    try:
        yield
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        if "status code 400" in reason:
            raise ServeRefused(
                f"Serve refuses the configuration: {reason}. Deploy serve_config.yaml anew."
            ) from error
        raise ServeUnreachable(
            f"Serve's configuration cannot be read or changed: {reason}. See whether Ray's "
            "dashboard runs on the head node."
        ) from error
