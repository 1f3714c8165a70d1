"""Sentences of uploads, runs and failures."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, get_args

import httpx
import pytest

from dashboard.failure_text import AWAY, MISTAKE, SLOW, failure_text, health_problem
from dashboard.run_sentences import history_rows, phase_text, rollout_sentence, run_sentence
from dashboard.upload_sentences import (
    SOURCES,
    VERDICTS,
    missing_sentence,
    source_name,
    upload_finding,
    verdict_rows,
    verdict_sentence,
)
from dermserve_client import (
    AccessDenied,
    InvalidImage,
    Missing,
    Refused,
    Rollout,
    Run,
    TooLarge,
    TooManyRequests,
    UnexpectedAnswer,
    Unreachable,
    UploadResult,
)
from serve_app.upload import VerdictName
from serve_app.upload_schemas import LABEL_SOURCES
from tests.dashboard.answers import NOON


def run(**changes: Any) -> Run:
    values: dict[str, Any] = {
        **{"id": 1, "name": "r", "state": "running", "mode": "head", "trigger": "threshold"},
        **{"actor": "trainer", "phase": "training", "progress": 0.5, "epoch": 3, "epochs": 100},
        **{"eta_s": 20.0, "metrics": {}, "new_images": 10, "images": 12, "champion_version": "2"},
        **{"challenger_version": None, "decision": None, "reason": None, "attempts": 1},
        **{"cancel_requested": False, "created": NOON, "started": NOON, "finished": None},
        "heartbeat": None,
    }
    return Run.model_validate(values | changes)


def test_a_run_under_way() -> None:
    said = run_sentence(run(), NOON + timedelta(seconds=30))
    assert said == (
        "Training, epoch 3 of 100 at most. 12 labelled images; running for 30\u00a0s, about "
        "20\u00a0s left."
    )
    assert phase_text(run(cancel_requested=True)).endswith("; asked to stop")
    assert phase_text(run(phase="something")) == "Something"


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("promoted", "Version 3 was promoted. All pass. It took 60\u00a0s."),
        ("refused", "Version 3 was refused. All pass. It took 60\u00a0s."),
        ("failed", "It failed. All pass. It took 60\u00a0s."),
        ("cancelled", "It was stopped. All pass. It took 60\u00a0s."),
    ],
)
def test_a_run_that_is_over(state: str, said: str) -> None:
    ended = run(
        state=state,
        challenger_version="3",
        reason="All pass.",
        finished=NOON + timedelta(seconds=60),
    )
    assert run_sentence(ended) == said
    (row,) = history_rows([ended])
    assert row["Began (UTC)"] == "2026-11-01 12:00"
    assert row["Images"] == "12 (10 new)"


@pytest.mark.parametrize(
    "state", ["shadowing", "switching", "observing", "completed", "reverted", "failed", "other"]
)
def test_a_rollout(state: str) -> None:
    rollout = Rollout.model_validate(
        {
            **{"id": 1, "kind": "promotion", "run_id": 1, "from_version": "2", "to_version": "3"},
            **{"state": state, "actor": "api", "shadow": None, "observation": None},
            **{"autoscaling": None, "gate_hash": None, "reason": "So.", "created": NOON},
            **{"updated": NOON, "finished": None},
        }
    )
    said = rollout_sentence(rollout)
    assert "3" in said
    assert said.endswith(" So.")


def test_every_verdict_and_source_has_a_name() -> None:
    assert set(VERDICTS) == set(get_args(VerdictName))
    assert tuple(SOURCES) == LABEL_SOURCES
    assert source_name("expert") == "One expert"
    assert source_name(None) == "Unknown"


@pytest.mark.parametrize("verdict", get_args(VerdictName))
def test_what_became_of_a_file(verdict: str) -> None:
    result = UploadResult(index=0, verdict=verdict, duplicate_of="x")
    assert verdict_sentence(result).endswith(".")
    told = UploadResult(index=0, verdict=verdict, reason="For a reason.")
    if verdict not in ("accepted", "needs_label"):
        assert verdict_sentence(told) == "For a reason."
    (row,) = verdict_rows(["a.jpg"], ["mel"], [result])
    assert (row["File"], row["Label"], row["Verdict"]) == ("a.jpg", "Melanoma", VERDICTS[verdict])


def test_what_became_of_all() -> None:
    results = [UploadResult(index=0, verdict="accepted")] * 2 + [
        UploadResult(index=2, verdict="duplicate")
    ]
    assert upload_finding(results) == "Of 3 files: 2 stored with a label and 1 there already."
    assert upload_finding([]) == "Nothing was sent."


def _missing(**changes: Any) -> Missing:
    values: dict[str, Any] = {
        **{"new_images": 3, "threshold": 10, "missing": 7, "missing_by_class": {}},
        "quiet_until": None,
    }
    return Missing.model_validate(values | changes)


def test_what_is_missing() -> None:
    assert missing_sentence(_missing()).startswith("3 new labelled images of 10: 7 more")
    short = _missing(new_images=10, missing=0, missing_by_class={"mel": 2})
    assert missing_sentence(short).endswith("still missing: 2 Melanoma.")
    quiet = _missing(new_images=10, missing=0, quiet_until=datetime.now(timezone.utc))
    assert "no label has changed" in missing_sentence(quiet)
    assert missing_sentence(_missing(new_images=10, missing=0)).endswith("begins at once.")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Unreachable("http://10.0.0.1 does not answer"), AWAY),
        (AccessDenied("No.", code="unauthenticated"), "sidebar"),
        (AccessDenied("The role review is missing.", code="forbidden"), "The role review"),
        (TooManyRequests("Enough.", code="rate_limited", retry_after_s=3), "Try again in 3 s."),
        (TooManyRequests("Enough.", code="rate_limited"), "Try again in a moment."),
        (InvalidImage("It is no image.", code="unsupported_image"), "Choose another file."),
        (TooLarge("Over 20 MiB.", code="body_too_large"), "Save the picture smaller"),
        (Refused("There is room for one.", code="other"), "There is room for one."),
        (UnexpectedAnswer("<html>"), "DERMSERVE_URL"),
        (RuntimeError("/opt/dashboard/secret.py"), MISTAKE),
    ],
)
def test_failures_say_what_to_do(error: Exception, said: str) -> None:
    text = failure_text(error)
    assert said in text
    assert "10.0.0.1" not in text
    assert "<html>" not in text


def test_a_server_that_is_slow_is_not_away() -> None:
    slow, away = Unreachable("No answer."), Unreachable("No answer.")
    slow.__cause__ = httpx.ReadTimeout("too long")
    away.__cause__ = httpx.ConnectError("refused")
    assert health_problem(slow) == SLOW
    assert health_problem(away) == AWAY
    starting = Refused("No model is loaded.", code="model_unavailable")
    assert health_problem(starting) == "The server is not ready. No model is loaded."
