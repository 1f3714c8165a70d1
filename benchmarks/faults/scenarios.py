"""The scenarios by name, and the ground that each of them needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.faults import clock, database, full_disk, nodes, redeploy, retraining, shutdown
from benchmarks.faults.ground import Ground
from benchmarks.faults.kills import PARTS, kill
from benchmarks.faults.outcome import Outcome
from benchmarks.postgresql import PostgresServer, binaries
from benchmarks.started_server import StartedServer
from data.catalogue.database import CATALOGUE_VARIABLE

Make = Callable[[Ground], Outcome]
"""Makes a fault on a ground."""


@dataclass(frozen=True)
class Scenario:
    """One fault.

    Args:
        make: makes it.
        ground: name of the ground it stands on; those of the same share a server.
    """

    make: Make
    ground: str = "plain"


def _scenarios() -> dict[str, Scenario]:
    found = {f"kill-{name}": Scenario(partial(kill, name=name)) for name in PARTS}
    for seed, name in enumerate(retraining.TITLES):
        make = partial(retraining.retrain_and_kill, name=name, seed=seed)
        found[f"retraining-{name}"] = Scenario(make)
    found["redeploy"] = Scenario(redeploy.redeploy)
    for name in nodes.TITLES:
        found[f"kill-{name}"] = Scenario(partial(nodes.kill_node, name=name))
    found["shutdown"] = Scenario(shutdown.stop)  # the last on its ground, which ends with it
    found["full-disk"] = Scenario(full_disk.fill, "disk")
    found["postgresql"] = Scenario(database.restart, "postgresql")
    for name in clock.JUMPS:
        found[f"clock-{name}"] = Scenario(partial(clock.jump, name=name), "clock")
    return found


SCENARIOS: Mapping[str, Scenario] = _scenarios()
"""In the order in which they are run."""


def problem(ground: str) -> str | None:
    """Why a ground cannot be had on this machine; None if it can."""
    if ground == "disk":
        return full_disk.problem()
    if ground == "postgresql" and binaries() is None:
        return "PostgreSQL is not installed (apt-get install postgresql)"
    if ground == "clock" and clock.library() is None:
        return "libfaketime is not installed (apt-get install libfaketime)"
    return None


@contextmanager
def open_ground(ground: str, config: Path, folder: Path) -> Iterator[Ground]:
    """Start the server of a ground; it ends with the context.

    Args:
        ground: name of it.
        config: a Serve configuration.
        folder: that exists, for what is written.

    Raises:
        LoadFailed: if it does not start.
    """
    with ExitStack() as held:
        environment: dict[str, str] = {}
        postgres = None
        if ground == "disk":
            folder = held.enter_context(full_disk.small_disk(folder / "disk"))
        elif ground == "clock":
            environment = clock.environment(folder)
        elif ground == "postgresql":
            found = binaries()
            assert found is not None  # `problem` was asked
            postgres = PostgresServer(found)
            held.callback(postgres.remove)
            environment = {CATALOGUE_VARIABLE: postgres.url}
        server = held.enter_context(StartedServer(config, folder, environment))
        yield Ground.of(server, folder, postgres)
