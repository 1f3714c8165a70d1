"""Rollouts: one at a time, numbered upwards, every change of state audited."""

from __future__ import annotations

import json
from typing import Any

import pytest

from data.catalogue import audit
from data.catalogue.database import Database
from data.catalogue.rollouts import FINAL_STATES, Ending, RolloutOver, Rollouts, RolloutState
from data.catalogue.runs import Runs
from models.errors import InvalidField, NotFound, RolloutActive


def _events(database: Database) -> list[tuple[str, str, dict[str, Any]]]:
    audit.verify(database)
    entries = audit.latest(database, 1000)
    return [(entry.event, entry.actor, json.loads(entry.details)) for entry in entries]


def test_a_life_of_a_rollout(database: Database, runs: Runs, rollouts: Rollouts) -> None:
    assert rollouts.active() is None
    assert rollouts.latest() is None
    run = runs.request("head", "manual", "api")
    assert rollouts.of_run(run.id) is None
    begun = rollouts.begin(
        "promotion", "1", "2", "trainer", "shadowing", run_id=run.id, gate_hash="abc"
    )
    assert begun == rollouts.active() == rollouts.get(begun.id) == rollouts.latest()
    assert begun == rollouts.of_run(run.id)
    assert (begun.from_version, begun.to_version, begun.active) == ("1", "2", True)
    assert (begun.run_id, begun.gate_hash) == (run.id, "abc")
    assert begun.created == begun.updated
    assert begun.finished is None

    shadow = {"passed": True, "images": 50}
    rollouts.update(begun.id, shadow=shadow)
    rollouts.update(begun.id, state="switching", autoscaling={"min_replicas": 1})
    switching = rollouts.get(begun.id)
    assert (switching.shadow, switching.autoscaling) == (shadow, {"min_replicas": 1})
    rollouts.update(begun.id, state="observing", autoscaling=None)
    ended = rollouts.update(begun.id, state="completed", observation={"errors": 0}, reason="Well.")
    assert ended == rollouts.get(begun.id)
    assert (ended.state, ended.active, ended.finished) == ("completed", False, ended.updated)
    assert (ended.shadow, ended.observation) == (shadow, {"errors": 0})
    assert (ended.autoscaling, ended.reason) == (None, "Well.")
    assert rollouts.active() is None

    events = [event for event in _events(database) if event[0].startswith("rollout.")]
    assert [event for event, *_ in events] == [
        *("rollout.shadowing", "rollout.switching", "rollout.observing", "rollout.completed")
    ]
    assert {actor for _, actor, _ in events} == {"trainer"}
    versions = {"rollout": begun.id, "from": "1", "to": "2"}
    assert events[0][2] == versions | {
        "kind": "promotion",
        "run": run.id,
        "gate_hash": "abc",
        "forced": False,
    }
    judged = {"shadow": shadow, "observation": {"errors": 0}}
    assert events[-1][2] == versions | {"reason": "Well."} | judged


def test_there_is_one_at_a_time_and_each_has_its_number(rollouts: Rollouts) -> None:
    first = rollouts.begin("promotion", "1", "2", "api", "switching")
    with pytest.raises(RolloutActive, match=r"Version 2 .*switching"):
        rollouts.begin("rollback", "2", "1", "api", "switching")
    rollouts.update(first.id, state="failed")
    second = rollouts.begin("automatic_rollback", "2", "1", "trainer", "switching")
    assert second.id > first.id
    page = rollouts.history(limit=1)
    assert (page.total, page.items) == (2, (second,))
    assert rollouts.history(offset=1).items == (rollouts.get(first.id),)
    with pytest.raises(InvalidField):
        rollouts.history(offset=-1)


@pytest.mark.parametrize("state", FINAL_STATES)
def test_an_end_is_final(database: Database, rollouts: Rollouts, state: RolloutState) -> None:
    rollout = rollouts.begin("promotion", "1", "2", "api", "shadowing")
    ended = rollouts.update(rollout.id, state=state, reason="A \0 reason.")
    assert ended.reason == "A � reason."
    assert rollouts.update(rollout.id, state=state, reason="Another.") == ended
    with pytest.raises(RolloutOver, match=f"is {state}"):
        rollouts.update(rollout.id, state="switching")
    with pytest.raises(RolloutOver):
        rollouts.update(rollout.id, observation={})
    assert len(_events(database)) == 2


def test_what_is_not_given_stays_and_is_not_audited(database: Database, rollouts: Rollouts) -> None:
    rollout = rollouts.begin("promotion", "1", "2", "api", "shadowing")
    rollouts.update(rollout.id, shadow={"images": 1})
    updated = rollouts.update(rollout.id, state="shadowing")
    assert updated.shadow == {"images": 1}
    assert updated.updated > rollout.updated
    assert len(_events(database)) == 1


def test_one_may_end_another_in_the_same_moment(database: Database, rollouts: Rollouts) -> None:
    first = rollouts.begin("promotion", "1", "2", "api", "observing", autoscaling={"max": 2})
    ending = Ending(first.id, "reverted", "Too many errors.")
    second = rollouts.begin(
        "automatic_rollback", "2", "1", "trainer", "switching", autoscaling={"max": 2}, after=ending
    )
    ended = rollouts.get(first.id)
    assert (ended.state, ended.reason, ended.active) == ("reverted", "Too many errors.", False)
    assert second == rollouts.active()
    assert second.autoscaling == {"max": 2}
    assert [event for event, *_ in _events(database)] == [
        *("rollout.observing", "rollout.reverted", "rollout.switching")
    ]


def test_what_cannot_begin_ends_nothing(database: Database, rollouts: Rollouts) -> None:
    first = rollouts.begin("promotion", "1", "2", "api", "observing")
    rollouts.update(first.id, state="completed")
    second = rollouts.begin("promotion", "2", "3", "api", "observing")
    with pytest.raises(RolloutOver):
        rollouts.begin(
            "rollback", "3", "2", "api", "switching", after=Ending(first.id, "failed", None)
        )
    with pytest.raises(RolloutActive):  # it ends one that is over, as it is over
        rollouts.begin(
            "rollback", "3", "2", "api", "switching", after=Ending(first.id, "completed", None)
        )
    assert rollouts.active() == second
    assert len(_events(database)) == 3


def test_an_unknown_rollout_is_told(rollouts: Rollouts) -> None:
    with pytest.raises(NotFound, match="no rollout 7"):
        rollouts.get(7)
    with pytest.raises(NotFound, match="no rollout 7"):
        rollouts.update(7, state="failed")


def test_the_way_back_is_not_taken_for_the_runs_promotion(rollouts: Rollouts, runs: Runs) -> None:
    run = runs.request("head", "manual", "api")
    forward = rollouts.begin("promotion", "1", "2", "trainer", "observing", run_id=run.id)
    ending = Ending(forward.id, "reverted", "It disagrees.")
    rollouts.begin(
        "automatic_rollback", "2", "1", "trainer", "switching", run_id=run.id, after=ending
    )
    found = rollouts.of_run(run.id)
    assert found is not None
    assert (found.id, found.state) == (forward.id, "reverted")
