"""The rollouts: moves of all replicas from one version to another, one at a time."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from data.catalogue import audit
from data.catalogue.database import Database, now
from data.catalogue.page import Page, read_page
from data.catalogue.tables import RolloutRow
from data.catalogue.unchanged import UNCHANGED, Unchanged, given
from data.catalogue.values import storable
from models.errors import DermServeError, NotFound, RolloutActive

RolloutState = Literal["shadowing", "switching", "observing", "completed", "reverted", "failed"]
"""The first three are active; the others are final."""
RolloutKind = Literal["promotion", "rollback", "automatic_rollback"]

FINAL_STATES: tuple[RolloutState, ...] = ("completed", "reverted", "failed")


class RolloutOver(DermServeError):
    """A rollout is over, and its state stays as it is."""

    status, code = 409, "rollout_over"


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """One move of all replicas to another version. Times are UTC."""

    id: int
    """Counts up; the generation that the Serve configuration carries."""
    kind: RolloutKind
    run_id: int | None
    """The run that made the version, if one did just now."""
    from_version: str
    to_version: str
    state: RolloutState
    actor: str
    shadow: dict[str, Any] | None
    """What the gate said of the challenger in the shadow."""
    observation: dict[str, Any] | None
    """What the gate said of the new champion under load."""
    autoscaling: dict[str, Any] | None
    """The values that the Serve configuration gets with it."""
    gate_hash: str | None
    """SHA-256 of the gate file that it obeys."""
    reason: str | None
    """Why it ended as it did."""
    created: datetime
    updated: datetime
    finished: datetime | None

    @property
    def active(self) -> bool:
        """Whether it is not over."""
        return self.state not in FINAL_STATES


@dataclass(frozen=True)
class Ending:
    """How a rollout ends because another one follows."""

    rollout_id: int
    state: RolloutState
    """A final one."""
    reason: str | None


_FIELDS = tuple(field.name for field in fields(Rollout))


class Rollouts:
    """The rollouts of a catalogue; safe between threads, and between processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(
        self,
        kind: RolloutKind,
        from_version: str,
        to_version: str,
        actor: str,
        state: RolloutState,
        run_id: int | None = None,
        gate_hash: str | None = None,
        *,
        autoscaling: dict[str, Any] | None = None,
        after: Ending | None = None,
        forced: bool = False,
    ) -> Rollout:
        """Begin a rollout.

        Args:
            kind: why.
            from_version: that serves now.
            to_version: that shall serve.
            actor: who or what wants it.
            state: its first.
            run_id: of the run that made the version, if one did just now.
            gate_hash: SHA-256 of the gate file that it obeys.
            autoscaling: values that the Serve configuration gets with it.
            after: ends another rollout in the same transaction, so that a crash cannot come
                between an end and what follows from it.
            forced: whether it goes against the gate, for the audit log.

        Raises:
            RolloutActive: if there is one that is not over.
            NotFound, RolloutOver: as `update`, for `after`.
        """
        with self._database.writing() as session:
            if after is not None:
                _move(session, after.rollout_id, {"state": after.state, "reason": after.reason})
                session.flush()
            if (active := _active(session)) is not None:
                raise RolloutActive(
                    f"Version {active.to_version} is being rolled out ({active.state}). Wait for "
                    "its end; GET /models shows which version serves."
                )
            moment = now(session)
            row = RolloutRow(
                active=1,
                kind=kind,
                run_id=run_id,
                from_version=from_version,
                to_version=to_version,
                state=state,
                actor=storable(actor),
                autoscaling=autoscaling,
                gate_hash=gate_hash,
                created=moment,
                updated=moment,
            )
            session.add(row)
            session.flush()
            details = {"kind": kind, "run": run_id, "gate_hash": gate_hash, "forced": forced}
            _audit(session, row, details)
            return _rollout(row)

    def active(self) -> Rollout | None:
        """The rollout that is not over, if there is one."""
        with self._database.reading() as session:
            row = _active(session)
            return None if row is None else _rollout(row)

    def get(self, rollout_id: int) -> Rollout:
        """One rollout.

        Raises:
            NotFound: if there is none of that number.
        """
        with self._database.reading() as session:
            return _rollout(_row(session, rollout_id))

    def of_run(self, run_id: int) -> Rollout | None:
        """The promotion of the version that a run made; None if it was never begun."""
        statement = select(RolloutRow).where(
            RolloutRow.run_id == run_id, RolloutRow.kind == "promotion"
        )
        with self._database.reading() as session:
            row = session.scalars(statement.order_by(RolloutRow.id.desc())).first()
            return None if row is None else _rollout(row)

    def latest(self) -> Rollout | None:
        """The newest rollout, if there ever was one."""
        items = self.history(limit=1).items
        return items[0] if items else None

    def history(self, limit: int = 20, offset: int = 0) -> Page[Rollout]:
        """The rollouts, the newest first.

        Raises:
            InvalidField: as `read_page`.
        """
        statement = select(RolloutRow).order_by(RolloutRow.id.desc())
        with self._database.reading() as session:
            return read_page(session, statement, limit, offset, _rollout)

    def update(
        self,
        rollout_id: int,
        *,
        state: RolloutState | Unchanged = UNCHANGED,
        shadow: dict[str, Any] | Unchanged | None = UNCHANGED,
        observation: dict[str, Any] | Unchanged | None = UNCHANGED,
        autoscaling: dict[str, Any] | Unchanged | None = UNCHANGED,
        reason: str | Unchanged | None = UNCHANGED,
    ) -> Rollout:
        """Move a rollout on; what is not given stays as it is.

        Raises:
            NotFound: if there is none of that number.
            RolloutOver: if it is over, unless it ended in the state that is given.
        """
        values = given(
            state=state,
            shadow=shadow,
            observation=observation,
            autoscaling=autoscaling,
            reason=reason,
        )
        with self._database.writing() as session:
            return _rollout(_move(session, rollout_id, values))


def _active(session: Session) -> RolloutRow | None:
    return session.scalars(select(RolloutRow).where(RolloutRow.active == 1)).one_or_none()


def _row(session: Session, rollout_id: int) -> RolloutRow:
    row = session.get(RolloutRow, rollout_id)
    if row is None:
        raise NotFound(f"There is no rollout {rollout_id}.")
    return row


def _move(session: Session, rollout_id: int, values: dict[str, Any]) -> RolloutRow:
    row = _row(session, rollout_id)
    if row.active is None:
        if values.get("state") == row.state:
            return row
        raise RolloutOver(f"Rollout {rollout_id} is {row.state}. Begin another one.")
    before = row.state
    for name, value in values.items():
        setattr(row, name, storable(value) if isinstance(value, str) else value)
    row.updated = now(session)
    if row.state in FINAL_STATES:
        row.active, row.finished = None, row.updated
    if row.state != before:
        judged = {"shadow": row.shadow, "observation": row.observation}
        _audit(session, row, {"reason": row.reason, **judged})
    return row


def _rollout(row: RolloutRow) -> Rollout:
    return Rollout(**{name: getattr(row, name) for name in _FIELDS})


def _audit(session: Session, row: RolloutRow, details: dict[str, Any]) -> None:
    versions = {"rollout": row.id, "from": row.from_version, "to": row.to_version}
    audit.append(session, f"rollout.{row.state}", row.actor, versions | details)
