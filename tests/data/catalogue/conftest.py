"""Fixtures of the catalogue's tests; those that take `database` run on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data.catalogue.database import Database
from data.catalogue.rollouts import Rollouts
from data.catalogue.runs import Runs
from data.catalogue.uploads import Uploads
from tests.data.catalogue.postgresql import PostgresServer, binaries, new_schema

Opener = Callable[[str], Database]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL of our own; skips where it is not installed."""
    folder = binaries()
    if folder is None:
        pytest.skip("PostgreSQL is not installed; on Debian, `apt install postgresql` does it")
    server = PostgresServer(folder)
    yield server
    server.remove()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Address of an SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path}/catalogue.db"


@pytest.fixture
def postgresql_url(postgres_server: PostgresServer) -> Iterator[str]:
    """Address of an empty schema in PostgreSQL."""
    with new_schema(postgres_server) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """Address of an empty catalogue, in either kind of database."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Gives a database of an address, as another replica would have it; all are closed."""
    databases: list[Database] = []

    def open_database(url: str) -> Database:
        databases.append(Database(url))
        return databases[-1]

    yield open_database
    for database in databases:
        database.close()


@pytest.fixture
def database(url: str, opened: Opener) -> Database:
    """An empty catalogue."""
    return opened(url)


@pytest.fixture
def uploads(database: Database) -> Uploads:
    return Uploads(database)


@pytest.fixture
def runs(database: Database) -> Runs:
    return Runs(database)


@pytest.fixture
def rollouts(database: Database) -> Rollouts:
    return Rollouts(database)
