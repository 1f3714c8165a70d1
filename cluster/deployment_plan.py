"""A deployment plan: what a Serve configuration would change on a running server.

Made from the file and from what runs, and sends nothing. The file says what is wanted; four things
in what runs belong to somebody else, and are taken over into what is sent:

- which versions replicas hold, and the number of the rollout that said so: the trainer's, who waits
  for replicas to report that number and takes a version back if they do not;
- `min_replicas` of the classifier while a new version is watched: the trainer's too;
- the addresses that Serve listens on, which it changes only when it starts;
- the GPU that `dermserve up` gives to the classifier where there is one.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cluster.exit_code import CommandFailed, ExitCode, usage_error
from models.configuration import NoServeConfiguration, read_serve_config, validate
from models.registered_version import CHAMPION
from serve_app.classifier_config import ClassifierConfig
from serve_app.settings import ServeSettings
from training.promotion.serve_config import APPLICATION, CLASSIFIER

_TRAINERS = ("standby", "shadow_share", "generation")
_FIXED = ("http_options", "grpc_options")
# What is in these is ours or Ray's to judge, and no fields of Serve's.
_FREE = {"args", "user_config", "runtime_env", "env_vars", "ray_actor_options", "resources"}


@dataclass(frozen=True)
class DeploymentPlan:
    """What is to be sent, and what a reader should know of it first."""

    document: dict[str, Any]
    """As `serve deploy` would send it."""
    notes: tuple[str, ...]
    """Sentences on what of the file is not taken, and why."""
    added: tuple[str, ...]
    removed: tuple[str, ...]
    """Applications that run and are not in the file; Serve ends them."""

    @property
    def applications(self) -> list[str]:
        """Names of those in the file."""
        return [each["name"] for each in self.document["applications"]]


def read_deployment(path: Path) -> dict[str, Any]:
    """Read a Serve configuration and hold it against Serve's schema and our own.

    Raises:
        InvalidConfiguration, CommandFailed: with a sentence on what is wrong, before anything is
            sent. Serve itself passes over a field that it does not know.
    """
    from ray.serve.config import AutoscalingConfig
    from ray.serve.schema import ServeDeploySchema

    try:
        document = read_serve_config(path)
    except NoServeConfiguration as error:
        raise usage_error(error.message) from error
    try:
        with warnings.catch_warnings():  # of what Ray will do without some day
            warnings.simplefilter("ignore", DeprecationWarning)
            known = ServeDeploySchema.model_validate(copy.deepcopy(document))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
        )
        raise usage_error(f"{path} is no valid Serve configuration. {problems}.") from error
    unknown = _unknown(document, known.model_dump(mode="json", exclude_unset=True))
    for application in document["applications"]:
        for deployment in application.get("deployments") or []:
            block = deployment.get("autoscaling_config")
            if isinstance(block, dict):
                names = block.keys() - AutoscalingConfig.model_fields.keys()
                unknown += [f"{deployment['name']}.autoscaling_config.{name}" for name in names]
    if unknown:
        raise usage_error(
            f"{path} has fields that Serve does not know and would pass over: "
            f"{', '.join(unknown)}. Correct or remove them."
        )
    for application in document["applications"]:
        if application["name"] == APPLICATION:
            validate(application.get("args") or {}, ServeSettings, f"{path}: args")
            config = _deployment(application, CLASSIFIER).get("user_config") or {}
            validate(config, ClassifierConfig, f"{path}: user_config of the classifier")
    return document


def plan_deployment(
    document: dict[str, Any], running: dict[str, Any], *, pin: bool = False
) -> DeploymentPlan:
    """Plan what to send.

    Args:
        document: from `read_deployment`.
        running: the details that Serve gives of itself (`GET /api/serve/applications/`); empty
            where it does not run yet.
        pin: whether a version in the file may replace the one that serves.

    Raises:
        CommandFailed: if the file pins the model to another version than what runs is told to
            serve. A file that was written for yesterday's model would move it back.
    """
    document, notes = copy.deepcopy(document), []
    applications = running.get("applications") or {}
    now = {
        name: each.get("deployed_app_config") or {}
        for name, each in applications.items()
        if each.get("source") == "declarative"
    }
    for application in document["applications"]:
        if application["name"] == APPLICATION and APPLICATION in now:
            _require_no_move(application, now[APPLICATION], pin)
            notes += _take_over(application, now[APPLICATION])
    if applications:
        notes += _keep_addresses(document, running)
    wanted = [each["name"] for each in document["applications"]]
    return DeploymentPlan(
        document,
        tuple(notes),
        tuple(name for name in wanted if name not in now),
        tuple(name for name in now if name not in wanted),
    )


def _require_no_move(wanted: dict[str, Any], now: dict[str, Any], pin: bool) -> None:
    model, before = _model(wanted), _model(now)
    if model in (CHAMPION, before) or pin:
        return
    serves = "the registry's champion" if before == CHAMPION else f"version {before}"
    raise CommandFailed(
        f"The file pins the model to {model}, and the server is told to serve {serves}. Write "
        f"`model: {before}`, and the version that serves goes on serving; or say --pin, if the "
        f"replicas are to change over to {model}.",
        ExitCode.REFUSED,
    )


def _take_over(wanted: dict[str, Any], now: dict[str, Any]) -> list[str]:
    notes = []
    gpus = (now.get("args") or {}).get("classifier_gpus")
    args = wanted.setdefault("args", {})
    if gpus and "classifier_gpus" not in args:
        args["classifier_gpus"] = gpus
        notes.append(
            f"The classifier keeps its {gpus:g} GPU, of which the file says nothing "
            "(args.classifier_gpus)."
        )
    model, before = _model(wanted), _model(now)
    if model == CHAMPION != before:
        notes.append(f"The pin to version {before} ends: replicas change over to the champion.")
    if model != CHAMPION or before != CHAMPION:
        return notes  # a pin, or the end of one: the trainer has nothing to wait for
    held = _deployment(now, CLASSIFIER).get("autoscaling_config") or {}
    block = _deployment(wanted, CLASSIFIER).get("autoscaling_config")
    watched = False
    for deployment in wanted.get("deployments") or []:
        config = _deployment(now, deployment["name"]).get("user_config") or {}
        written = {name: config[name] for name in _TRAINERS if name in config}
        if written and "model" in (deployment.get("user_config") or {}):
            deployment["user_config"] = {**written, **deployment["user_config"]}
            watched = watched or bool(written.get("shadow_share"))
    if watched and block is not None and held.get("min_replicas", 0) > block.get("min_replicas", 1):
        block["min_replicas"] = min(held["min_replicas"], block.get("max_replicas", 1))
        notes.append("A new version is being watched: its replicas stay until that is over.")
    return notes


def _keep_addresses(document: dict[str, Any], running: dict[str, Any]) -> list[str]:
    notes = []
    for options in _FIXED:
        wanted, now = document.get(options) or {}, running.get(options) or {}
        for name in ("host", "port"):
            if name in wanted and name in now and wanted[name] != now[name]:
                notes.append(
                    f"{options}.{name} stays {now[name]}, as the server was started, and becomes "
                    f"{wanted[name]} only when it is started anew."
                )
                wanted[name] = now[name]
    return notes


def _model(application: dict[str, Any]) -> str:
    config = _deployment(application, CLASSIFIER).get("user_config") or {}
    return str(config.get("model", CHAMPION))


def _deployment(application: dict[str, Any], name: str) -> dict[str, Any]:
    """What a configuration says of a deployment; nothing, if it says nothing."""
    deployments = application.get("deployments") or []
    found: dict[str, Any] = next((each for each in deployments if each["name"] == name), {})
    return found


def _unknown(given: Any, known: Any, path: str = "") -> list[str]:
    """Fields of a document that the schema has dropped, as `applications.0.rout_prefix`."""
    if isinstance(given, list) and isinstance(known, list):
        pairs = enumerate(zip(given, known, strict=False))
        return [name for place, (a, b) in pairs for name in _unknown(a, b, f"{path}{place}.")]
    if not isinstance(given, dict) or not isinstance(known, dict):
        return []
    found = [f"{path}{name}" for name in given if name not in known]
    for name in given.keys() & known.keys() - _FREE:
        found += _unknown(given[name], known[name], f"{path}{name}.")
    return sorted(found)
