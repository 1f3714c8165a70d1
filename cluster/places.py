"""The places of what a server keeps: the same from wherever its replicas run.

A replica on another machine that opened a catalogue of its own would answer with another model and
keep uploads where nobody looks for them, and nothing would say so. So a cluster of several machines
is refused until the environment names places that all of them reach.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from data.catalogue.database import CATALOGUE_VARIABLE, catalogue_url
from data.image_store import IMAGES_VARIABLE, images_url
from models.errors import InvalidConfiguration
from models.tracking_uri import REGISTRY_VARIABLE, database_file, tracking_uri, var_folder
from training.storage import RUNS_VARIABLE, runs_folder

FINDERS: dict[str, Callable[[], str]] = {
    REGISTRY_VARIABLE: tracking_uri,
    CATALOGUE_VARIABLE: catalogue_url,
    IMAGES_VARIABLE: images_url,
    RUNS_VARIABLE: lambda: str(runs_folder()),
}
"""Where each of these is kept, as the environment says or by default; by variable."""

_ADVICE = {
    CATALOGUE_VARIABLE: "a PostgreSQL database (postgresql://USER:PASSWORD@HOST/DATABASE)",
    REGISTRY_VARIABLE: "an MLflow server (http://HOST:5000)",
    IMAGES_VARIABLE: "an object store (s3://BUCKET/PREFIX), or a folder that all machines mount",
    RUNS_VARIABLE: "a folder that all machines mount",
}


def places() -> dict[str, str]:
    """Where everything is kept, by variable.

    Raises:
        InvalidConfiguration: if a variable names no such place.
    """
    return {name: find() for name, find in FINDERS.items()}


def check_shared(environment: Mapping[str, str]) -> None:
    """Refuse places that other machines do not reach, as far as their names tell.

    Args:
        environment: of the server, as `places` completes it.

    Raises:
        InvalidConfiguration: if there are any; it names all of them.
    """
    local = [name for name in _ADVICE if not _is_shared(name, environment.get(name, ""))]
    if local:
        wanted = "; ".join(f"{name} to {_ADVICE[name]}" for name in local)
        raise InvalidConfiguration(
            f"Several machines cannot share what this one keeps on its own disk. Set {wanted}: "
            "the same on every machine."
        )


def _is_shared(name: str, value: str) -> bool:
    if name == CATALOGUE_VARIABLE:
        return value.startswith("postgres")
    if name == REGISTRY_VARIABLE:
        return bool(value) and database_file(value) is None
    if "://" in value or "::" in value:
        return name == IMAGES_VARIABLE and not value.startswith(("file:", "local:", "memory:"))
    # A folder that somebody chose; whether it is mounted elsewhere too, nobody here can see.
    return bool(value) and Path(value).is_absolute() and not _is_default(name, value)


def _is_default(name: str, value: str) -> bool:
    return Path(value) == var_folder() / {IMAGES_VARIABLE: "images", RUNS_VARIABLE: "runs"}[name]
