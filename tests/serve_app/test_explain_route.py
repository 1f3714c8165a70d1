"""`POST /explain`: over a chain in this process, at the ingress's limits, and on the server."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import torch
from PIL import Image
from ray import serve
from ray.exceptions import TaskCancelledError

from cluster.server import LocalServer
from data.synthetic import synthetic_jpeg
from models.classes import CLASSES
from models.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    DermServeError,
    ModelUnavailable,
    Overloaded,
    UnknownClass,
    UnsupportedImage,
)
from models.package import ModelPackage
from serve_app import schemas
from serve_app.explainer import Explainer
from serve_app.explanation import ExplainedImage, ExplanationRequest
from serve_app.ingress import Ingress
from serve_app.settings import ServeSettings
from tests.serve_app.chain import InProcessChain
from tests.serve_app.forms import error_of
from tests.waiting import until


class ExplainingChain(InProcessChain):
    """The chain with a real explainer beside it."""

    def __init__(self, package: ModelPackage, settings: ServeSettings) -> None:
        super().__init__(package, settings)
        self.explainer = Explainer(settings)

    async def explain(self, image: bytes, explained_class: str | None) -> ExplainedImage:
        if self.error is not None:
            raise self.error
        (result,) = await self.explainer.explain([ExplanationRequest(image, explained_class)])
        if isinstance(result, DermServeError):
            raise result
        return result


@pytest.fixture(scope="module")
def chain(champion: ModelPackage, settings: ServeSettings) -> Iterator[ExplainingChain]:
    before = torch.get_num_threads()
    chain = ExplainingChain(champion, settings)
    yield chain
    chain.explainer._pool.shutdown()
    torch.set_num_threads(before)


def _assert_overlay(response: httpx.Response, explained: str | None = None) -> None:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(response.content)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (448, 448))
    predicted = response.headers["x-predicted-class"]
    assert predicted in CLASSES
    assert response.headers["x-explained-class"] == (explained or predicted)


async def test_it_takes_a_form_and_a_raw_body(
    api: httpx.AsyncClient, champion: ModelPackage, jpeg: bytes
) -> None:
    form = await api.post("/explain", files={"file": ("lesion.jpg", jpeg, "image/jpeg")})
    raw = await api.post("/explain", content=jpeg, headers={"content-type": "image/jpeg"})
    for response in (form, raw):
        _assert_overlay(response)
        assert response.headers["x-model-version"] == champion.manifest.version
    assert form.content == raw.content


async def test_it_explains_what_predict_predicts(api: httpx.AsyncClient) -> None:
    for code in ("vasc", "df", "bcc"):
        image = synthetic_jpeg(code, seed=1)
        predicted = (await api.post("/predict", content=image)).json()["predicted_class"]
        response = await api.post("/explain", content=image)
        assert response.headers["x-predicted-class"] == predicted


async def test_any_class_may_be_explained(api: httpx.AsyncClient, jpeg: bytes) -> None:
    images = set()
    for code in CLASSES:
        response = await api.post("/explain", params={"class": code}, content=jpeg)
        _assert_overlay(response, code)
        images.add(response.content)
    assert len(images) > 3


@pytest.mark.parametrize("code", ["melanoma", "MEL", "", "nv,mel", "\x00", "<script>"])
async def test_an_unknown_class_is_refused_before_the_body_is_read(
    api: httpx.AsyncClient, code: str
) -> None:
    response = await api.post("/explain", params={"class": code}, content=b"")
    error = error_of(response, 422, "unknown_class")
    assert ", ".join(CLASSES) in error.message


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"\xff\xd8\xff\xe0" + bytes(50), bytes(300_000), b"\x89PNG\r\n"]
)
async def test_a_bad_image_is_answered_as_by_predict(api: httpx.AsyncClient, body: bytes) -> None:
    predicted = await api.post("/predict", content=body)
    explained = await api.post("/explain", content=body)
    assert explained.status_code == predicted.status_code >= 400
    assert explained.json() == predicted.json()


async def test_a_form_without_the_file(api: httpx.AsyncClient, jpeg: bytes) -> None:
    error_of(await api.post("/explain", files={"image": jpeg}), 400, "missing_file")


@pytest.mark.parametrize(
    ("error", "retry_after"),
    [
        (Overloaded("Full. Send it again in a second."), "1"),
        (ModelUnavailable("No model is loaded. It is loading."), "10"),
        (DeadlineExceeded("The deadline passed. Allow more time."), None),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_the_explainer_cannot_do_is_answered(
    api: httpx.AsyncClient,
    chain: ExplainingChain,
    jpeg: bytes,
    error: DermServeError,
    retry_after: str | None,
) -> None:
    chain.error = error
    response = await api.post("/explain", content=jpeg)
    assert error_of(response, error.status, error.code).message == error.message
    assert response.headers.get("retry-after") == retry_after


async def test_the_description_says_what_a_map_is_not(api: httpx.AsyncClient) -> None:
    operation = (await api.get("/openapi.json")).json()["paths"]["/explain"]["post"]
    assert "no diagnosis" in operation["description"]
    assert "not show why" in " ".join(operation["description"].split())
    assert operation["requestBody"]["content"]["multipart/form-data"]
    (parameter,) = operation["parameters"]
    assert (parameter["name"], parameter["in"], parameter["required"]) == ("class", "query", False)
    assert parameter["schema"]["enum"] == list(CLASSES)
    answers = operation["responses"]
    assert list(answers["200"]["content"]) == ["image/png"]
    assert {"x-model-version", "x-predicted-class", "x-explained-class"} == set(
        answers["200"]["headers"]
    )
    refused = {"401", "403", "408", "429"}  # by the guard, which stands before every route
    assert refused | {"400", "413", "415", "422", "503", "504"} == answers.keys() - {"200"}
    for status in answers.keys() - {"200"}:
        schema = answers[status]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ErrorResponse"}


class _SilentHandle:
    """A handle whose deployment takes calls and never answers."""

    def __init__(self) -> None:
        self.cancelled = 0
        self.raises_when_cancelled: type[BaseException] = asyncio.CancelledError

    def options(self, **_: object) -> _SilentHandle:
        return self

    async def remote(self, _: object) -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise self.raises_when_cancelled from None


@pytest.fixture
def silent() -> SimpleNamespace:
    """An ingress whose stages never answer, and the explainer's handle."""
    handle: Any = _SilentHandle()
    settings = ServeSettings(max_batch_size=1, max_image_bytes=1000, deadline_s=0.05)
    ingress = Ingress(preprocessor=handle, explainer=handle, archive=handle, settings=settings)
    return SimpleNamespace(ingress=ingress, handle=handle, settings=settings)


