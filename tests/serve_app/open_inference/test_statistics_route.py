"""The routes of statistics: every answer counts, whichever route gave it and whoever asks."""

from __future__ import annotations

import httpx

from models.package import ModelPackage
from serve_app.open_inference import schemas
from serve_app.open_inference.protocol import OpenInference
from tests.serve_app.open_inference.examples import URL, image_body


async def test_statistics_count_every_route(api: httpx.AsyncClient, jpeg: bytes) -> None:
    async def count() -> int:
        (found,) = (await api.get("/v2/models/dermserve/stats")).json()["model_stats"]
        return int(found["inference_count"])

    before = await count()
    body, headers = image_body(jpeg, jpeg)
    await api.post(URL, content=body, headers=headers)
    await api.post("/predict/batch", files=[("files", ("a.jpg", jpeg))])
    assert await count() == before + 3


async def test_all_models_are_the_one(
    api: httpx.AsyncClient, open_inference: OpenInference, champion: ModelPackage
) -> None:
    """Triton's clients ask so if they are given no name."""
    response = await api.get("/v2/models/stats")
    assert response.status_code == 200, response.text
    (found,) = schemas.StatisticsList.model_validate_json(response.content).model_stats
    assert (found.name, found.version) == ("dermserve", champion.manifest.version)
    for name in ("", "dermserve"):
        (entry,) = (await open_inference.statistics(name, ""))["model_stats"]
        assert (entry["name"], entry["version"]) == (found.name, found.version)
