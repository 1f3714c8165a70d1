"""The database of the catalogue: SQLite in WAL mode, or PostgreSQL."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session

from data.catalogue.failures import (
    CATALOGUE_VARIABLE,
    catalogue_errors,
    file_errors,
    shown,
    sqlite_file,
)
from data.catalogue.schema import SCHEMA_VERSION, migrate, schema_version
from data.catalogue.values import canonical_json
from models.errors import CatalogueUnavailable, InvalidConfiguration
from models.tracking_uri import var_folder

__all__ = ["CATALOGUE_VARIABLE", "Database", "catalogue_url", "now"]

BUSY_TIMEOUT_S = 10.0
"""Longest wait for another writer."""
FIRST_OPENING_TIMEOUT_S = 60.0
"""Longest wait for another process that makes or migrates an SQLite catalogue."""
CONNECT_TIMEOUT_S = 5
IDLE_TIMEOUT_S = 60.0
"""After so long without a sign of life within a transaction, PostgreSQL frees the writers' lock."""

_TURN_POLL_S = 0.005
_WRITERS = 0x6465726D
"""Key of PostgreSQL's advisory lock that one writer holds at a time."""
_DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
}
_ENGINE_OPTIONS: dict[str, Any] = {
    "json_serializer": canonical_json,
    "hide_parameters": True,  # they would reach the log
    "pool_timeout": BUSY_TIMEOUT_S,
}


def catalogue_url() -> str:
    """Address of the catalogue: DERMSERVE_CATALOGUE, else SQLite in `var/catalogue.db`.

    Raises:
        InvalidConfiguration: if the variable names no database that can be used.
    """
    address = os.environ.get(CATALOGUE_VARIABLE) or f"sqlite:///{var_folder() / 'catalogue.db'}"
    return parse_url(address).render_as_string(hide_password=False)


def parse_url(address: str) -> URL:
    """Check an address, and make the path of an SQLite file absolute: replicas work elsewhere.

    Raises:
        InvalidConfiguration: if it is neither an SQLite file nor PostgreSQL.
    """
    try:
        url = make_url(address)
        driver = _DRIVERS[url.drivername.removesuffix("+psycopg")]
        url = url.set(drivername=driver)
    except (ArgumentError, KeyError, ValueError) as error:
        raise InvalidConfiguration(
            f"{CATALOGUE_VARIABLE} must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/"
            "DATABASE; it begins otherwise."
        ) from error
    if driver != "sqlite":
        return url
    if url.host or not url.database or url.database.startswith((":memory:", "file:")) or url.query:
        raise InvalidConfiguration(
            f"{CATALOGUE_VARIABLE} must name a file, as in sqlite:////srv/dermserve/catalogue.db."
        )
    return url.set(database=str(Path(url.database).absolute()))


class Database:
    """A catalogue; it is opened, and made or migrated if need be, at the first use.

    One object serves all threads of a process.

    Args:
        url: address; None is `catalogue_url()`.

    Raises:
        InvalidConfiguration: as `catalogue_url` raises it.
    """

    def __init__(self, url: str | None = None) -> None:
        self._url = parse_url(catalogue_url() if url is None else url)
        self._opening = threading.Lock()
        self._turns = threading.Lock()
        self._engine: Engine | None = None

    def __str__(self) -> str:
        return shown(self._url)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that sees one state of the catalogue; what it writes is not kept.

        Raises:
            CatalogueUnavailable: if the database cannot be reached or read.
        """
        with catalogue_errors(self._url), Session(_reader(self._opened())) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that no other writer, in any process, runs beside.

        Once it has returned, a power cut does not undo it; if it raises, nothing is stored.

        Raises:
            CatalogueUnavailable: if the database cannot be reached or written, or if other
                writers have kept it busy for `BUSY_TIMEOUT_S`.
            StorageFull: if there is no room.
        """
        with catalogue_errors(self._url):
            engine = _writer(self._opened())
            with (
                self._turn(),
                Session(engine, expire_on_commit=False) as session,
                session.begin(),
            ):
                session.connection()  # takes the lock now, not at the first statement
                yield session

    def found_schema(self) -> str | None:
        """The migration that the database has seen last; nothing is made or migrated.

        Returns:
            None if there is no database yet, or none of our tables in it.

        Raises:
            CatalogueUnavailable: if the database cannot be reached or read.
        """
        file = sqlite_file(self._url)
        if file is not None and not file.exists():
            return None
        engine = _engine(self._url)
        try:
            with catalogue_errors(self._url), _reader(engine).connect() as connection:
                return schema_version(connection)
        finally:
            engine.dispose()

    def close(self) -> None:
        """Close all connections; the next use opens new ones."""
        with self._opening:
            if self._engine is not None:
                self._engine.dispose()
            self._engine = None

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for one's turn to write to SQLite, whose own wait is unfair and may starve."""
        file = sqlite_file(self._url)
        if file is None:
            yield
            return
        with ExitStack() as held:
            with file_errors(self._url):
                if not self._turns.acquire(timeout=BUSY_TIMEOUT_S):
                    raise Timeout(str(file))
                held.callback(self._turns.release)
                lock = FileLock(f"{file}.lock")
                held.enter_context(lock.acquire(BUSY_TIMEOUT_S, poll_interval=_TURN_POLL_S))
            yield

    def _opened(self) -> Engine:
        with self._opening:
            if self._engine is None:
                engine = _engine(self._url)
                try:
                    with file_errors(self._url):
                        _prepare(engine)
                except BaseException:
                    engine.dispose()
                    raise
                self._engine = engine
            return self._engine


