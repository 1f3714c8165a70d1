"""FastAPI by itself: uvicorn processes that decode and infer in threads."""

from __future__ import annotations

from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool

from benchmarks.peers.model import PeerModel
from benchmarks.peers.settings import options
from benchmarks.peers.task import PeerTask


def create_app() -> FastAPI:
    """Serve at /predict; each worker process makes one."""
    app = FastAPI()
    model = PeerModel.load(PeerTask.given().engine)

    @app.post("/predict")
    async def predict(request: Request) -> dict[str, Any]:
        body = await request.body()
        return await run_in_threadpool(model.answer, body)

    return app


def main() -> None:
    """Serve until it is told to stop."""
    task = PeerTask.given()
    uvicorn.run(
        "benchmarks.peers.fastapi_server:create_app",
        factory=True,
        host="127.0.0.1",
        port=task.port,
        **options("fastapi", "uvicorn", cores=task.cores),
    )


if __name__ == "__main__":
    main()
