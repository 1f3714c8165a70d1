"""The PostgreSQL of the tests: that of the benchmarks, and empty schemas in it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import make_url

from benchmarks.postgresql import PostgresServer, binaries

__all__ = ["PostgresServer", "binaries", "new_schema"]


@contextmanager
def new_schema(server: PostgresServer) -> Iterator[str]:
    """An empty schema, as good as an empty database and made far quicker; yields its URL."""
    name = f"test_{uuid.uuid4().hex}"
    options = {"options": f"-c search_path={name}"}
    _execute(server, f"CREATE SCHEMA {name}")
    yield make_url(server.url).update_query_dict(options).render_as_string()
    _execute(server, f"DROP SCHEMA {name} CASCADE")


def _execute(server: PostgresServer, statement: str) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(statement.encode())
