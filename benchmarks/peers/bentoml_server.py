"""BentoML: one service in as many worker processes as there are cores."""

# No postponed annotations: BentoML reads the types of the method as they stand.

from typing import Any

import bentoml  # type: ignore[import-not-found]

from benchmarks.peers.model import PeerModel
from benchmarks.peers.settings import options
from benchmarks.peers.task import PeerTask

_TASK = PeerTask.given()


@bentoml.service(**options("bentoml", "service", cores=_TASK.cores))
class Lesions:
    """Decodes and infers; each worker process has one."""

    def __init__(self) -> None:
        self._model = PeerModel.load(_TASK.engine)

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, image: bytes, /) -> dict[str, Any]:
        """One image: a positional argument is the whole body."""
        return self._model.answer(image)


if __name__ == "__main__":
    bentoml.serve(
        "benchmarks.peers.bentoml_server:Lesions",
        host="127.0.0.1",
        port=_TASK.port,
        blocking=True,
    )
