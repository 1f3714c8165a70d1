"""The model: whether its package is whole, and is the one that the server answers with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cluster.doctor.finding import Finding, not_checked, ok, warning, wrong
from cluster.doctor.subject import Subject
from cluster.doctor.surroundings import Surroundings
from cluster.doctor.unseen import Unseen
from models.errors import DermServeError
from models.package import ModelPackage
from models.registered_package import hash_of
from models.registered_version import CHAMPION
from models.registry import Registry
from models.tracking_uri import database_file


@dataclass(frozen=True)
class ModelFacts:
    """The package that should serve, and what does."""

    wished: str
    """What the configuration names: `champion`, a version or a folder."""
    version: str | None
    """Of the package."""
    dataset_hash: str | None
    package_hash: str | None
    problem: str | None
    """Why it does not verify."""
    served: dict[str, Any] | Unseen | None
    """`model` of `/health`; None if none is loaded."""
    load_error: str | None = None
    """Why the last change of the model failed."""
    standby_error: str | None = None


def gather(surroundings: Surroundings) -> ModelFacts:
    """Verify every file of the package against its hash."""
    wished = wished_of(surroundings)
    package: ModelPackage | None = None
    problem: str | None = None
    try:
        package = package_of(surroundings, wished)
    except DermServeError as error:
        problem = error.message
    health = surroundings.health
    document = {} if isinstance(health, Unseen) else health.document
    return ModelFacts(
        wished=wished,
        version=None if package is None else package.manifest.version,
        dataset_hash=None if package is None else package.manifest.dataset_hash,
        package_hash=None if package is None else hash_of(package),
        problem=problem,
        served=health if isinstance(health, Unseen) else document.get("model"),
        load_error=document.get("load_error"),
        standby_error=document.get("standby_error"),
    )


def package_of(surroundings: Surroundings, wished: str) -> ModelPackage:
    """The verified package that a name stands for; a registry that is not there is not made.

    Raises:
        InvalidPackage: if it does not verify.
        NotFound: if there is none of that name.
        ModelUnavailable: if the registry does not answer.
    """
    with surroundings.in_place():
        registry = Registry()
        database = database_file(registry.uri)
        is_new = database is not None and not database.exists()
        if wished == CHAMPION and (is_new or not registry.versions()):
            return ModelPackage.load(registry.bundled)
        return ModelPackage.load(registry.resolve(wished))


def check(facts: ModelFacts) -> list[Finding]:
    """Judge the package, and what serves against it."""
    found = []
    if facts.problem is not None:
        found.append(
            wrong(
                facts.problem,
                "Restore the files, or promote another version: `dermserve models list`, then "
                "`dermserve models promote VERSION`.",
            )
        )
    else:
        digest = (facts.package_hash or "")[:12]
        found.append(
            ok(f"The package of {facts.version} is whole: SHA-256 {digest}..., all files verified.")
        )
    if facts.load_error:
        found.append(
            wrong(
                f"The last change of the model failed: {facts.load_error}",
                "Mend what it says, then promote the version again.",
            )
        )
    if facts.standby_error:
        found.append(
            warning(
                f"No version is kept warm: {facts.standby_error}",
                "Mend what it says; until then, a rollback takes as long as loading.",
            )
        )
    return [*found, *_served(facts)]


def _served(facts: ModelFacts) -> list[Finding]:
    if isinstance(facts.served, Unseen):
        return [not_checked(f"Which model serves is not known. {facts.served}")]
    if facts.served is None:
        return [not_checked("No model serves: none is loaded.")]
    if facts.version is None:
        return []
    version, data = facts.served.get("version"), facts.served.get("dataset_hash")
    if (version, data) != (facts.version, facts.dataset_hash):
        name = "the champion" if facts.wished == CHAMPION else f"the version {facts.wished}"
        return [
            warning(
                f"The server answers with {version}, and {name} is {facts.version}.",
                "Wait if a rollout is under way (`GET /retrain/status`); otherwise promote the "
                "version again with POST /models/VERSION/promote.",
            )
        ]
    if facts.wished != CHAMPION:
        return [
            warning(
                f"The configuration pins the model to {facts.wished}, so no promotion reaches the "
                "server.",
                "Say `model: champion` in the user_config, unless this is meant.",
            )
        ]
    return [ok(f"The server answers with {version}, the champion.")]


def wished_of(surroundings: Surroundings) -> str:
    """The version, alias or folder that the configuration names."""
    deployments = surroundings.declared.deployments
    user_config = deployments.get("classifier", {}).get("user_config") or {}
    return str(user_config.get("model", CHAMPION))


SUBJECT = Subject("Model", gather, check)
