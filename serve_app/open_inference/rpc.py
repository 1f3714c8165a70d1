"""The protocol's remote procedures, as methods that Serve calls for gRPC.

Serve calls the method of the deployment that is named like the procedure. What the method sets on
its context is what the client gets; an exception, Serve would log as a failure of ours.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import grpc
import ray

from models.errors import MISTAKE, DermServeError, ForeignSite
from serve_app.access.access import Access
from serve_app.access.caller import Caller
from serve_app.access.routes import Need, need_of_procedure
from serve_app.open_inference.messages import (
    inference_answer,
    inference_request,
    message,
    parameters_of,
    request_of,
)
from serve_app.open_inference.metadata import server_metadata
from serve_app.open_inference.protocol import OpenInference
from serve_app.open_inference.servicer import SERVICE
from serve_app.telemetry.observer import GONE, Observer, Outcome, tell_log
from serve_app.telemetry.trace_context import context_of_metadata

logger = logging.getLogger("ray.serve")

# Of the statuses of HTTP; whatever else is the client's fault is INVALID_ARGUMENT.
_CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
    507: grpc.StatusCode.RESOURCE_EXHAUSTED,
}

Context = Any  # Serve's, with most of what grpc.ServicerContext has


_NOBODY = Caller(None)


@dataclass(slots=True)
class _Call:
    request_id: str
    """The client's metadata `request_id`, or what Serve made instead."""
    caller: Caller = _NOBODY
    status: int = 200
    """Of HTTP, for the same outcome."""


Procedure = Callable[[Any, Any, _Call], Awaitable[Any]]
Method = Callable[[Any, bytes, Context], Awaitable[Any]]


def _procedure(procedure: Procedure) -> Method:
    """The method of a procedure: answers those only who may ask, and errors by a status of gRPC.

    Who may ask stands in `serve_app/access/routes.py`, under the procedure's name.
    """
    need = need_of_procedure(procedure.__name__)

    async def answer(self: Procedures, data: bytes, call: _Call, grpc_context: Context) -> Any:
        try:
            call.caller = await _authorise(self._access, need, len(data), grpc_context)
            return await procedure(self, request_of(procedure.__name__, data), call)
        except DermServeError as error:
            call.status = error.status
            return _refuse(grpc_context, error)
        except Exception:
            logger.exception("Unexpected error in %s", procedure.__name__)
            call.status = DermServeError.status
            return _refuse(grpc_context, DermServeError(MISTAKE))

    # Serve goes by the name of the last argument.
    async def method(self: Procedures, data: bytes, grpc_context: Context) -> Any:
        request_id = dict(grpc_context.trailing_metadata()).get("request_id") or uuid.uuid4().hex
        call = _Call(request_id)
        context = context_of_metadata(grpc_context.invocation_metadata())
        if not self._observer.watches:
            if context is not None:
                tell_log(request_id, context)
            return await answer(self, data, call, grpc_context)
        observed = self._observer.begin(request_id, context)
        size_bytes = 0
        try:
            response = await answer(self, data, call, grpc_context)
            size_bytes = response.ByteSize()
            return response
        except asyncio.CancelledError:
            call.status = GONE
            raise
        finally:
            self._observer.end(observed, _outcome(procedure, call, len(data), size_bytes))

    return method


def _outcome(procedure: Procedure, call: _Call, request_bytes: int, response_bytes: int) -> Outcome:
    key = call.caller.key
    return Outcome(
        protocol="grpc",
        method="POST",
        route=f"/{SERVICE.full_name}/{procedure.__name__}",
        status=call.status,
        request_bytes=request_bytes,
        response_bytes=response_bytes,
        key_id=None if key is None else key.id,
    )


