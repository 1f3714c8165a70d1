"""What learning has come to so far: how runs and rollouts ended, and what is under way."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

from sqlalchemy import func, select

from data.catalogue.database import Database, now
from data.catalogue.rollouts import RolloutKind, RolloutState
from data.catalogue.run import Run, RunState, run_of
from data.catalogue.tables import RolloutRow, RunRow


@dataclass(frozen=True)
class LearningSummary:
    """Numbers of runs and rollouts. Times are UTC."""

    moment: datetime
    """When it was read, by the clock of the catalogue."""
    runs: dict[RunState, int]
    """Every state, from the first run on."""
    active: Run | None
    last_finished: datetime | None
    """When the last run ended; None if none has."""
    decision: dict[str, Any] | None
    """Of the promotion gate, the last one; None if it has never decided."""
    rollouts: dict[tuple[RolloutKind, RolloutState], int]
    """Every kind and state, from the first rollout on."""
    rollout: RolloutState | None
    """State of the newest rollout; None if there never was one."""


def summarise_learning(database: Database) -> LearningSummary:
    """Count the runs and rollouts of a catalogue.

    Raises:
        CatalogueUnavailable: as `Database.reading`.
    """
    runs = select(RunRow.state, func.count()).group_by(RunRow.state)
    rollouts = select(RolloutRow.kind, RolloutRow.state, func.count()).group_by(
        RolloutRow.kind, RolloutRow.state
    )
    decided = select(RunRow).where(RunRow.decision.is_not(None)).order_by(RunRow.id.desc())
    with database.reading() as session:
        active = session.scalars(select(RunRow).where(RunRow.active == 1)).one_or_none()
        last = session.scalars(decided.limit(1)).one_or_none()
        rows: Any = session.execute(runs).all()
        counted: dict[Any, int] = dict(rows)
        moved: dict[Any, int] = {
            (kind, state): count for kind, state, count in session.execute(rollouts)
        }
        newest = select(RolloutRow.state).order_by(RolloutRow.id.desc()).limit(1)
        state: Any = session.scalar(newest)
        return LearningSummary(
            moment=now(session),
            runs={state: counted.get(state, 0) for state in get_args(RunState)},
            active=None if active is None else run_of(active),
            last_finished=session.scalar(select(func.max(RunRow.finished))),
            decision=None if last is None else last.decision,
            rollouts={
                (kind, state): moved.get((kind, state), 0)
                for kind in get_args(RolloutKind)
                for state in get_args(RolloutState)
            },
            rollout=state,
        )