@pytest.mark.parametrize("said", [asyncio.CancelledError, TaskCancelledError])
async def test_the_deadline_ends_the_work_too(
    silent: SimpleNamespace, said: type[BaseException]
) -> None:
    silent.handle.raises_when_cancelled = said  # Serve has said either
    with pytest.raises(DeadlineExceeded, match=r"within 0\.05 s"):
        await silent.ingress.explain(b"image")
    await asyncio.sleep(0)
    assert silent.handle.cancelled == 1
    assert silent.ingress._admission.images == 0
    assert sum(silent.ingress._admission._bytes.values()) == 0


async def test_a_caller_who_hangs_up_ends_the_work(silent: SimpleNamespace) -> None:
    task = asyncio.create_task(silent.ingress.explain(b"image"))
    await until(lambda: silent.ingress._admission.images, "it has no place")
    await asyncio.sleep(0)  # the call has begun
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    await asyncio.sleep(0)
    assert silent.handle.cancelled == 1
    assert silent.ingress._admission.images == 0


async def test_explanations_and_predictions_share_the_places(silent: SimpleNamespace) -> None:
    places = silent.settings.max_waiting
    calls = [silent.ingress.explain(b"image") for _ in range(places)]
    tasks = [asyncio.create_task(call) for call in calls]
    await asyncio.sleep(0)
    for refused in (silent.ingress.explain(b"image"), silent.ingress.predict(b"image")):
        with pytest.raises(Overloaded, match=f"{places} images are waiting"):
            await refused
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, DeadlineExceeded) for result in results)


async def test_the_ingress_checks_what_handles_bring(silent: SimpleNamespace) -> None:
    with pytest.raises(UnsupportedImage, match="not a str"):
        await silent.ingress.explain("lesion.jpg")
    with pytest.raises(BodyTooLarge):
        await silent.ingress.explain(bytes(1001))
    with pytest.raises(UnknownClass):
        await silent.ingress.explain(b"image", "naevus")
    assert silent.handle.cancelled == 0


def test_the_server_explains(server: LocalServer, jpeg: bytes, tiny_package: ModelPackage) -> None:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        predicted = schemas.Prediction.model_validate(client.post("/predict", content=jpeg).json())
        response = client.post("/explain", files={"file": ("a.jpg", jpeg)})
        _assert_overlay(response)
        assert response.headers["x-model-version"] == tiny_package.manifest.version
        assert predicted.model_version == response.headers["x-model-version"]
        _assert_overlay(client.post("/explain?class=mel", content=jpeg), "mel")
        error_of(client.post("/explain", content=b"hello"), 415, "unsupported_image")
        error_of(client.post("/explain?class=x", content=jpeg), 422, "unknown_class")
    handle = serve.get_app_handle("dermserve")
    explained = handle.explain.remote(jpeg, "bcc").result(timeout_s=30)
    assert (explained.explained_class, explained.png[:4]) == ("bcc", b"\x89PNG")
