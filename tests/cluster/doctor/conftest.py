"""Fixtures of the doctor's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.doctor.serve_state import Node, ServeState
from cluster.doctor.surroundings import PLACES, Surroundings
from cluster.doctor.unseen import Unseen
from tests.data.catalogue.conftest import postgres_server, postgresql_url

__all__ = ["postgres_server", "postgresql_url"]

Place = Callable[..., Surroundings]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Surroundings without a server, whose stores are where a test wants them."""

    def surroundings(nodes: int = 1, **places: str) -> Surroundings:
        environment = {
            "DERMSERVE_REGISTRY": f"sqlite:///{tmp_path}/var/mlflow.db",
            "DERMSERVE_CATALOGUE": f"sqlite:///{tmp_path}/var/catalogue.db",
            "DERMSERVE_IMAGES": f"{tmp_path}/var/images",
            "DERMSERVE_RUNS": f"{tmp_path}/var/runs",
            **places,
        }
        assert environment.keys() <= set(PLACES) | {"RAY_REDIS_ADDRESS", "RAY_REDIS_PASSWORD"}
        nothing = Unseen("No server answers.")
        cluster = tuple(Node(f"10.0.0.{index}", 2, 0, None) for index in range(nodes))
        state = ServeState("http://127.0.0.1:8265", True, "2.60.0", {}, cluster)
        return Surroundings(
            Path("serve_config.yaml"),
            {"applications": []},
            "http://127.0.0.1:8000",
            False,
            environment,
            nothing,
            nothing,
            state if nodes > 1 else nothing,
        )

    return surroundings
