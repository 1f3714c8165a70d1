"""Room on disk: for what the server keeps, for Ray's objects and logs, and in shared memory."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from cluster.doctor.finding import Finding, not_checked, ok, warning, wrong
from cluster.doctor.processes import ServerProcess
from cluster.doctor.subject import Subject
from cluster.doctor.surroundings import Surroundings
from data.catalogue.database import catalogue_url, parse_url
from data.catalogue.failures import sqlite_file
from data.image_store import images_url
from models.tracking_uri import database_file, tracking_uri
from training.storage import runs_folder

GIB = 2**30
LEAST_BYTES = GIB
"""Below it, one bulk upload or one retraining may fill the disk."""
LITTLE_BYTES = 5 * GIB
RAY_STOPS = 0.95
"""Used fraction at which Ray writes no more objects to disk (`local_fs_capacity_threshold`)."""

_SHARED_MEMORY = Path("/dev/shm")
_LEAST_SHARED_BYTES = 512 * 2**20
_SPILLED = "Ray's spilled objects"


@dataclass(frozen=True)
class Space:
    """A file system, and what of the server lies on it."""

    path: str
    holds: tuple[str, ...]
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class DiskFacts:
    """All file systems that the server writes to."""

    spaces: tuple[Space, ...]
    elsewhere: tuple[str, ...]
    """What lies where free space cannot be asked for."""
    shared: Space | None
    """Shared memory; None where there is none."""
    plasma: str | None
    """Where Ray keeps its objects; None if it does not run."""


def gather(surroundings: Surroundings) -> DiskFacts:
    """Ask the file systems of the places that the server's environment names."""
    with surroundings.in_place():
        places: dict[str, Path | None] = {
            "the registry": database_file(tracking_uri()),
            "the catalogue": sqlite_file(parse_url(catalogue_url())),
            "images": _local(images_url()),
            "runs": runs_folder(),
        }
    processes = surroundings.seen_processes
    temporary = surroundings.environment.get("RAY_TMPDIR") or "/tmp"
    logs = _argument(processes, "temp_dir") or f"{temporary}/ray"
    places["Ray's logs"] = Path(logs)
    places[_SPILLED] = Path(_argument(processes, "fallback_directory") or logs)
    return DiskFacts(
        spaces=spaces_of({name: path for name, path in places.items() if path is not None}),
        elsewhere=tuple(name for name, path in places.items() if path is None),
        shared=_space(_SHARED_MEMORY, ()) if _SHARED_MEMORY.is_dir() else None,
        plasma=_argument(processes, "plasma_directory"),
    )


def spaces_of(places: dict[str, Path]) -> tuple[Space, ...]:
    """The file systems under some paths, each once; a path that does not exist yet counts too."""
    devices: dict[int, tuple[Path, list[str]]] = {}
    for name, path in places.items():
        existing = next(each for each in (path, *path.parents) if each.exists())
        devices.setdefault(existing.stat().st_dev, (existing, []))[1].append(name)
    return tuple(
        _space(path if path.is_dir() else path.parent, tuple(names))
        for path, names in devices.values()
    )


def check(facts: DiskFacts) -> list[Finding]:
    """Judge the room that is left."""
    found = [finding for space in facts.spaces for finding in _room(space)]
    if facts.elsewhere:
        found.append(
            not_checked(f"The room for {', '.join(facts.elsewhere)}: it is on another machine.")
        )
    return [*found, *_shared(facts)]


def _room(space: Space) -> list[Finding]:
    holds = ", ".join(space.holds)
    said = (
        f"{space.free_bytes / GIB:.1f} of {space.total_bytes / GIB:.1f} GiB are free on the disk "
        f"of {space.path} ({holds})."
    )
    free_it = "Free some space, or move them with the variables DERMSERVE_* to another disk."
    if space.free_bytes < LEAST_BYTES:
        return [wrong(said, free_it)]
    found = []
    if _SPILLED in space.holds and 1 - space.free_bytes / space.total_bytes >= RAY_STOPS:
        found.append(
            wrong(
                f"{said} That is less than the {1 - RAY_STOPS:.0%} below which Ray writes no more "
                "objects to disk, and a retraining may fail.",
                "Free some space, or start Ray with another --object-spilling-directory.",
            )
        )
    if space.free_bytes < LITTLE_BYTES:
        found.append(warning(said, free_it))
    return found or [ok(said)]


def _shared(facts: DiskFacts) -> list[Finding]:
    shared = facts.shared
    if shared is None:
        return [not_checked(f"Shared memory: there is no {_SHARED_MEMORY} here.")]
    mend = (
        f"Enlarge {_SHARED_MEMORY}: `--shm-size=2g` with Docker, `shm_size: 2g` in compose, an "
        "emptyDir of medium Memory in Kubernetes."
    )
    if facts.plasma is not None and Path(facts.plasma) != _SHARED_MEMORY:
        return [
            warning(
                f"Ray keeps its objects in {facts.plasma}, on disk: {_SHARED_MEMORY} was too small "
                "for them. Retraining and Ray Data are slower.",
                f"{mend} Then start Ray again.",
            )
        ]
    said = f"{shared.free_bytes / GIB:.2f} of {shared.total_bytes / GIB:.2f} GiB of {shared.path}"
    if shared.free_bytes < _LEAST_SHARED_BYTES:
        return [warning(f"Only {said} are free, which Ray needs for its objects.", mend)]
    return [ok(f"{said} are free.")]


def _space(path: Path, holds: tuple[str, ...]) -> Space:
    usage = psutil.disk_usage(str(path))
    return Space(str(path), holds, usage.total, usage.free)


def _local(url: str) -> Path | None:
    if "::" in url or ("://" in url and not url.startswith("file://")):
        return None
    return Path(url.removeprefix("file://"))


def _argument(processes: Iterable[ServerProcess], name: str) -> str | None:
    """An argument of the raylet's command line."""
    for process in processes:
        if process.role == "raylet" and (found := re.search(rf"--{name}=(\S+)", process.title)):
            return found[1]
    return None


SUBJECT = Subject("Disk", gather, check)
