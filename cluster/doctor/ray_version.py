"""Whether Ray is a version that this code was made for, here and in the running cluster."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from cluster.doctor.finding import Finding, ok, wrong
from cluster.doctor.subject import Subject
from cluster.doctor.surroundings import Surroundings
from cluster.doctor.unseen import Unseen


@dataclass(frozen=True)
class RayVersionFacts:
    """Versions of Ray."""

    bounds: str
    """As pyproject.toml has them."""
    installed: str | None
    running: str | None
    """In the cluster; None if there is none to ask."""


def gather(surroundings: Surroundings) -> RayVersionFacts:
    """From the metadata of the installed packages, and from the dashboard."""
    try:
        needed = map(Requirement, requires("dermserve") or ())
    except PackageNotFoundError as error:
        raise Unseen(
            "DermServe is not installed as a package, so nothing says which Ray it takes."
        ) from error
    try:
        installed: str | None = version("ray")
    except PackageNotFoundError:
        installed = None
    serve = surroundings.serve
    return RayVersionFacts(
        bounds=next((str(each.specifier) for each in needed if each.name == "ray"), ""),
        installed=installed,
        running=None if isinstance(serve, Unseen) else serve.ray_version,
    )


def check(facts: RayVersionFacts) -> list[Finding]:
    """Hold the versions against the bounds and against each other."""
    mend = "Install what constraints.txt pins: `make install`."
    if facts.installed is None:
        return [wrong("Ray is not installed.", mend)]
    if facts.installed not in SpecifierSet(facts.bounds):
        return [
            wrong(
                f"Ray {facts.installed} is installed, and this code is for {facts.bounds}: what it "
                "relies on may work otherwise there.",
                mend,
            )
        ]
    if facts.running not in (None, facts.installed):
        return [
            wrong(
                f"The cluster runs Ray {facts.running}, and {facts.installed} is installed here.",
                "Install the same version on all nodes, and start Ray again.",
            )
        ]
    return [ok(f"Ray {facts.installed} is within {facts.bounds}.")]


SUBJECT = Subject("Ray", gather, check)
