"""Ray Serve as its tutorials write it: `@serve.batch` in a deployment, behind the default proxy."""

from __future__ import annotations

from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.peers.model import PeerModel, Pixels
from benchmarks.peers.settings import options
from benchmarks.peers.task import PeerTask

_TASK = PeerTask.given()


def _options(of: str) -> dict[str, Any]:
    return options("ray-serve", of, cores=_TASK.cores)


@serve.deployment(logging_config=_options("logging"), **_options("deployment"))
class Lesions:
    """Decodes as requests come, and infers in batches."""

    def __init__(self) -> None:
        self._model = PeerModel.load(_TASK.engine)

    @serve.batch(**_options("batch"))
    async def predict(self, images: list[Pixels]) -> list[dict[str, dict[str, float]]]:
        """A batch."""
        return self._model.answers(images)

    async def __call__(self, request: Request) -> Any:
        """One request."""
        return await self.predict(self._model.decode(await request.body()))


def main() -> None:
    """Serve at / until it is told to stop."""
    ray.init(address="local", num_cpus=_TASK.cores, include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": _TASK.port})
    serve.run(Lesions.bind(), blocking=True)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
