"""The application in this process, as one replica and as three, and the spans that it records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, Sampler

from models.package import ModelPackage
from serve_app.access.access import Access
from serve_app.api import create_api
from serve_app.archive_client import ArchiveClient
from serve_app.classifier import Classifier
from serve_app.ingress import Ingress
from serve_app.preprocessing import Preprocessor
from serve_app.settings import ServeSettings
from serve_app.stage import RemoteStage
from serve_app.telemetry import tracing
from serve_app.trainer_client import TrainerClient
from tests.serve_app.handles import InProcessHandle

PROFILES = ("chain", "colocated")


class Recorded:
    """What this process has recorded."""

    def __init__(self, sampler: Sampler = DEFAULT_ON) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer("a test")

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def tree(self) -> list[str]:
        """Each span behind the names of those it is in, sorted."""
        by_id = {span.context.span_id: span for span in self.spans}

        def path(span: ReadableSpan) -> str:
            parent = by_id.get(span.parent.span_id) if span.parent else None
            return f"{path(parent)} > {span.name}" if parent else span.name

        return sorted(map(path, self.spans))


@pytest.fixture
def record_spans(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Recorded]:
    """Has this process record spans from now on."""

    def begin(sampler: Sampler = DEFAULT_ON) -> Recorded:
        recorded = Recorded(sampler)
        monkeypatch.setattr(tracing, "tracer", lambda: recorded.tracer)
        return recorded

    return begin


@pytest.fixture
def recorded(record_spans: Callable[..., Recorded]) -> Recorded:
    return record_spans()


@asynccontextmanager
async def application(
    profile: str, settings: ServeSettings, model: ModelPackage, explainer: Any, archive: Any
) -> AsyncIterator[Ingress]:
    """The real stages; in the profile `chain`, what travels between them is pickled."""
    async with AsyncExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(2))
        classifier = Classifier(settings)
        await classifier.reconfigure({"model": str(model.folder)})
        stack.push_async_callback(classifier._device.close)
        colocated = profile == "colocated"
        preprocessor = Preprocessor(
            classifier if colocated else _remote(classifier, settings), settings, pool
        )
        first: Any = preprocessor if colocated else _remote(preprocessor, settings)
        yield Ingress(first, explainer, archive, settings)


def _remote(stage: Any, settings: ServeSettings) -> Any:
    handle: Any = InProcessHandle(stage)
    return RemoteStage(handle, settings)


Open = Callable[..., Any]


@pytest.fixture
def open_api(
    settings: ServeSettings,
    champion: ModelPackage,
    archive_client: ArchiveClient,
    trainer_client: TrainerClient,
    access: Access,
    monkeypatch: pytest.MonkeyPatch,
) -> Open:
    """Opens a client of the application of a profile."""
    # Outside Serve, `@serve.batch` cannot ask for what it would warn of.
    quiet = "_warn_if_max_batch_size_exceeds_max_ongoing_requests"
    monkeypatch.setattr(f"ray.serve.batching._BatchQueue.{quiet}", lambda self: None)

    @asynccontextmanager
    async def open_client(profile: str = "colocated", **more: Any) -> AsyncIterator[Any]:
        chosen = settings.model_copy(update={"engine": "openvino", "threads": 2, **more})
        handle: Any = InProcessHandle(None)
        async with application(profile, chosen, champion, handle, handle) as ingress:
            app = create_api(
                ingress, archive_client, trainer_client, chosen, access, ingress._observer
            )
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://localhost", timeout=60
            ) as client:
                yield client

    return open_client
