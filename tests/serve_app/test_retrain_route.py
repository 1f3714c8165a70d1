"""The routes of retraining, over the real catalogue of runs."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import httpx
import orjson
import pytest
from ray.exceptions import RayActorError

from data.catalogue.rollouts import Rollout
from data.catalogue.run import Run
from serve_app import retrain_schemas as schemas
from tests.serve_app.forms import error_of
from tests.serve_app.trainer import InProcessTrainer


def test_the_contract_has_every_field_of_the_catalogue() -> None:
    assert set(schemas.Run.model_fields) == {field.name for field in fields(Run)} | {"name"}
    assert set(schemas.Rollout.model_fields) == {field.name for field in fields(Rollout)}


async def test_nothing_under_way(api: httpx.AsyncClient) -> None:
    status = schemas.RetrainStatus.model_validate_json((await api.get("/retrain/status")).content)
    assert (status.state, status.run, status.last, status.rollout) == ("idle", None, None, None)
    assert status.waiting.missing == status.waiting.threshold
    assert (await api.get("/retrain/history")).json() == {"runs": [], "total": 0}
    error_of(await api.delete("/retrain"), 409, "no_run_active")


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"json": {}},
        {"json": {"mode": None}},
        {"json": {"mode": "head"}},
        {"content": b'{"mode": "head"}'},
    ],
)
async def test_a_run_is_asked_for_watched_and_stopped(
    api: httpx.AsyncClient, trainer: InProcessTrainer, sent: dict[str, Any]
) -> None:
    response = await api.post("/retrain", **sent)
    assert response.status_code == 202
    run = schemas.Run.model_validate_json(response.content)
    assert (run.mode, run.state, run.actor) == ("head", "queued", "api")
    status = schemas.RetrainStatus.model_validate_json((await api.get("/retrain/status")).content)
    assert (status.state, status.run) == ("running", run)

    trainer.runs.claim(run.id, "owner", lease_s=60)
    response = await api.delete("/retrain")
    assert response.status_code == 202
    assert schemas.Run.model_validate_json(response.content).cancel_requested
    trainer.runs.finish(run.id, "owner", "cancelled", "Cancelled on request.")
    status = schemas.RetrainStatus.model_validate_json((await api.get("/retrain/status")).content)
    assert status.last is not None
    assert (status.state, status.run, status.last.state) == ("idle", None, "cancelled")


async def test_the_whole_network_needs_base_images(api: httpx.AsyncClient) -> None:
    error = error_of(await api.post("/retrain", json={"mode": "full"}), 422, "invalid_field")
    assert "base_images" in error.message
    assert (await api.get("/retrain/history")).json()["total"] == 0


async def test_never_two_at_once(api: httpx.AsyncClient) -> None:
    first, second = await api.post("/retrain"), await api.post("/retrain")
    assert first.status_code == 202
    error_of(second, 409, "run_active")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"mode": "half"}', 422, "invalid_field"),
        (b'{"mode": 1}', 422, "invalid_field"),
        (b'{"threshold": 1}', 422, "invalid_field"),
        (b'"head"', 422, "invalid_field"),
        (b"mode=head", 400, "malformed_request"),
        (b" " * 70_000, 413, "body_too_large"),
    ],
)
async def test_a_wish_that_cannot_be(
    api: httpx.AsyncClient, trainer: InProcessTrainer, body: bytes, status: int, code: str
) -> None:
    error_of(await api.post("/retrain", content=body), status, code)
    assert trainer.asked == []


async def test_history(api: httpx.AsyncClient, trainer: InProcessTrainer) -> None:
    for _ in range(3):
        run = trainer.runs.request("head", "manual", "test")
        trainer.runs.claim(run.id, "owner", lease_s=60)
        trainer.runs.finish(run.id, "owner", "failed", "No luck.")
    response = await api.get("/retrain/history", params={"limit": 2})
    page = schemas.RunPage.model_validate_json(response.content)
    assert ([run.id for run in page.runs], page.total) == ([3, 2], 3)
    rest = await api.get("/retrain/history", params={"limit": 2, "offset": 2})
    assert [run["id"] for run in rest.json()["runs"]] == [1]
    for parameters in ({"limit": 0}, {"limit": 201}, {"offset": -1}, {"limit": "x"}):
        error_of(await api.get("/retrain/history", params=parameters), 422, "invalid_field")


@pytest.mark.parametrize("error", [RayActorError(), RuntimeError("/home/somebody")])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/retrain"),
        ("DELETE", "/retrain"),
        ("GET", "/retrain/status"),
        ("GET", "/retrain/history"),
        ("GET", "/models"),
        ("GET", "/models/2"),
        ("GET", "/models/2/report"),
        ("POST", "/models/2/promote"),
        ("POST", "/models/rollback"),
    ],
)
async def test_without_a_trainer(
    api: httpx.AsyncClient, trainer: InProcessTrainer, method: str, path: str, error: Exception
) -> None:
    trainer.error = error
    response = await api.request(method, path)
    assert "somebody" not in error_of(response, 503, "trainer_unavailable").message
    assert int(response.headers["retry-after"]) > 0


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams that end soon: httpx gives a response of an application only when it is whole."""
    from serve_app import api as module

    routes = module.retrain_routes
    monkeypatch.setattr(module, "retrain_routes", lambda trainer, _: routes(trainer, 3.0))


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("headers", [{}, {"last-event-id": "7"}, {"last-event-id": "' --"}])
async def test_events(api: httpx.AsyncClient, headers: dict[str, str]) -> None:
    response = await api.get("/retrain/events", headers=headers)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    retry, event, *_ = response.text.split("\n\n")
    assert retry == "retry: 1000"
    name, data = event.split("\n")
    assert name == "event: status"
    status = schemas.RetrainStatus.model_validate(orjson.loads(data.removeprefix("data: ")))
    assert status.state == "idle"
