"""Runs: one at a time, one owner at a time, the same images whoever resumes, every step audited."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from data.catalogue import audit
from data.catalogue.database import Database
from data.catalogue.run import FINAL_STATES, FinalState
from data.catalogue.runs import LeaseLost, Run, Runs
from data.catalogue.tables import RunRow
from data.catalogue.uploads import Uploads
from models.errors import InvalidField, NoRunActive, NotFound, RunActive
from tests.data.catalogue.conftest import Opener
from tests.data.catalogue.examples import fill

LONG_S = 3600.0


@pytest.fixture
def run(runs: Runs) -> Run:
    """A run that the owner `first` works on."""
    claimed = runs.claim(runs.request("head", "threshold", "trainer").id, "first", LONG_S)
    assert claimed is not None
    return claimed


def _events(database: Database) -> list[tuple[str, str, dict[str, Any]]]:
    audit.verify(database)
    entries = audit.latest(database, 1000)
    return [(entry.event, entry.actor, json.loads(entry.details)) for entry in entries]


def test_a_request_waits_for_an_owner(database: Database, runs: Runs) -> None:
    assert runs.active() is None
    fill(database, "mel", "nv", None)
    run = runs.request("full", "manual", "api")
    assert run == runs.active() == runs.get(run.id)
    assert (run.state, run.mode, run.trigger, run.actor) == ("queued", "full", "manual", "api")
    assert (run.images, run.new_images, run.attempts) == (2, 2, 0)
    assert (run.name, run.active, run.started) == (f"retrain-{run.id:06d}", True, None)
    assert run.created.utcoffset() is not None
    details = {"run": run.id, "mode": "full", "trigger": "manual", "new_images": 2}
    assert _events(database)[-1] == ("run.requested", "api", details)


def test_there_is_never_a_second_one(runs: Runs) -> None:
    first = runs.request("head", "manual", "api")
    with pytest.raises(RunActive, match=f"Run {first.id} is queued"):
        runs.request("head", "threshold", "trainer")
    runs.claim(first.id, "owner", LONG_S)
    with pytest.raises(RunActive, match=f"Run {first.id} is running"):
        runs.request("full", "manual", "api")
    runs.finish(first.id, "owner", "failed", "It did not work.")
    assert runs.request("head", "manual", "api").id > first.id


def test_a_run_has_one_owner(database: Database, runs: Runs, run: Run) -> None:
    assert (run.state, run.attempts, run.started) == ("running", 1, run.heartbeat)
    assert runs.claim(run.id, "second", LONG_S) is None
    again = runs.claim(run.id, "first", LONG_S)
    assert again is not None
    assert again.attempts == 1
    assert again.heartbeat is not None
    assert run.heartbeat is not None
    assert again.heartbeat > run.heartbeat
    assert [event for event, *_ in _events(database)] == ["run.requested", "run.started"]


def test_the_next_owner_takes_a_silent_ones_run(database: Database, runs: Runs, run: Run) -> None:
    taken = runs.claim(run.id, "second", lease_s=0)
    assert taken is not None
    assert (taken.attempts, taken.state, taken.started) == (2, "running", run.started)
    assert _events(database)[-1] == (
        "run.resumed",
        "trainer",
        {"run": run.id, "attempt": 2, "owner": "second"},
    )
    for use in (
        lambda: runs.beat(run.id, "first"),
        lambda: runs.report(run.id, "first", phase="training"),
        lambda: runs.snapshot(run.id, "first", (), "1", "2"),
        lambda: runs.decide(run.id, "first", {"passed": True}),
        lambda: runs.finish(run.id, "first", "promoted", None),
    ):
        with pytest.raises(LeaseLost, match="owned by second"):
            use()
    assert runs.get(run.id) == taken


def test_a_sign_of_life_keeps_a_run(runs: Runs, run: Run) -> None:
    beaten = runs.beat(run.id, "first")
    assert run.heartbeat is not None
    assert beaten.heartbeat is not None
    assert beaten.heartbeat > run.heartbeat
    silence_s = (beaten.heartbeat - run.heartbeat).total_seconds()
    runs.report(run.id, "first", progress=0.5)
    reported = runs.get(run.id).heartbeat
    assert reported is not None
    assert reported > beaten.heartbeat
    assert runs.claim(run.id, "second", lease_s=silence_s + LONG_S) is None


def test_a_sign_of_life_from_the_future_keeps_nothing(
    database: Database, runs: Runs, run: Run
) -> None:
    """The clock was put back since; who is alive gives another within the lease."""
    assert run.heartbeat is not None
    with database.writing() as session:
        moved = run.heartbeat + timedelta(days=3)
        session.execute(update(RunRow).where(RunRow.id == run.id).values(heartbeat=moved))
    taken = runs.claim(run.id, "second", lease_s=LONG_S)
    assert taken is not None
    assert taken.attempts == 2


def test_what_is_reported_is_shown(runs: Runs, run: Run) -> None:
    runs.report(run.id, "first", phase="training", progress=0.25, epoch=1, epochs=4, eta_s=9.5)
    runs.report(run.id, "first", metrics={"loss": 0.5, "by_class": {"mel": [1, 2]}})
    runs.report(run.id, "first", progress=0.5, epoch=2, eta_s=None)
    shown = runs.get(run.id)
    assert (shown.phase, shown.progress, shown.epoch, shown.epochs) == ("training", 0.5, 2, 4)
    assert shown.eta_s is None
    assert shown.metrics == {"loss": 0.5, "by_class": {"mel": [1, 2]}}
    runs.report(run.id, "first", metrics={"loss": math.nan, "a\0b": "\ud800"})
    assert runs.get(run.id).metrics == {"loss": None, "a\0b": "\ud800"}


@pytest.mark.parametrize(
    "values",
    [
        {"progress": -0.1},
        {"progress": 1.1},
        {"progress": math.nan},
        {"eta_s": -1.0},
        {"eta_s": math.inf},
        {"eta_s": math.nan},
    ],
)
def test_an_impossible_report_is_a_mistake(runs: Runs, run: Run, values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        runs.report(run.id, "first", phase="training", **values)
    assert runs.get(run.id) == run


def test_a_run_trains_on_the_same_whoever_resumes_it(
    database: Database, uploads: Uploads, runs: Runs
) -> None:
    first, second, _ = fill(database, "mel", "nv", None)
    run = runs.request("head", "manual", "api")
    runs.claim(run.id, "first", LONG_S)
    assert runs.snapshot_of(run.id) == ()
    runs.snapshot(run.id, "first", uploads.trainable(), "1", "2")
    snapshot = runs.snapshot_of(run.id)
    assert [(image.upload_id, image.label) for image in snapshot] == [
        (first.id, "mel"),
        (second.id, "nv"),
    ]
    assert all(image.present for image in snapshot)
    assert snapshot[0].image_key == first.image_key
    details = {"run": run.id, "images": 2, "new_images": 2, "champion": "1", "challenger": "2"}
    assert _events(database)[-1] == ("run.snapshot", "trainer", details)

    uploads.change(first.id, actor="tester", label="df")
    runs.claim(run.id, "second", lease_s=0)
    runs.snapshot(run.id, "second", uploads.trainable(), "9", "10")
    assert runs.snapshot_of(run.id) == snapshot
    resumed = runs.get(run.id)
    assert (resumed.champion_version, resumed.challenger_version) == ("1", "2")
    assert (resumed.images, resumed.new_images) == (2, 2)
    assert runs.of_version("2") == resumed
    assert runs.of_version("10") is None

    uploads.delete(first.id, "tester")
    assert [image.present for image in runs.snapshot_of(run.id)] == [False, True]


def test_what_changed_while_a_run_began_is_left_out(
    database: Database, uploads: Uploads, runs: Runs
) -> None:
    kept, deleted, relabelled, unlabelled = fill(database, "mel", "nv", "df", "bkl")
    read = uploads.trainable()
    uploads.delete(deleted.id, "tester")
    uploads.change(relabelled.id, actor="tester", label="mel")
    uploads.change(unlabelled.id, actor="tester", label=None)
    run = runs.request("head", "manual", "api")
    runs.claim(run.id, "first", LONG_S)
    runs.snapshot(run.id, "first", read, "1", "2")
    assert [image.upload_id for image in runs.snapshot_of(run.id)] == [kept.id]
    assert runs.get(run.id).images == 1


def test_a_snapshot_may_be_empty(runs: Runs, run: Run) -> None:
    runs.snapshot(run.id, "first", (), "1", "2")
    assert runs.snapshot_of(run.id) == ()
    assert runs.get(run.id).challenger_version == "2"


def test_new_images_are_those_of_no_earlier_decision(
    database: Database, uploads: Uploads, runs: Runs
) -> None:
    first, second = fill(database, "mel", "nv")
    for images, label, expected in ((1, "mel", 1), (2, "mel", 1), (2, "mel", 0), (2, "df", 1)):
        uploads.change(first.id, actor="tester", label=label)
        run = runs.request("head", "manual", "api")
        runs.claim(run.id, "first", LONG_S)
        runs.snapshot(run.id, "first", uploads.trainable()[:images], "1", "2")
        assert runs.get(run.id).new_images == expected
        runs.decide(run.id, "first", {"passed": False})
        runs.finish(run.id, "first", "refused", None)
    assert uploads.counts().new["nv"] == 0
    assert second.label == "nv"


def test_images_of_a_failed_run_start_nothing_and_are_new_to_the_gate(
    database: Database, uploads: Uploads, runs: Runs
) -> None:
    fill(database, "mel", "nv")
    for _ in range(2):
        run = runs.request("head", "manual", "api")
        runs.claim(run.id, "first", LONG_S)
        runs.snapshot(run.id, "first", uploads.trainable(), "1", "2")
        assert runs.get(run.id).new_images == 2
        assert sum(uploads.counts().new.values()) == 0
        runs.finish(run.id, "first", "failed", None)


def test_a_decision_is_kept_and_written_down_once(database: Database, runs: Runs, run: Run) -> None:
    decision = {"passed": False, "reason": "Worse.", "rules": [{"low": -0.02, "value": math.nan}]}
    stored = {"passed": False, "reason": "Worse.", "rules": [{"low": -0.02, "value": None}]}
    for _ in range(2):
        runs.decide(run.id, "first", decision)
        assert runs.get(run.id).decision == stored
    details = {"run": run.id, "decision": stored}
    events = [event for event in _events(database) if event[0] == "run.decided"]
    assert events == [("run.decided", "trainer", details)]


@pytest.mark.parametrize("state", FINAL_STATES)
def test_an_end_is_final(database: Database, runs: Runs, run: Run, state: FinalState) -> None:
    runs.finish(run.id, "first", state, "Because \0 \ud800 it ended.")
    ended = runs.get(run.id)
    assert (ended.state, ended.active, ended.reason) == (state, False, "Because � ? it ended.")
    assert ended.finished is not None
    assert runs.active() is None
    runs.finish(run.id, "first", state, "Again.")
    assert runs.get(run.id) == ended
    assert runs.claim(run.id, "second", lease_s=0) is None
    for use in (
        lambda: runs.beat(run.id, "first"),
        lambda: runs.report(run.id, "first", progress=1.0),
        lambda: runs.decide(run.id, "first", {"passed": True}),
        lambda: runs.finish(run.id, "second", state, None),
    ):
        with pytest.raises(LeaseLost, match=f"is {state}"):
            use()
    details = {"run": run.id, "reason": ended.reason, "version": None}
    assert _events(database)[-1] == (f"run.{state}", "trainer", details)


def test_a_run_that_nobody_has_begun_is_cancelled_at_once(database: Database, runs: Runs) -> None:
    with pytest.raises(NoRunActive, match="no retraining"):
        runs.cancel("api")
    run = runs.request("head", "manual", "api")
    cancelled = runs.cancel("api")
    assert (cancelled.id, cancelled.state, cancelled.active) == (run.id, "cancelled", False)
    assert runs.claim(run.id, "first", LONG_S) is None
    assert runs.active() is None
    assert [event for event, *_ in _events(database)] == ["run.requested", "run.cancelled"]
    with pytest.raises(NoRunActive):
        runs.cancel("api")


def test_the_owner_of_a_run_is_asked_to_stop(database: Database, runs: Runs, run: Run) -> None:
    for _ in range(2):
        assert runs.cancel("api").cancel_requested
    assert runs.beat(run.id, "first").cancel_requested
    assert runs.active() is not None
    taken = runs.claim(run.id, "second", lease_s=0)  # the request outlives its owner
    assert taken is not None
    assert taken.cancel_requested
    runs.finish(run.id, "second", "cancelled", "On request.")
    events = [event for event, *_ in _events(database)]
    assert events == [
        *("run.requested", "run.started"),
        *("run.cancel_requested", "run.resumed", "run.cancelled"),
    ]


def test_history_is_newest_first(runs: Runs) -> None:
    for _ in range(3):
        runs.request("head", "manual", "api")
        runs.cancel("api")
    page = runs.history(limit=2)
    assert page.total == 3
    assert [run.id for run in page.items] == [3, 2]
    assert [run.id for run in runs.history(limit=2, offset=2).items] == [1]
    with pytest.raises(InvalidField):
        runs.history(limit=0)


@pytest.mark.parametrize("run_id", [0, -1, 99])
def test_an_unknown_run_is_told(runs: Runs, run_id: int) -> None:
    for use in (
        lambda: runs.get(run_id),
        lambda: runs.claim(run_id, "owner", 1),
        lambda: runs.beat(run_id, "owner"),
        lambda: runs.finish(run_id, "owner", "failed", None),
    ):
        with pytest.raises(NotFound, match=f"no run {run_id}"):
            use()


def test_another_process_sees_it_all(runs: Runs, run: Run, url: str, opened: Opener) -> None:
    other = Runs(opened(url))
    assert other.active() == run
    with pytest.raises(RunActive):
        other.request("head", "manual", "api")
    assert other.cancel("api") == runs.active()
