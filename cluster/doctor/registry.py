"""The model registry: reachable, and shared if there are nodes."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.doctor.finding import Finding, ok, wrong
from cluster.doctor.place import unmakeable
from cluster.doctor.subject import Subject
from cluster.doctor.surroundings import Surroundings
from models.errors import DermServeError
from models.registered_version import RegisteredVersion
from models.registry import Registry
from models.tracking_uri import REGISTRY_VARIABLE, database_file, shown


@dataclass(frozen=True)
class RegistryFacts:
    """What came of asking it."""

    address: str
    """Without a password."""
    file: bool
    problem: str | None
    """Why it cannot be read, an outdated schema included."""
    versions: int
    champion: str | None
    nodes: int


def gather(surroundings: Surroundings) -> RegistryFacts:
    """List its versions; one that does not exist yet is not made."""
    with surroundings.in_place():
        try:
            registry = Registry()
        except DermServeError as error:
            return RegistryFacts("", True, error.message, 0, None, surroundings.machines)
        database = database_file(registry.uri)
        exists = database is None or database.exists()
        address = shown(registry.uri)
        problem = None if database is None or exists else unmakeable(database)
        versions: list[RegisteredVersion] = []
        try:
            versions = registry.versions() if exists else []
        except DermServeError as error:
            problem = error.message
    champion = next((each.version for each in versions if each.champion), None)
    return RegistryFacts(
        address, database is not None, problem, len(versions), champion, surroundings.machines
    )


def check(facts: RegistryFacts) -> list[Finding]:
    """Judge the registry as it was found."""
    if facts.problem is not None:
        return [wrong(facts.problem, f"Repair it, or correct {REGISTRY_VARIABLE}.")]
    found = []
    if facts.versions and facts.champion is None:
        found.append(
            wrong(
                f"{facts.address} has {facts.versions} versions and no champion that DermServe "
                "registered.",
                "Promote one: `dermserve models list`, then `dermserve models promote VERSION`.",
            )
        )
    if facts.file and facts.nodes > 1:
        found.append(
            wrong(
                f"{facts.address} is a file, and the cluster has {facts.nodes} machines: "
                "each would have champions of its own.",
                f"Run `mlflow server`, and set {REGISTRY_VARIABLE} to its address on all nodes.",
            )
        )
    if not found and not facts.versions:
        return [ok(f"{facts.address} is new: the first start puts the bundled model in.")]
    return found or [
        ok(
            f"{facts.address} answers: {facts.versions} "
            f"{'version' if facts.versions == 1 else 'versions'}, champion {facts.champion}."
        )
    ]


SUBJECT = Subject("Registry", gather, check)
