"""The routes of the model registry."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from models.errors import ModelPinned, PackageDamaged, RolloutActive
from models.package import CARD_FILE, ModelPackage
from serve_app import model_schemas as schemas
from serve_app.retrain_schemas import Rollout
from tests.serve_app.forms import error_of
from tests.serve_app.trainer import InProcessTrainer


async def test_all_versions(api: httpx.AsyncClient, champion: ModelPackage) -> None:
    found = schemas.ModelList.model_validate_json((await api.get("/models")).content)
    assert found.champion == champion.manifest.version
    assert [model.version for model in found.models] == [found.champion]


@pytest.mark.parametrize("accept", ["application/json", "*/*", "text/html", ""])
async def test_a_card_for_programs(
    api: httpx.AsyncClient, champion: ModelPackage, accept: str
) -> None:
    version = champion.manifest.version
    response = await api.get(f"/models/{version}", headers={"accept": accept})
    card = schemas.ModelCard.model_validate_json(response.content)
    assert card.manifest["version"] == version
    assert card.card == champion.file(CARD_FILE).read_text("utf-8")


async def test_a_card_for_people(api: httpx.AsyncClient, champion: ModelPackage) -> None:
    headers = {"accept": "text/markdown, text/plain;q=0.9"}
    response = await api.get("/models/champion", headers=headers)
    assert response.headers["content-type"] == "text/markdown; charset=utf-8"
    assert response.text == champion.file(CARD_FILE).read_text("utf-8")


async def test_a_report_is_a_page_that_loads_and_runs_nothing(
    api: httpx.AsyncClient, champion: ModelPackage
) -> None:
    response = await api.get("/models/champion/report")
    assert response.content == champion.file("report.html").read_bytes()
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "script" not in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["", "/report", "/evaluation"])
@pytest.mark.parametrize("version", ["99", "..%2fetc", "%00", "x" * 3000, "ü", "' OR 1"])
async def test_a_version_that_is_not_there(api: httpx.AsyncClient, version: str, path: str) -> None:
    error_of(await api.get(f"/models/{version}{path}"), 404, "not_found")


@pytest.mark.parametrize(
    ("state", "status"), [("switching", 202), ("observing", 200), ("completed", 200)]
)
@pytest.mark.parametrize("path", ["/models/3/promote", "/models/rollback"])
async def test_a_version_that_is_to_serve(
    api: httpx.AsyncClient,
    trainer: InProcessTrainer,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    state: Any,
    status: int,
) -> None:
    begin = trainer._begin

    def begin_and_get_on(*args: Any) -> Any:
        return trainer.rollouts.update(begin(*args).id, state=state)

    monkeypatch.setattr(trainer, "_begin", begin_and_get_on)
    response = await api.post(path)
    assert response.status_code == status, response.text
    rollout = Rollout.model_validate_json(response.content)
    assert (rollout.state, rollout.actor) == (state, "api")
    assert rollout.kind == ("rollback" if path.endswith("rollback") else "promotion")


@pytest.mark.parametrize("state", ["reverted", "failed"])
async def test_a_version_that_no_replica_could_load(
    api: httpx.AsyncClient,
    trainer: InProcessTrainer,
    monkeypatch: pytest.MonkeyPatch,
    state: Any,
) -> None:
    begin = trainer._begin

    def begin_and_fail(*args: Any) -> Any:
        reason = "A replica could not load it."
        return trainer.rollouts.update(begin(*args).id, state=state, reason=reason)

    monkeypatch.setattr(trainer, "_begin", begin_and_fail)
    error = error_of(await api.post("/models/3/promote"), 409, "rollout_failed")
    assert "A replica could not load it." in error.message


async def test_the_gate_is_only_passed_over_by_force(
    api: httpx.AsyncClient, trainer: InProcessTrainer
) -> None:
    trainer.refused.add("3")
    error_of(await api.post("/models/3/promote"), 409, "gate_refused")
    error_of(await api.post("/models/3/promote?force=false"), 409, "gate_refused")
    error_of(await api.post("/models/3/promote?force=perhaps"), 422, "invalid_field")
    assert (await api.post("/models/3/promote?force=true")).status_code == 202


@pytest.mark.parametrize(
    "error", [ModelPinned("The model is pinned to 1."), RolloutActive("3 is being rolled out.")]
)
@pytest.mark.parametrize("path", ["/models/3/promote", "/models/rollback"])
async def test_what_the_state_forbids(
    api: httpx.AsyncClient, trainer: InProcessTrainer, path: str, error: Any
) -> None:
    trainer.error = error
    assert error_of(await api.post(path), 409, error.code).message == error.message


@pytest.mark.parametrize(
    ("method", "path"),
    [("get", "/models/3"), ("get", "/models/3/report"), ("post", "/models/3/promote")],
)
async def test_a_damaged_package(
    api: httpx.AsyncClient, trainer: InProcessTrainer, method: str, path: str
) -> None:
    trainer.error = PackageDamaged("The package of version 3 is damaged.")
    error_of(await api.request(method, path), 409, "package_damaged")
    paths = (await api.get("/openapi.json")).json()["paths"]
    assert "409" in paths[path.replace("3", "{version}")][method]["responses"]
