"""The routes of the repository: what is in the registry, and a load that is a promotion."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

from models import errors
from models.package import ModelPackage
from serve_app.open_inference import schemas
from tests.serve_app.open_inference.test_rest import error_of
from tests.serve_app.trainer import InProcessTrainer


async def test_the_repository_is_the_registry(
    api: httpx.AsyncClient, champion: ModelPackage
) -> None:
    response = await api.post("/v2/repository/index")
    (entry,) = TypeAdapter(list[schemas.IndexEntry]).validate_json(response.content)
    assert (entry.version, entry.state) == (champion.manifest.version, "READY")


async def test_a_load_is_a_promotion(api: httpx.AsyncClient, trainer: InProcessTrainer) -> None:
    path = "/v2/repository/models/dermserve/load"
    wish = {"parameters": {"version": "2"}}
    # The trainer of this test has begun and not ended.
    error_of(await api.post(path, json=wish), 504, "deadline_exceeded")
    error_of(await api.post(path, json=wish), 409, "rollout_active")
    begun = trainer.rollouts.latest()
    assert begun is not None
    trainer.rollouts.update(begun.id, state="completed")
    trainer.refused.add("3")
    refused = {"parameters": {"version": "3"}}
    error_of(await api.post(path, json=refused), 409, "gate_refused")


async def test_loading_what_serves_changes_nothing(
    api: httpx.AsyncClient, trainer: InProcessTrainer
) -> None:
    trainer.error = errors.AlreadyChampion("It serves.")
    response = await api.post(
        "/v2/repository/models/dermserve/load", json={"parameters": {"version": "1"}}
    )
    assert (response.status_code, response.json()) == (200, {})


@pytest.mark.parametrize(
    "parameters", [{}, {"version": 1}, {"version": ""}, {"version": "2", "config": "{}"}]
)
async def test_a_load_names_a_version_and_nothing_else(
    api: httpx.AsyncClient, parameters: dict[str, Any]
) -> None:
    response = await api.post(
        "/v2/repository/models/dermserve/load", json={"parameters": parameters}
    )
    assert "version" in error_of(response, 422, "invalid_field")
