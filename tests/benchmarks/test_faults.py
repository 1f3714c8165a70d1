"""Faults: how answers are counted, and parts of the server that are killed while it works."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.faults.ground import Ground, outcome
from benchmarks.faults.kills import kill_all
from benchmarks.faults.outcome import HEADINGS, Outcome, failures, markdown, row
from benchmarks.faults.scenarios import SCENARIOS, open_ground, problem
from benchmarks.faults.tally import Counting, Tally
from benchmarks.faults.traffic import Traffic, TrafficReport
from cluster.server import LocalServer
from dermserve_client import Retries
from tests.conftest import PROJECT

PATIENT = Retries(total_s=120)
"""A busy machine must not fail a test."""


def test_a_tally_tells_the_lost_from_the_refused() -> None:
    counting = Counting(now_s=10)
    for failure, now_s in [
        (None, 11),
        ("503 stage_unavailable", 12),
        ("ConnectError", 13),
        ("507 storage_full", 13.5),
        ("502 stage_unavailable", 14),
        ("RemoteProtocolError", 15),
        (None, 16),
    ]:
        counting.add(failure, now_s)
    tally = counting.tally(struck_s=12)
    assert (tally.sent, tally.failed, tally.refused, tally.lost) == (7, 5, 3, 2)
    assert tally.longest_gap_s == 5
    assert tally.failed_until_s == 3
    assert Counting(0).tally(0) == Tally(sent=0, failures={}, longest_gap_s=0, failed_until_s=None)


def test_the_table_has_what_failed_and_what_was_lost() -> None:
    good = Tally(sent=100, failures={}, longest_gap_s=0.2, failed_until_s=None)
    bad = Tally(
        sent=100,
        failures={"503 overloaded": 2, "ReadError": 1},
        longest_gap_s=3.25,
        failed_until_s=3.14,
    )
    report = TrafficReport(
        plain=bad, patient=good, attempts=104, uploads=good, acknowledged=9, found=8
    )
    made = Outcome(scenario="a", fault="a fault", traffic=report, whole_after_s=4.0, note="more")
    assert failures(bad) == "3 (2 x 503 overloaded, 1 x ReadError)"
    assert row(made) == (
        *("a fault", "100", "3 (2 x 503 overloaded, 1 x ReadError)", "100", "0"),
        *("3.1", "3.2", "4.0", "9", "1", "more"),
    )
    head, rule, line = markdown([made]).splitlines()
    assert head.count("|") == rule.count("|") == line.count("|") == len(HEADINGS) + 1


@pytest.mark.parametrize("parts", [("ingress", "archive", "explainer"), ("haproxy",)])
def test_who_asks_again_notices_no_death(
    server: LocalServer, tmp_path: Path, parts: tuple[str, ...]
) -> None:
    ground = Ground(server.url, server.dashboard_url, os.getpid(), tmp_path)
    made = outcome(
        "kill",
        "kill",
        ground,
        lambda _: kill_all(ground, parts),
        Traffic(server.url, retries=PATIENT, warm_s=1),
        quiet_s=1,
    )
    assert made.traffic.patient.failed == 0, made
    assert made.traffic.acknowledged > 0
    assert made.traffic.uploads_lost == 0
    assert set(made.traffic.plain.failures) <= {"ConnectError", "503 stage_unavailable"} | (
        {"ReadError", "RemoteProtocolError"} if "haproxy" in parts else set()
    ), made


GROUNDS = list(dict.fromkeys(scenario.ground for scenario in SCENARIOS.values()))


@pytest.mark.skipif(
    "DERMSERVE_FAULTS" not in os.environ, reason="takes long; DERMSERVE_FAULTS=1 runs it"
)
@pytest.mark.parametrize("kind", GROUNDS)
def test_every_fault_is_recovered_from(kind: str, tmp_path: Path) -> None:
    if (reason := problem(kind)) is not None:
        pytest.skip(reason)
    with open_ground(kind, PROJECT / "serve_config.yaml", tmp_path) as ground:
        for scenario in SCENARIOS.values():
            if scenario.ground == kind:
                made = scenario.make(ground)
                assert made.traffic.uploads_lost == 0, made
