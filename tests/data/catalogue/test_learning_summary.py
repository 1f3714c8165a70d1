"""How runs and rollouts ended, counted."""

from __future__ import annotations

from data.catalogue.database import Database
from data.catalogue.learning_summary import summarise_learning
from data.catalogue.rollouts import Rollouts
from data.catalogue.runs import Runs

DECISION = {"passed": False, "reason": "Too few images.", "rules": []}


def test_nothing_was_ever_learned(database: Database) -> None:
    summary = summarise_learning(database)
    assert set(summary.runs.values()) == set(summary.rollouts.values()) == {0}
    assert (len(summary.runs), len(summary.rollouts)) == (6, 18)
    assert summary.active is summary.last_finished is summary.decision is summary.rollout is None


def test_runs_and_rollouts_are_counted(database: Database, runs: Runs, rollouts: Rollouts) -> None:
    for _ in range(2):
        run = runs.request("head", "manual", "tester")
        runs.cancel("tester")
    run = runs.request("head", "manual", "tester")
    assert runs.claim(run.id, "owner", 60) is not None
    runs.decide(run.id, "owner", DECISION)
    runs.finish(run.id, "owner", "refused", "Too few images.")
    first = rollouts.begin("promotion", "1", "2", "tester", "switching")
    rollouts.update(first.id, state="completed")
    second = rollouts.begin("automatic_rollback", "2", "1", "tester", "switching")
    active = runs.request("head", "threshold", "trainer")

    summary = summarise_learning(database)
    assert {state: count for state, count in summary.runs.items() if count} == {
        "queued": 1,
        "cancelled": 2,
        "refused": 1,
    }
    assert summary.decision == DECISION
    assert summary.active is not None
    assert summary.active.id == active.id
    assert summary.last_finished == runs.get(run.id).finished
    assert summary.moment >= active.created
    assert {key: count for key, count in summary.rollouts.items() if count} == {
        ("promotion", "completed"): 1,
        ("automatic_rollback", "switching"): 1,
    }
    assert summary.rollout == rollouts.get(second.id).state == "switching"
