"""The registry from a process of its own: for replicas, which have no memory for MLflow.

MLflow takes 3 s of a CPU and 240 MB to answer one question. A process that lives for
one call gives them back; the commonest question, where the files of a version in a local
SQLite registry lie, is read from the file itself, in milliseconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from models import errors
from models.errors import DermServeError, ModelUnavailable
from models.registered_package import local_folder
from models.registered_version import CHAMPION, RegisteredVersion, is_version_name
from models.registry import Registry, package_folder
from models.registry_store import MODEL
from models.tracking_uri import database_file, require_reachable

CALL_TIMEOUT_S = 300.0
"""Longest call: a wait for another writer, and then the fetching of a package."""

_NUMBER_OF = {
    True: "SELECT version FROM registered_model_aliases WHERE name = :model AND alias = :name",
    False: (
        "SELECT min(t.version) FROM model_version_tags t JOIN model_versions v "
        "ON v.name = t.name AND v.version = t.version AND v.current_stage = 'None' "
        "WHERE t.name = :model AND t.key = 'dermserve.version' AND t.value = :name"
    ),
}


def resolve(name: str, registry: Registry | None = None) -> Path:
    """The folder of the verified package that a name stands for; see `Registry.resolve`.

    Args:
        name: `champion`, the name of a version, or a folder that is no possible name.
        registry: None for the configured one.

    Raises:
        NotFound, InvalidPackage, ModelUnavailable, InvalidConfiguration: as it raises them.
    """
    if name != CHAMPION and not is_version_name(name):
        return package_folder(name)
    registry = registry or Registry()
    version = _glance(registry, name)
    if version is not None:
        return registry.folder(version)
    return Path(_call(registry, "resolve", name))


def champion(registry: Registry | None = None) -> RegisteredVersion:
    """`Registry.champion`."""
    return RegisteredVersion.from_json(_call(registry, "champion"))


def versions(registry: Registry | None = None) -> list[RegisteredVersion]:
    """`Registry.versions`."""
    return [RegisteredVersion.from_json(version) for version in _call(registry, "versions")]


def promote(name: str, registry: Registry | None = None) -> RegisteredVersion:
    """`Registry.promote`."""
    return RegisteredVersion.from_json(_call(registry, "promote", name))


def rollback(registry: Registry | None = None) -> RegisteredVersion:
    """`Registry.rollback`."""
    return RegisteredVersion.from_json(_call(registry, "rollback"))


def _call(registry: Registry | None, method: str, *arguments: str) -> Any:
    registry = registry or Registry()
    require_reachable(registry.uri)
    request = {
        "registry": [registry.uri, str(registry.cache.absolute()), str(registry.bundled)],
        "method": method,
        "arguments": arguments,
    }
    try:
        process = subprocess.run(
            [sys.executable, "-m", __name__],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=CALL_TIMEOUT_S,
            cwd=Path(__file__).parents[1],  # where `models` is found, also if not installed
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            check=False,
        )
        answer = json.loads(process.stdout)
    except subprocess.TimeoutExpired as error:
        raise ModelUnavailable(
            f"The model registry did not answer within {CALL_TIMEOUT_S:.0f} s. Try again; if it "
            "stays so, look at its server."
        ) from error
    except (OSError, ValueError) as error:
        raise ModelUnavailable(
            "The process that asks the model registry failed. Run `dermserve models list` to see "
            "why."
        ) from error
    if "error" in answer:
        kind = getattr(errors, answer["error"], DermServeError)
        raise kind(answer["message"])
    return answer["result"]


def _glance(registry: Registry, name: str) -> RegisteredVersion | None:
    """A version of an SQLite registry, without MLflow; None sends the caller to MLflow.

    It reads three tables as MLflow has had them since aliases came with 2.3. Whatever does
    not look so is no answer, and `Registry.folder` verifies what is found.
    """
    database = database_file(registry.uri)
    if database is None:
        return None
    values = {"model": MODEL, "name": name}
    try:
        with contextlib.closing(
            sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=5)
        ) as connection:
            row = connection.execute(_NUMBER_OF[name == CHAMPION], values).fetchone()
            if row is None or row[0] is None:
                return None
            values["number"] = row[0]
            tags = connection.execute(
                "SELECT key, value FROM model_version_tags "
                "WHERE name = :model AND version = :number",
                values,
            ).fetchall()
            source, created_ms = connection.execute(
                "SELECT source, creation_time FROM model_versions "
                "WHERE name = :model AND version = :number",
                values,
            ).fetchone()
        if local_folder(source, None) is None:
            return None
        return RegisteredVersion.from_tags(
            dict(tags),
            number=int(row[0]),
            created_ms=int(created_ms),
            source=source,
            champion=name == CHAMPION,
        )
    except (sqlite3.Error, TypeError, ValueError):
        return None


def _main() -> None:
    request = json.load(sys.stdin)
    uri, cache, bundled = request["registry"]
    answer: dict[str, Any]
    try:
        # MLflow prints to people; our caller reads standard output.
        with contextlib.redirect_stdout(sys.stderr):
            registry = Registry(uri, cache=Path(cache), bundled=Path(bundled))
            result = getattr(registry, request["method"])(*request["arguments"])
        answer = {"result": _as_json(result)}
    except DermServeError as error:
        answer = {"error": type(error).__name__, "message": error.message}
    json.dump(answer, sys.stdout)


def _as_json(result: object) -> object:
    if isinstance(result, RegisteredVersion):
        return result.to_json()
    return [_as_json(item) for item in result] if isinstance(result, list) else str(result)


if __name__ == "__main__":
    _main()
