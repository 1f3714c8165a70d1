"""The runs of retraining: one at a time, each with one owner, resumed by the next if it dies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from data.catalogue import audit
from data.catalogue.database import Database, now
from data.catalogue.page import Page, read_page
from data.catalogue.run import (
    FinalState,
    Run,
    RunMode,
    RunState,
    RunTrigger,
    run_of,
)
from data.catalogue.snapshot import SnapshotImage, keep_snapshot, read_snapshot
from data.catalogue.tables import RunRow
from data.catalogue.unchanged import UNCHANGED, Unchanged, given
from data.catalogue.upload import Upload
from data.catalogue.upload_counts import count_uploads
from data.catalogue.values import canonical_json, storable
from models.errors import DermServeError, NoRunActive, NotFound, RunActive

__all__ = ["LeaseLost", "Run", "RunMode", "RunState", "RunTrigger", "Runs", "SnapshotImage"]


_WORKER = "trainer"
"""Who acts for a run in the audit log; its owner is a number that tells nobody anything."""


class LeaseLost(DermServeError):
    """A run is over, or another owner has taken it."""

    status, code = 409, "lease_lost"


class Runs:
    """The runs of a catalogue; safe between threads, and between processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def request(self, mode: RunMode, trigger: RunTrigger, actor: str) -> Run:
        """Queue a run.

        Raises:
            RunActive: if there is one that is not over.
        """
        with self._database.writing() as session:
            if (active := _active(session)) is not None:
                raise RunActive(
                    f"Run {active.id} is {active.state}, and there is never a second one. Wait "
                    "for its end, or stop it with DELETE /retrain."
                )
            counts = count_uploads(session)
            row = RunRow(
                active=1,
                state="queued",
                mode=mode,
                trigger=trigger,
                actor=storable(actor),
                phase="",
                progress=0.0,
                metrics={},
                new_images=sum(counts.new.values()),
                images=sum(counts.labelled.values()),
                attempts=0,
                cancel_requested=False,
                created=now(session),
            )
            session.add(row)
            session.flush()
            details = {"mode": mode, "trigger": trigger, "new_images": row.new_images}
            _audit(session, row, "requested", actor, details)
            return run_of(row)

    def active(self) -> Run | None:
        """The run that is not over, if there is one."""
        with self._database.reading() as session:
            row = _active(session)
            return None if row is None else run_of(row)

    def get(self, run_id: int) -> Run:
        """One run.

        Raises:
            NotFound: if there is none of that number.
        """
        with self._database.reading() as session:
            return run_of(_row(session, run_id))

    def of_version(self, version: str) -> Run | None:
        """The newest run that made, or was to make, a version; None if there is none."""
        statement = select(RunRow).where(RunRow.challenger_version == version)
        with self._database.reading() as session:
            row = session.scalars(statement.order_by(RunRow.id.desc())).first()
            return None if row is None else run_of(row)

    def history(self, limit: int = 20, offset: int = 0) -> Page[Run]:
        """The runs, the newest first.

        Raises:
            InvalidField: as `read_page`.
        """
        statement = select(RunRow).order_by(RunRow.id.desc())
        with self._database.reading() as session:
            return read_page(session, statement, limit, offset, run_of)

    def claim(self, run_id: int, owner: str, lease_s: float) -> Run | None:
        """Take a run that nobody owns, or whose owner has been silent.

        Args:
            run_id: of the run.
            owner: unique to one life of one process.
            lease_s: after so many seconds without a sign of life, another owner loses the run.

        Returns:
            The run, now the owner's; None if it is over, or if another owner is alive.

        Raises:
            NotFound: if there is none of that number.
        """
        with self._database.writing() as session:
            row, moment = _row(session, run_id), now(session)
            if row.active is None:
                return None
            if row.owner != owner:
                if row.owner is not None and not _is_silent(row, moment, lease_s):
                    return None
                row.owner, row.attempts = owner, row.attempts + 1
                event = "started" if row.state == "queued" else "resumed"
                row.state, row.started = "running", row.started or moment
                _audit(session, row, event, _WORKER, {"attempt": row.attempts, "owner": owner})
            row.heartbeat = moment
            return run_of(row)

    def beat(self, run_id: int, owner: str) -> Run:
        """Give a sign of life.

        Raises:
            NotFound: if there is none of that number.
            LeaseLost: if it is over, or another's.
        """
        with self._database.writing() as session:
            return run_of(_owned(session, run_id, owner))

    def report(
        self,
        run_id: int,
        owner: str,
        *,
        phase: str | Unchanged = UNCHANGED,
        progress: float | Unchanged = UNCHANGED,
        epoch: int | Unchanged | None = UNCHANGED,
        epochs: int | Unchanged | None = UNCHANGED,
        eta_s: float | Unchanged | None = UNCHANGED,
        metrics: dict[str, Any] | Unchanged = UNCHANGED,
    ) -> None:
        """Say how far a run is, which is a sign of life too.

        Args:
            run_id: of the run.
            owner: its owner.
            phase: what it does now.
            progress: 0 to 1.
            epoch: the present one, from 1.
            epochs: how many there will be.
            eta_s: seconds that are left; None if nobody knows.
            metrics: all so far; they replace the earlier ones.

        Raises:
            NotFound, LeaseLost: as `beat`.
            ValueError: if progress or eta_s is out of its range.
        """
        values = given(
            phase=phase, progress=progress, epoch=epoch, epochs=epochs, eta_s=eta_s, metrics=metrics
        )
        if not 0 <= values.get("progress", 0) <= 1:
            raise ValueError(f"progress must be 0 to 1, not {progress}")
        if not 0 <= (values.get("eta_s") or 0) < math.inf:
            raise ValueError(f"eta_s must be finite and not negative, not {eta_s}")
        with self._database.writing() as session:
            row = _owned(session, run_id, owner)
            for name, value in values.items():
                setattr(row, name, value)

    def snapshot(
        self,
        run_id: int,
        owner: str,
        uploads: Sequence[Upload],
        champion_version: str,
        challenger_version: str,
    ) -> None:
        """Fix which uploads a run trains on, with which labels, and what it makes of what.

        Only the first call of a run counts: an owner that resumes it trains on the same. Of
        the uploads, those are left out that were deleted or changed after they were read; so
        `snapshot_of` says what counts.

        Raises:
            NotFound, LeaseLost: as `beat`.
        """
        with self._database.writing() as session:
            row = _owned(session, run_id, owner)
            if row.challenger_version is not None:
                return
            row.images, row.new_images = keep_snapshot(session, row.id, uploads)
            row.champion_version, row.challenger_version = champion_version, challenger_version
            details = {
                "images": row.images,
                "new_images": row.new_images,
                "champion": champion_version,
                "challenger": challenger_version,
            }
            _audit(session, row, "snapshot", _WORKER, details)

    def snapshot_of(self, run_id: int) -> tuple[SnapshotImage, ...]:
        """The uploads of a run as `snapshot` kept them, in their order; empty before it."""
        with self._database.reading() as session:
            return read_snapshot(session, run_id)

    def decide(self, run_id: int, owner: str, decision: dict[str, Any]) -> None:
        """Keep what the promotion gate said; saying the same again changes nothing.

        Raises:
            NotFound, LeaseLost: as `beat`.
        """
        with self._database.writing() as session:
            row = _owned(session, run_id, owner)
            if canonical_json(row.decision) != canonical_json(decision):
                row.decision = decision
                _audit(session, row, "decided", _WORKER, {"decision": decision})

    def finish(self, run_id: int, owner: str, state: FinalState, reason: str | None) -> None:
        """End a run; ending it again in the same state changes nothing.

        Raises:
            NotFound, LeaseLost: as `beat`.
        """
        with self._database.writing() as session:
            row = _row(session, run_id)
            if row.state == state and row.owner == owner:
                return
            row = _owned(session, run_id, owner)
            _end(session, row, state, reason, _WORKER)

    def cancel(self, actor: str) -> Run:
        """Ask the active run to stop; one that nobody has begun ends at once.

        Raises:
            NoRunActive: if there is none.
        """
        with self._database.writing() as session:
            row = _active(session)
            if row is None:
                raise NoRunActive(
                    "There is no retraining to stop. GET /retrain/history has the last."
                )
            if row.owner is None:
                row.cancel_requested = True
                _end(session, row, "cancelled", f"Stopped by {actor}.", actor)
            elif not row.cancel_requested:
                row.cancel_requested = True
                _audit(session, row, "cancel_requested", actor, {})
            return run_of(row)


