"""Draining: what is under way is answered, and nobody new gets in."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from cluster.drain import drain, end
from cluster.environment import haproxy_problem
from tests.cluster.test_edge import Replica, haproxy

pytestmark = pytest.mark.skipif(
    haproxy_problem() is not None, reason=f"HAProxy does not run: {haproxy_problem()}"
)


def _wait_until_closed(client: httpx.Client) -> None:
    """Until nobody new is let in."""
    with httpx.Client(base_url=client.base_url, headers={"connection": "close"}) as stranger:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                stranger.get("/health/live")
            except httpx.ConnectError:
                return
            except httpx.TransportError:  # it was being ended just then
                continue
    raise AssertionError("the door stays open")


def test_a_request_under_way_is_answered_and_a_new_one_is_not_taken(tmp_path: Path) -> None:
    with haproxy(tmp_path, 10) as (client, _, _), ThreadPoolExecutor(2) as pool:
        under_way = pool.submit(client.post, "/predict", content=b"image")
        assert Replica.arrived.acquire(timeout=30)
        drained = pool.submit(drain, [tmp_path / "admin.sock"])
        _wait_until_closed(client)
        assert not drained.done()
        assert not under_way.done()
        Replica.let_go.set()
        answer = under_way.result(30)
        assert answer.status_code == 200
        assert answer.headers["connection"] == "close"
        assert drained.result(30) == 0


def test_an_open_connection_is_answered_once_more(tmp_path: Path) -> None:
    with haproxy(tmp_path, 10) as (client, _, _):
        Replica.let_go.set()
        assert "connection" not in client.get("/health/live").headers
        draining = threading.Thread(target=drain, args=([tmp_path / "admin.sock"],))
        draining.start()
        _wait_until_closed(client)
        last = client.get("/health/live")
        assert (last.status_code, last.headers["connection"]) == (200, "close")
        draining.join(30)
        assert not draining.is_alive()


def test_what_does_not_end_is_counted(tmp_path: Path) -> None:
    with haproxy(tmp_path, 10) as (client, _, _), ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(client.post, "/predict", content=b"image")
        assert Replica.arrived.acquire(timeout=30)
        assert drain([tmp_path / "admin.sock"], timeout_s=0.2) == 1
        Replica.let_go.set()
        assert under_way.result(30).status_code == 200


def test_where_no_haproxy_is_nothing_is_under_way(tmp_path: Path) -> None:
    assert drain([tmp_path / "admin.sock"], timeout_s=0.2) == 0


def test_what_outlived_its_manager_is_ended(tmp_path: Path) -> None:
    with haproxy(tmp_path, 10) as (client, _, _):
        end([tmp_path / "admin.sock", tmp_path / "none.sock"])
        _wait_until_closed(client)
