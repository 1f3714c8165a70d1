"""The connection to Ray: the caller's is left alone, and an address without an answer is told."""

from __future__ import annotations

import pytest
import ray

from tests.conftest import free_port
from training.ray_connection import RayUnavailable, ray_connection


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}"])
def test_an_address_where_nothing_listens_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    address = address.format(port=free_port())
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with (
        pytest.raises(RayUnavailable, match=f"{address}: .*refused.*RAY|local to train"),
        ray_connection(),
    ):
        pass


def test_a_connection_of_the_caller_is_used_and_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "init", _never)
    monkeypatch.setattr(ray, "shutdown", _never)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with ray_connection():
        pass


def _never(*_: object, **__: object) -> None:
    raise AssertionError("the connection is not ours")
