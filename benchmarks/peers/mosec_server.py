"""Mosec: a Rust front that hands bodies to worker processes."""

from __future__ import annotations

import sys
from typing import Any

from mosec import Server, Worker  # type: ignore[import-not-found]

from benchmarks.peers.model import PeerModel
from benchmarks.peers.settings import options
from benchmarks.peers.task import PeerTask


class Lesions(Worker):  # type: ignore[misc]
    """Decodes and infers; its answers are written as JSON by Mosec."""

    def __init__(self) -> None:
        super().__init__()
        self._model = PeerModel.load(PeerTask.given().engine)

    def deserialize(self, data: bytes) -> bytes:
        """The body as it is."""
        return data

    def forward(self, data: bytes) -> Any:
        """One image."""
        return self._model.answer(data)


def main() -> None:
    """Serve at /inference until it is told to stop."""
    task = PeerTask.given()
    command = options("mosec", "command", cores=task.cores)
    sys.argv[1:] = [
        *("--address", "127.0.0.1", "--port", str(task.port)),
        *(f"--{name}={value}" for name, value in command.items()),
    ]
    server = Server()
    server.append_worker(Lesions, **options("mosec", "append_worker", cores=task.cores))
    server.run()


if __name__ == "__main__":
    main()
