"""The client for ordinary code; `async_client.py` is its twin for asyncio."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Concatenate, ParamSpec, TypeVar

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


def _asks(plan: Callable[P, Call[Result]]) -> Callable[Concatenate[Client, P], Result]:
    """A method that makes one call."""

    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return self._ask(plan(*args, **kwargs))

    return as_method(method, plan)


def _asks_for_each(
    plan: Callable[P, Iterable[Call[list[Result]]]],
) -> Callable[Concatenate[Client, P], Iterator[Result]]:
    """A method that makes one call after the other, as their results are taken."""

    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[Result]:
        for call in plan(*args, **kwargs):
            yield from self._ask(call)

    return as_method(method, plan)


class Client:
    """Speaks with a DermServe server, over connections that stay open; close it, or use `with`.

    Requests that change nothing are repeated when the server is overloaded, as long as `retries`
    says and no earlier than the server says. Uploads, retrainings and promotions never are. One
    client may serve many threads.

    Args:
        url: of the server; None takes the variable `DERMSERVE_URL`, or http://127.0.0.1:8000.
        api_key: None takes the variable `DERMSERVE_API_KEY`, or none.
        timeout_s: longest silence of the server before `Unreachable`.
        retries: how patient to be with requests that may be repeated.
        transport: of httpx, for a proxy or for certificates of your own.

    Raises:
        ValueError: if the address or the key cannot be one.

    Example:
        >>> with Client() as client:
        ...     prediction = client.predict("lesion.jpg")
        ...     for item in client.predict_batch(["lesion.jpg", b"no image"]):
        ...         print(item.index, item.error.code if item.error else "predicted")
        0 predicted
        1 unsupported_image
        >>> 0 <= prediction.confidence <= 1
        True
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 60.0,
        retries: Retries | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(**http_options(url, api_key, timeout_s), transport=transport)
        self._retries = retries or Retries()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

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

    def retrain_events(self) -> Iterator[RetrainStatus]:
        """Tell what the trainer is doing: now, after each change, and now and again in between.

        It goes on until it is closed, over as many connections as that takes.

        Returns:
            An iterator of `RetrainStatus`.

        Raises:
            DermServeError: if the server or the trainer is away for longer than `retries` says.
        """
        events = StatusEvents(self._retries)
        while True:
            try:
                with self._http.stream("GET", events.path) as response:
                    if not response.is_success:
                        response.read()
                    events.begin(response)
                    for event in EventSource(response).iter_sse():
                        if (status := events.read(event)) is not None:
                            yield status
                pause_s = events.reconnect_s
            except (httpx.RequestError, DermServeError) as failure:
                pause_s = events.pause_after(failure)
            time.sleep(pause_s)

    def follow_run(self, run_id: int) -> Iterator[Run]:
        """Tell how a retraining goes, until it is over.

        Args:
            run_id: `Run.id`.

        Returns:
            An iterator of `Run`, the last of which is over. Then the new version may still be on
            its way into the replicas; `retrain_status` tells.

        Raises:
            NotFound: if there is no such run.
            DermServeError: as `retrain_events`.

        Example:
            >>> with Client() as client:
            ...     for run in client.follow_run(client.retrain().id):  # doctest: +SKIP
            ...         print(run.phase, f"{run.progress:.0%}")
        """
        run = self._ask(retraining.find_run(run_id))
        yield run
        if run.over:
            return
        for status in self.retrain_events():
            latest = retraining.told(status, run_id)
            if latest is None and retraining.missed(status, run_id):
                latest = self._ask(retraining.find_run(run_id))
            if latest is not None:
                yield latest
                if latest.over:
                    return

    def _ask(self, call: Call[Result]) -> Result:
        attempts = call.attempts(self._retries)
        while True:
            try:
                request = call.request(self._http, attempts.left_s)
                return call.result(self._http.send(request))
            except (httpx.RequestError, DermServeError) as failure:
                pause_s = attempts.pause_after(failure)
            time.sleep(pause_s)
