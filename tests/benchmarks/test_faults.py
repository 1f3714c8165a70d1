"""Faults: how answers are counted, and parts of the server that are killed while it works."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from benchmarks.faults import __main__ as command
from benchmarks.faults import full_disk
from benchmarks.faults.ground import Ground, outcome
from benchmarks.faults.kills import kill_all
from benchmarks.faults.outcome import HEADINGS, Outcome, failures, markdown, row
from benchmarks.faults.scenarios import SCENARIOS, Scenario, open_ground, problem
from benchmarks.faults.tally import Counting, Tally
from benchmarks.faults.traffic import Traffic, TrafficReport
from benchmarks.wrk import LoadFailed
from cluster.server import LocalServer
from dermserve_client import Retries
from tests.benchmarks.breakable_server import BreakableServer, breakable_server
from tests.conftest import PROJECT, free_port

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


def test_a_gap_that_is_still_open_counts() -> None:
    counting = Counting(now_s=10)
    counting.add(None, 11)
    counting.add("ReadTimeout", 51)
    assert counting.tally(struck_s=12).longest_gap_s == 40
    assert counting.last_good_s == 11


@pytest.fixture
def breakable() -> Iterator[BreakableServer]:
    with breakable_server() as server:
        yield server


def test_a_server_that_hangs_is_not_calm(breakable: BreakableServer) -> None:
    with Traffic(breakable.url, requests_per_s=50, uploads_per_s=20, warm_s=0.5) as traffic:
        traffic.calm(quiet_s=0.5, timeout_s=30)
        breakable.well.clear()
        traffic.pause(0.2)  # what was answered already is on its way
        with pytest.raises(LoadFailed, match=r"still fail or are not answered 2 s later; 0 have"):
            traffic.calm(quiet_s=0.5, timeout_s=2)
        breakable.well.set()
        traffic.calm(quiet_s=0.5, timeout_s=30)


def test_who_seldom_asks_is_not_waited_for(breakable: BreakableServer) -> None:
    with Traffic(breakable.url, requests_per_s=50, uploads_per_s=0.01, warm_s=0.5) as traffic:
        traffic.calm(quiet_s=0.5, timeout_s=30)
        assert traffic.report().uploads.sent == 0


def test_a_server_that_still_fails_is_not_asked_for_its_uploads(
    breakable: BreakableServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()
    monkeypatch.setattr(Traffic, "report", lambda _: asked.set())
    with Traffic(breakable.url, requests_per_s=50, uploads_per_s=20, warm_s=0.5) as traffic:
        breakable.broken.add("/predict")
        with pytest.raises(LoadFailed, match=r"[1-9]\d* have failed so far"):
            traffic.calm(quiet_s=5, timeout_s=0.5)
    assert not asked.is_set()


def test_serve_that_cannot_be_asked_does_not_serve(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert not Ground(url, url, os.getpid(), tmp_path).serves()


def test_a_scenario_that_breaks_leaves_the_others_and_the_table(
    breakable: BreakableServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    good = Tally(sent=1, failures={}, longest_gap_s=0, failed_until_s=None)
    report = TrafficReport(
        plain=good, patient=good, attempts=1, uploads=good, acknowledged=0, found=0
    )

    def well(ground: Ground) -> Outcome:
        return Outcome(scenario="x", fault="one fault", traffic=report, whole_after_s=None)

    def badly(ground: Ground) -> Outcome:
        breakable.broken.add("/retrain")
        httpx.post(f"{ground.url}/retrain").raise_for_status()
        return well(ground)

    @contextmanager
    def opened(ground: str, config: Path, folder: Path) -> Iterator[Ground]:
        if ground == "none":
            raise LoadFailed("It does not start.")
        yield Ground(breakable.url, breakable.url, os.getpid(), folder)

    scenarios = {
        "first": Scenario(well),
        "second": Scenario(badly),
        "third": Scenario(well),
        "fourth": Scenario(well, "none"),
        "fifth": Scenario(well, "other"),
    }
    monkeypatch.setattr(command, "SCENARIOS", scenarios)
    monkeypatch.setattr(command, "open_ground", opened)
    monkeypatch.setattr(command, "use_own_token", lambda: None)
    with pytest.raises(LoadFailed, match=r"second: HTTPStatusError.*500.*none: It does not start"):
        command.main(None, tmp_path, tmp_path)
    said = capsys.readouterr().out
    assert "Left out: third, because of second." in said
    assert "Left out: fourth, because of the start of none." in said
    assert (tmp_path / "faults.md").read_text().count("| one fault |") == 2


@pytest.mark.skipif(problem("disk") is not None, reason="a file system cannot be mounted")
def test_a_full_disk_is_emptied_whatever_happens(
    breakable: BreakableServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_disk, "SIZE_MIB", 1)
    monkeypatch.setattr(full_disk, "FULL_S", 0.0)
    breakable.deaf.add("/retrain")
    with ExitStack() as held:
        try:
            folder = held.enter_context(full_disk.small_disk(tmp_path / "disk"))
        except LoadFailed as error:
            pytest.skip(error.message)  # root, and still not allowed to
        with pytest.raises(httpx.RemoteProtocolError):
            full_disk.fill(Ground(breakable.url, breakable.url, os.getpid(), folder))
        assert not list(folder.iterdir())


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
    # Who asks once may also meet an HAProxy that is replaced and closes its idle connections.
    assert set(made.traffic.plain.failures) <= {
        *("ConnectError", "ReadError", "RemoteProtocolError", "503 stage_unavailable")
    }, made


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
