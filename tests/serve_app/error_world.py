"""A server for the error table: real transports, and a chain that may be held up or broken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import uvicorn
from ray.serve.grpc_util import RayServegRPCContext

from data.catalogue.api_key import Role
from data.catalogue.keys import Keys
from models.errors import ModelUnavailable
from serve_app.access.access import Access
from serve_app.access.key_ring import KeyRing
from serve_app.api import create_api
from serve_app.archive_client import ArchiveClient
from serve_app.ingress import Ingress
from serve_app.message import Message
from serve_app.open_inference.servicer import add_procedures_to_server
from serve_app.settings import ServeSettings
from serve_app.stage import RemoteStage
from serve_app.trainer_client import TrainerClient
from tests.serve_app.chain import InProcessChain
from tests.serve_app.handles import InProcessHandle
from tests.serve_app.test_overload import GatedPreprocessor
from tests.waiting import until

SETTINGS = ServeSettings(max_batch_size=1, body_timeout_s=0.5, max_image_bytes=300_000)
SERVICE = "/inference.GRPCInferenceService/"


@dataclass(frozen=True)
class Row:
    """One row: what provokes it, and how each protocol puts it."""

    what: str
    status: int
    code: str
    rpc: grpc.StatusCode
    image: bytes | None = None
    """That is asked about; None is a good one."""
    role: Role | None = Role.PREDICT
    """Of the key; None sends none."""
    state: str = ""
    """Of the server: spent, full, held, without a model, broken."""
    timeout_s: float | None = None
    retry: bool = False
    """Whether the client is told when to come again."""


class _Chain(GatedPreprocessor):
    """May also have no model, which a chain says of each image: errors travel as values."""

    without_model = False

    async def receive(self, message: Message) -> Any:
        if self.without_model:
            return [ModelUnavailable("No model is loaded. Load one.")] * len(message.sizes)
        return await super().receive(message)


@dataclass
class World:
    """A server, and how to reach it."""

    url: str
    grpc: grpc.aio.Channel
    ingress: Ingress
    chain: _Chain
    keys: Keys
    ring: KeyRing
    http: httpx.AsyncClient
    waiting: list[asyncio.Task[httpx.Response]] = field(default_factory=list)

    def headers(self, role: Role | None, **limits: int) -> dict[str, str]:
        created = self.keys.create("a test", [role or Role.ADMIN], "test", **limits)
        self.ring.refresh()
        return {} if role is None else {"x-api-key": created.text}

    async def prepare(self, row: Row, jpeg: bytes) -> dict[str, str]:
        """Bring the server into the state of a row; the headers to ask with."""
        if row.state == "spent":
            headers = self.headers(row.role, requests_per_minute=1)
            assert (await self.http.get("/models", headers=headers)).status_code == 200
            return headers
        headers = self.headers(row.role)
        if row.state in ("full", "held"):
            self.chain.gate.clear()
        if row.state == "full":
            places = SETTINGS.max_waiting
            self.waiting = [
                asyncio.create_task(self.http.post("/predict", content=jpeg, headers=headers))
                for _ in range(places)
            ]
            admission = self.ingress._admission
            await until(lambda: admission.images >= places, "it is not full", pause_s=0.001)
        if row.state == "no model":
            self.chain.without_model = True
        if row.state == "broken":
            self.chain.error = RuntimeError("with internals")
        return headers

    async def call(self, procedure: str, request: Any, headers: dict[str, str]) -> Any:
        return await self.grpc.unary_unary(SERVICE + procedure)(
            request.SerializeToString(), metadata=tuple(headers.items()), timeout=60
        )


class _Servicer:
    """Calls the ingress as Serve's replica does."""

    def __init__(self, ingress: Ingress) -> None:
        self._ingress = ingress

    def __getattr__(self, name: str) -> Any:
        async def method(data: bytes, context: Any) -> bytes:
            context.set_trailing_metadata((("request_id", "made-by-serve"),))
            serves = RayServegRPCContext(context)
            response = await getattr(self._ingress, name)(data, grpc_context=serves)
            if serves.code() is not None:
                context.set_code(serves.code())
                context.set_details(serves.details())
            context.set_trailing_metadata(tuple(serves.trailing_metadata()))
            packed: bytes = response.SerializeToString()
            return packed

        return method


@asynccontextmanager
async def open_world(
    chain: InProcessChain,
    archive_client: ArchiveClient,
    trainer_client: TrainerClient,
    settings: ServeSettings,
    keys: Keys,
    ring: KeyRing,
    access: Access,
) -> AsyncIterator[World]:
    """A server that listens on HTTP and gRPC."""
    gated = _Chain(chain.preprocessor)
    gated.gate.set()
    handle: Any = InProcessHandle(gated)
    ingress = Ingress(RemoteStage(handle, settings), handle, handle, settings)
    ingress._access = access
    app = create_api(ingress, archive_client, trainer_client, settings, access)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    rpc = grpc.aio.server()
    add_procedures_to_server(_Servicer(ingress), rpc)
    port = rpc.add_insecure_port("127.0.0.1:0")
    await rpc.start()
    await until(lambda: server.started or serving.done(), "it does not start", pause_s=0.01)
    assert not serving.done()
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    limits = httpx.Limits(max_connections=200)
    async with (
        httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as http,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        world = World(url, channel, ingress, gated, keys, ring, http)
        yield world
        gated.gate.set()
        await asyncio.gather(*world.waiting)
    await rpc.stop(None)
    server.should_exit = True
    await serving