class Procedures:
    """What a deployment that takes requests answers over gRPC."""

    _access: Access
    _open_inference: OpenInference
    _observer = Observer(access_log=False)

    @_procedure
    async def ServerLive(self, request: Any, call: _Call) -> Any:
        return message("ServerLiveResponse", {"live": True})

    @_procedure
    async def ServerReady(self, request: Any, call: _Call) -> Any:
        return message("ServerReadyResponse", {"ready": await self._open_inference.is_ready()})

    @_procedure
    async def ServerMetadata(self, request: Any, call: _Call) -> Any:
        return message("ServerMetadataResponse", server_metadata())

    @_procedure
    async def ModelReady(self, request: Any, call: _Call) -> Any:
        await self._open_inference.require(request.name, request.version)
        return message("ModelReadyResponse", {"ready": True})

    @_procedure
    async def ModelMetadata(self, request: Any, call: _Call) -> Any:
        metadata = await self._open_inference.metadata(request.name, request.version)
        return message("ModelMetadataResponse", metadata)

    @_procedure
    async def ModelConfig(self, request: Any, call: _Call) -> Any:
        config = await self._open_inference.config(request.name, request.version)
        return message("ModelConfigResponse", {"config": config})

    @_procedure
    async def ModelStatistics(self, request: Any, call: _Call) -> Any:
        statistics = await self._open_inference.statistics(request.name, request.version)
        return message("ModelStatisticsResponse", statistics)

    @_procedure
    async def ModelInfer(self, request: Any, call: _Call) -> Any:
        # No deadline of the client comes with a call: Serve's context does not carry it. A client
        # whose deadline passes cancels the call, and with it what still waits in the chain.
        asked = inference_request(request)
        return inference_answer(await self._open_inference.infer(asked, call.request_id))

    @_procedure
    async def RepositoryIndex(self, request: Any, call: _Call) -> Any:
        return message(
            "RepositoryIndexResponse", {"models": await self._open_inference.index(request.ready)}
        )

    @_procedure
    async def RepositoryModelLoad(self, request: Any, call: _Call) -> Any:
        parameters = parameters_of(request.parameters)
        await self._open_inference.load(request.model_name, parameters, call.caller.actor)
        return message("RepositoryModelLoadResponse", {})

    @_procedure
    async def RepositoryModelUnload(self, request: Any, call: _Call) -> Any:
        self._open_inference.unload(request.model_name)


async def _authorise(access: Access, need: Need, size_bytes: int, grpc_context: Context) -> Caller:
    metadata = {
        name: value
        for name, value in grpc_context.invocation_metadata()
        if isinstance(value, str)  # a name that ends in -bin has bytes
    }
    caller = await access.authorise(metadata, need, size_bytes)
    if need != "nothing" and caller.key is None and not _is_here(grpc_context.peer()):
        # Serve's gRPC servers listen on every interface, whatever host HTTP is bound to.
        raise ForeignSite(
            "Without an API key, the server answers this machine only. Make a key with "
            "`dermserve keys create`."
        )
    return caller


def _is_here(peer: str) -> bool:
    """Whether a peer, as gRPC writes it, is on this machine, as the proxy in front of us is."""
    kind, _, address = peer.partition(":")
    if kind == "unix":
        return True
    host = address.rpartition(":")[0].replace("%5B", "").replace("%5D", "").strip("[]")
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    return found.is_loopback or str(found) == _own_address()


@cache
def _own_address() -> str:
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def _refuse(grpc_context: Context, error: DermServeError) -> Any:
    """Tell the client an error: its status, its message and, in the trailers, its code."""
    code = grpc.StatusCode.INTERNAL
    if error.status != 500:
        code = _CODES.get(error.status, grpc.StatusCode.INVALID_ARGUMENT)
    trailers = [("error-code", error.code)]
    if error.retry_after_s is not None:
        trailers.append(("retry-after", str(error.retry_after_s)))
    grpc_context.set_code(code)
    grpc_context.set_details(error.message)
    grpc_context.set_trailing_metadata(trailers)
    return message("ServerLiveResponse", {})  # nobody sees it beside such a status
