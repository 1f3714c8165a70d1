"""Draining: what is under way is answered, and nobody new gets in."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from cluster.drain import drain
from tests.cluster.test_edge import Replica, haproxy, pytestmark

__all__ = ["pytestmark"]


def test_a_request_under_way_is_answered_and_a_new_one_is_not_taken(tmp_path: Path) -> None:
    with haproxy(tmp_path, 10) as (client, _, _), ThreadPoolExecutor(2) as pool:
        under_way = pool.submit(client.post, "/predict", content=b"image")
        assert Replica.arrived.acquire(timeout=30)
        drained = pool.submit(drain, [tmp_path / "admin.sock"])
        with httpx.Client(base_url=client.base_url) as stranger, pytest.raises(httpx.ConnectError):
            while True:  # until the door is closed
                stranger.get("/health/live", headers={"connection": "close"})
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
        with httpx.Client(base_url=client.base_url) as stranger, pytest.raises(httpx.ConnectError):
            while True:
                stranger.get("/health/live", headers={"connection": "close"})
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
