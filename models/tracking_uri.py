"""Where MLflow keeps the model registry and the runs of training, and how it is opened."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import httpx
from filelock import FileLock, Timeout

from models.errors import InvalidConfiguration, ModelUnavailable

if TYPE_CHECKING:
    from mlflow import MlflowClient

REGISTRY_VARIABLE = "DERMSERVE_REGISTRY"
"""Environment variable that names the registry; it wins over MLFLOW_TRACKING_URI."""

LOCK_TIMEOUT_S = 120.0
"""Longest wait for another process that writes to the registry; on a busy machine, the first
start takes half a minute."""

PROBE_TIMEOUT_S = 5.0
"""Longest wait for a sign of life of a server."""

_SQLITE = "sqlite:///"

_ENVIRONMENT = {
    # No network but the registry's own.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # MLflow's own values keep a caller of an absent server waiting for minutes.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "8",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}


def var_folder() -> Path:
    """`var/` of the project's tree, or of the current folder if the package is installed."""
    tree = Path(__file__).parents[1]
    return (tree if (tree / "pyproject.toml").is_file() else Path.cwd()) / "var"


def tracking_uri() -> str:
    """URI of the MLflow registry and tracking store; call `quieten_mlflow` before its use.

    DERMSERVE_REGISTRY, else MLFLOW_TRACKING_URI, else SQLite in `var/mlflow.db`.

    Raises:
        InvalidConfiguration: as `normalise` raises it.
    """
    uri = os.environ.get(REGISTRY_VARIABLE) or os.environ.get("MLFLOW_TRACKING_URI")
    return normalise(uri or f"{_SQLITE}{var_folder() / 'mlflow.db'}")


def normalise(uri: str) -> str:
    """Check a URI and make an SQLite path absolute: replicas work in other folders.

    Raises:
        InvalidConfiguration: if it is neither an SQLite file nor an HTTP server.
    """
    if uri.startswith(_SQLITE) and (path := uri.removeprefix(_SQLITE).split("?")[0]):
        return f"{_SQLITE}{Path(path).absolute()}"
    try:
        parts = urlsplit(uri)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        valid = False
    if not valid:
        raise InvalidConfiguration(
            f"{uri!r} is no model registry. Set {REGISTRY_VARIABLE} to the address of an MLflow "
            "server (http://...) or to sqlite:///FILE; in front of another database, run "
            "`mlflow server`."
        )
    return uri


def database_file(uri: str) -> Path | None:
    """The SQLite file of a normalised URI; None for a server."""
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def artifact_folder(database: Path) -> Path:
    """Where the artifacts of an SQLite registry lie: beside its file."""
    return database.parent / "mlflow-artifacts"


def shown(uri: str) -> str:
    """A URI as messages may show it: without a password."""
    if database_file(uri) is not None:
        return uri
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def quieten_mlflow() -> None:
    """No telemetry, no log lines, short timeouts; before the first import of MLflow.

    Variables that the operator has set stay as they are.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for library in ("mlflow", "alembic"):
        logging.getLogger(library).setLevel(logging.ERROR)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes; the system frees it when its holder dies.

    Raises:
        ModelUnavailable: if another process holds it for too long, or if its folder cannot
            be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        lock.acquire(timeout=LOCK_TIMEOUT_S)
    except Timeout as error:
        raise ModelUnavailable(
            f"Another process has held {path} for {LOCK_TIMEOUT_S:.0f} s. Stop it and try again."
        ) from error
    except OSError as error:
        raise ModelUnavailable(
            f"The model registry cannot be written: {error}. Repair the folder, or set "
            f"{REGISTRY_VARIABLE} to a registry elsewhere."
        ) from error
    try:
        yield
    finally:
        lock.release()


def open_client(uri: str) -> MlflowClient:
    """An MLflow client of a registry; an SQLite file that does not exist is made.

    Args:
        uri: normalised.

    Raises:
        ModelUnavailable: if the file cannot be made, or is damaged or of another MLflow.
    """
    database = database_file(uri)
    if database is not None:
        if not database.exists():
            with locked(lock_file(database)):
                if not database.exists():
                    _create(database)
        _check(database)
    require_reachable(uri)
    return _client(uri)


def require_reachable(uri: str) -> None:
    """Ask a server for a sign of life; far quicker than MLflow, which retries.

    Args:
        uri: normalised; an SQLite file is not looked at.

    Raises:
        ModelUnavailable: if nothing answers there.
    """
    if database_file(uri) is not None:
        return
    try:
        httpx.get(f"{uri.rstrip('/')}/health", timeout=PROBE_TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ModelUnavailable(
            f"The model registry {shown(uri)} does not answer ({type(error).__name__}). Start the "
            f"MLflow server, or correct {REGISTRY_VARIABLE}."
        ) from error


def lock_file(database: Path) -> Path:
    """The lock of an SQLite registry's writers."""
    return database.with_name(f"{database.name}.lock")


def _client(uri: str) -> MlflowClient:
    quieten_mlflow()
    from mlflow import MlflowClient

    with registry_errors(uri):
        return MlflowClient(uri, uri)


def _create(database: Path) -> None:
    """Make MLflow's tables in a file that gets its name when they are all there.

    MLflow makes them in dozens of steps; a process killed between two would leave a file
    that no later start can use.
    """
    partial = database.with_name(f"{database.name}.partial")
    for leftover in database.parent.glob(f"{partial.name}*"):
        leftover.unlink()
    _client(f"{_SQLITE}{partial}").search_experiments()
    partial.replace(database)


def _check(database: Path) -> None:
    """Refuse a damaged file at once; MLflow would try it for two minutes."""
    try:
        connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=5)
        try:
            connection.execute("SELECT name FROM sqlite_master").fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise ModelUnavailable(
            f"The model registry {database} cannot be read: {error}. Restore it from a backup, "
            "or move it away to begin a new one."
        ) from error


@contextmanager
def registry_errors(uri: str) -> Iterator[None]:
    """Turn what MLflow raises into one sentence of ours.

    Raises:
        ModelUnavailable: for everything that MLflow, its database or the network raises.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    # OSError: a full disk, and what `requests` raises.
    except (MlflowException, SQLAlchemyError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        if "out-of-date database schema" in reason:
            advice = "Back it up, then run `mlflow db upgrade` with its address."
        elif database_file(uri) is None:
            advice = f"Start the MLflow server, or correct {REGISTRY_VARIABLE}."
        else:
            advice = "Free or repair the disk, or restore it from a backup."
        raise ModelUnavailable(
            f"The model registry {shown(uri)} does not work: {_without_password(reason, uri)}. "
            f"{advice}"
        ) from error


def _without_password(text: str, uri: str) -> str:
    password = urlsplit(uri).password
    return text.replace(password, "***") if password else text
