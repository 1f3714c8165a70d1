"""A gRPC server, and a client that reports how a call to it ended; `test_silence.py` runs both."""

from __future__ import annotations

import asyncio
import sys
import time

import grpc
from grpc import aio

METHOD = "/dermserve.test/Echo"
PORT = 50051


async def serve(address: str) -> None:
    """Answer every call with what it carried."""

    async def echo(request: bytes, context: object) -> bytes:
        return request

    handler = grpc.method_handlers_generic_handler(
        "dermserve.test", {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    )
    server = aio.server()
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(f"{address}:{PORT}")
    await server.start()
    await server.wait_for_termination()


async def ask(address: str) -> None:
    """Call it over a channel as Serve's handles have them, on each line of standard input."""
    from ray._private.grpc_utils import init_grpc_channel

    channel = init_grpc_channel(f"{address}:{PORT}", asynchronous=True)
    call = channel.unary_unary(METHOD)
    await asyncio.wait_for(channel.channel_ready(), 60)
    while True:
        started = time.monotonic()
        try:
            await call(b"hello", timeout=60)
            what = "OK"
        except aio.AioRpcError as error:
            what = error.code().name
        print(what, time.monotonic() - started, flush=True)
        if not await asyncio.to_thread(sys.stdin.readline):
            return


if __name__ == "__main__":
    asyncio.run({"serve": serve, "ask": ask}[sys.argv[1]](sys.argv[2]))