def _active(session: Session) -> RunRow | None:
    return session.scalars(select(RunRow).where(RunRow.active == 1)).one_or_none()


def _row(session: Session, run_id: int) -> RunRow:
    row = session.get(RunRow, run_id)
    if row is None:
        raise NotFound(f"There is no run {run_id}. GET /retrain/history lists those there are.")
    return row


def _owned(session: Session, run_id: int, owner: str) -> RunRow:
    """A run of an owner, who thereby gives a sign of life."""
    row = _row(session, run_id)
    if row.active is None or row.owner != owner:
        state = row.state if row.active is None else f"owned by {row.owner}"
        raise LeaseLost(f"Run {run_id} is {state}. Stop working on it; its state is not yours.")
    row.heartbeat = now(session)
    return row


def _is_silent(row: RunRow, moment: datetime, lease_s: float) -> bool:
    """Whether the owner gave no sign of life for so long.

    A sign from the future says that the clock was put back since. An owner who is alive gives
    another within the lease.
    """
    return row.heartbeat is None or abs(moment - row.heartbeat) >= timedelta(seconds=lease_s)


def _end(session: Session, row: RunRow, state: FinalState, reason: str | None, actor: str) -> None:
    row.active, row.state, row.finished = None, state, now(session)
    row.reason = None if reason is None else storable(reason)
    _audit(session, row, state, actor, {"reason": row.reason, "version": row.challenger_version})


def _audit(session: Session, row: RunRow, event: str, actor: str, details: dict[str, Any]) -> None:
    audit.append(session, f"run.{event}", actor, {"run": row.id, **details})
