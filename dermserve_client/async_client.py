"""The client for asyncio; `client.py` is its twin for ordinary code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable
from contextlib import aclosing
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

import httpx
from httpx_sse import EventSource

from dermserve_client import (
    predictions,
    readiness,
    retraining,
    review_queue,
    statistics,
    uploads,
    versions,
)
from dermserve_client.call import Call
from dermserve_client.connection import http_options
from dermserve_client.errors import DermServeError
from dermserve_client.method import as_method
from dermserve_client.retraining import RetrainStatus, Run
from dermserve_client.retries import Retries
from dermserve_client.status_events import StatusEvents

P = ParamSpec("P")
Result = TypeVar("Result")


def _asks(
    plan: Callable[P, Call[Result]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, Result]]:
    """A method that makes one call."""

    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return await self._ask(plan(*args, **kwargs))

    return as_method(method, plan)


def _asks_for_each(
    plan: Callable[P, Iterable[Call[list[Result]]]],
) -> Callable[Concatenate[AsyncClient, P], AsyncIterator[Result]]:
    """A method that makes one call after the other, as their results are taken."""

    async def method(
        self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncIterator[Result]:
        for call in plan(*args, **kwargs):
            for result in await self._ask(call):
                yield result

    return as_method(method, plan)


class AsyncClient:
    """What `Client` is, with methods to await; close it, or use `async with`.

    Images given as paths are read at once, in the event loop; give bytes where a disk is slow.

    Args:
        url: as for `Client`.
        api_key: as for `Client`.
        timeout_s: as for `Client`.
        retries: as for `Client`.
        transport: of httpx, for a proxy or for certificates of your own.

    Example:
        >>> async def classify(paths):
        ...     async with AsyncClient() as client:
        ...         return await asyncio.gather(*map(client.predict, paths))
        >>> predictions = asyncio.run(classify(["lesion.jpg", "lesion.jpg"]))
        >>> len({prediction.predicted_class for prediction in predictions})
        1
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 60.0,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(**http_options(url, api_key, timeout_s), transport=transport)
        self._retries = retries or Retries()

    async def aclose(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    predict = _asks(predictions.predict)
    predict_batch = _asks_for_each(predictions.predict_batch)
    explain = _asks(predictions.explain)

    upload = _asks(uploads.upload)
    list_uploads = _asks(review_queue.list_uploads)
    get_upload = _asks(review_queue.get_upload)
    upload_image = _asks(review_queue.upload_image)
    change_upload = _asks(review_queue.change_upload)
    delete_upload = _asks(review_queue.delete_upload)

    retrain = _asks(retraining.retrain)
    cancel_retrain = _asks(retraining.cancel_retrain)
    retrain_status = _asks(retraining.retrain_status)
    retrain_history = _asks(retraining.retrain_history)

    models = _asks(versions.models)
    model = _asks(versions.model)
    model_report = _asks(versions.model_report)
    model_evaluation = _asks(statistics.model_evaluation)
    promote = _asks(versions.promote)
    rollback = _asks(versions.rollback)

    metrics = _asks(statistics.metrics)
    data_summary = _asks(statistics.data_summary)

    service_info = _asks(readiness.service_info)
    health = _asks(readiness.health)
    ready = _asks(readiness.ready)
    wait_until_ready = _asks(readiness.wait_until_ready)

    async def retrain_events(self) -> AsyncGenerator[RetrainStatus, None]:
        """Tell what the trainer is doing: now, after each change, and now and again in between.

        As `Client.retrain_events`.
        """
        events = StatusEvents(self._retries)
        while True:
            try:
                async with self._http.stream("GET", events.path) as response:
                    if not response.is_success:
                        await response.aread()
                    events.begin(response)
                    async for event in EventSource(response).aiter_sse():
                        if (status := events.read(event)) is not None:
                            yield status
                pause_s = events.reconnect_s
            except (httpx.RequestError, DermServeError) as failure:
                pause_s = events.pause_after(failure)
            await asyncio.sleep(pause_s)

    async def follow_run(self, run_id: int) -> AsyncGenerator[Run, None]:
        """Tell how a retraining goes, until it is over. As `Client.follow_run`."""
        run = await self._ask(retraining.find_run(run_id))
        yield run
        if run.over:
            return
        async with aclosing(self.retrain_events()) as statuses:
            async for status in statuses:
                latest = retraining.told(status, run_id)
                if latest is None and retraining.missed(status, run_id):
                    latest = await self._ask(retraining.find_run(run_id))
                if latest is not None:
                    yield latest
                    if latest.over:
                        return

    async def _ask(self, call: Call[Result]) -> Result:
        attempts = call.attempts(self._retries)
        while True:
            try:
                request = call.request(self._http, attempts.left_s)
                return call.result(await self._http.send(request))
            except (httpx.RequestError, DermServeError) as failure:
                pause_s = attempts.pause_after(failure)
            await asyncio.sleep(pause_s)