def now(session: Session) -> datetime:
    """The present moment, by the one clock that all processes of the catalogue share."""
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(timezone.utc)
    moment: datetime = session.scalars(select(func.clock_timestamp())).one()
    return moment.astimezone(timezone.utc)


def _engine(url: URL) -> Engine:
    return _sqlite_engine(url) if sqlite_file(url) is not None else _postgresql_engine(url)


def _sqlite_engine(url: URL) -> Engine:
    # The driver's own BEGIN would come too late for `BEGIN IMMEDIATE`.
    arguments = {"timeout": BUSY_TIMEOUT_S, "isolation_level": None}
    engine = create_engine(url, connect_args=arguments, **_ENGINE_OPTIONS)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgresql_engine(url: URL) -> Engine:
    settings = (
        *([str(url.query["options"])] if "options" in url.query else []),
        f"-c lock_timeout={BUSY_TIMEOUT_S * 1000:.0f}",
        f"-c idle_in_transaction_session_timeout={IDLE_TIMEOUT_S * 1000:.0f}",
    )
    arguments = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "tcp_user_timeout": int(BUSY_TIMEOUT_S * 1000),
        "options": " ".join(settings),
    }
    try:
        engine = create_engine(url, connect_args=arguments, pool_pre_ping=True, **_ENGINE_OPTIONS)
    except ModuleNotFoundError as error:
        raise InvalidConfiguration(
            "A catalogue in PostgreSQL needs its driver: `pip install 'dermserve[postgres]'`."
        ) from error
    event.listen(engine, "begin", _begin_postgresql)
    return engine


def _reader(engine: Engine) -> Engine:
    if engine.dialect.name == "sqlite":
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def _writer(engine: Engine) -> Engine:
    if engine.dialect.name == "sqlite":
        return engine.execution_options(writing=True)
    # Each statement sees what the writers before have committed.
    return engine.execution_options(writing=True, isolation_level="READ COMMITTED")


def _set_up_sqlite(connection: Any, _: object) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get("writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get("writing"):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS})")


def _prepare(engine: Engine) -> None:
    """Make or migrate the tables, unless they are up to date; only one process does it."""
    file = sqlite_file(engine.url)
    if file is None:
        _migrate(engine)
        return
    if file.exists() and _is_current(engine):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    # Two processes that set the mode at once would not wait for each other.
    with FileLock(f"{file}.lock", timeout=FIRST_OPENING_TIMEOUT_S):
        connection = engine.raw_connection()
        try:
            mode = connection.cursor().execute("PRAGMA journal_mode = WAL").fetchone()[0]
        finally:
            connection.close()
        if mode != "wal":
            raise CatalogueUnavailable(
                f"The file system of {file} cannot hold a database with several users. Set "
                f"{CATALOGUE_VARIABLE} to a file on a local disk, or to PostgreSQL."
            )
        _migrate(engine)


def _migrate(engine: Engine) -> None:
    if not _is_current(engine):
        with _writer(engine).begin() as connection:
            migrate(connection)


def _is_current(engine: Engine) -> bool:
    with _reader(engine).connect() as connection:
        return schema_version(connection) == SCHEMA_VERSION
