"""The PostgreSQL of the tests; that of the benchmarks."""

from benchmarks.postgresql import PostgresServer, binaries

__all__ = ["PostgresServer", "binaries"]
