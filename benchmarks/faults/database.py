"""A PostgreSQL that is restarted under a server that keeps its catalogue there."""

from __future__ import annotations

from benchmarks.faults.ground import Ground, outcome
from benchmarks.faults.outcome import Outcome
from benchmarks.faults.traffic import Traffic

AWAY_S = 5.0


def restart(ground: Ground) -> Outcome:
    """Stop the database as a crash would, and start it again a little later."""
    postgres = ground.postgres
    assert postgres is not None

    def make(traffic: Traffic) -> float:
        postgres.stop()
        traffic.pause(AWAY_S)
        postgres.start()
        traffic.strike()
        return ground.wait(ground.lists_uploads, "The archive")

    return outcome(
        "postgresql", f"PostgreSQL crashes, and is away for {AWAY_S:.0f} s", ground, make
    )
