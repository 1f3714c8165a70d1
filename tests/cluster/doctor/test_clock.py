"""Clocks of this machine and of the nodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler

import pytest

from cluster.doctor.clock import ClockFacts, check, offset_s
from tests.cluster.doctor.found import one, verdicts
from tests.conftest import free_port
from tests.http_server import http_server

MADE = datetime(2026, 11, 20, tzinfo=timezone.utc)
RIGHT = ClockFacts(MADE + timedelta(days=100), MADE, {"the server": 0.0, "node 10.0.0.2": -0.5})


def test_clocks_that_agree() -> None:
    assert verdicts(check(RIGHT)) == ["ok", "ok"]


@pytest.mark.parametrize(
    "now", [MADE - timedelta(days=1), datetime(2099, 1, 1, tzinfo=timezone.utc)]
)
def test_a_year_that_cannot_be(now: datetime) -> None:
    assert f"{now:%Y-%m-%d}" in one(check(replace(RIGHT, now=now)), "wrong").message


@pytest.mark.parametrize(("offset", "verdict"), [(5.0, "warning"), (-120.0, "wrong")])
def test_a_node_that_is_off(offset: float, verdict: str) -> None:
    found = check(replace(RIGHT, offsets_s={"the server": 0.0, "node 10.0.0.2": offset}))
    assert verdicts(found) == ["ok", verdict]
    assert f"node 10.0.0.2 {offset:+.0f} s" in found[-1].message


def test_two_nodes_that_are_off_to_both_sides() -> None:
    found = check(replace(RIGHT, offsets_s={"node a": 20.0, "node b": -20.0}))
    assert "40 s apart" in one(found, "wrong").message


def test_a_node_that_does_not_tell() -> None:
    found = check(replace(RIGHT, offsets_s={"the server": 0.0, "node 10.0.0.2": None}))
    assert "node 10.0.0.2" in one(found, "not checked").message


def test_no_server() -> None:
    found = check(replace(RIGHT, offsets_s={}, unseen="No server answers."))
    assert verdicts(found) == ["ok", "not checked"]


@contextmanager
def _server(ahead: timedelta) -> Iterator[str]:
    """A server whose clock is off."""

    class Handler(BaseHTTPRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            return format_datetime(datetime.now(timezone.utc) + ahead, usegmt=True)

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

    with http_server(Handler) as url:
        yield url


@pytest.mark.parametrize("ahead_s", [-300, -60, 60, 300])
def test_an_offset_is_measured(ahead_s: int) -> None:
    with _server(timedelta(seconds=ahead_s)) as url:
        measured = offset_s(url)
    assert measured is not None
    assert abs(measured - ahead_s) < 10  # a busy machine


def test_no_offset() -> None:
    with _server(timedelta(0)) as url:
        assert offset_s(url) == 0.0
    assert offset_s(f"http://127.0.0.1:{free_port()}") is None
