"""LitServe: FastAPI processes that hand bodies to worker processes."""

# No postponed annotations: LitServe reads the type of `request` as it stands in the signature.

from typing import Annotated, Any

import litserve  # type: ignore[import-not-found]
from fastapi import Body

from benchmarks.peers.model import PeerModel
from benchmarks.peers.settings import options
from benchmarks.peers.task import PeerTask


class Lesions(litserve.LitAPI):  # type: ignore[misc]
    """Decodes and infers in a worker process."""

    def setup(self, device: str) -> None:
        """Load the model."""
        self._model = PeerModel.load(PeerTask.given().engine)

    def decode_request(self, request: Annotated[bytes, Body()]) -> bytes:
        """The body as it is."""
        return request

    def predict(self, x: bytes) -> Any:
        """One image."""
        return self._model.answer(x)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """What is sent as JSON."""
        answer: dict[str, Any] = output
        return answer


def main() -> None:
    """Serve at /predict until it is told to stop."""
    task = PeerTask.given()
    api = Lesions(**options("litserve", "LitAPI", cores=task.cores))
    server = litserve.LitServer(api, **options("litserve", "LitServer", cores=task.cores))
    server.run(
        host="127.0.0.1",
        port=task.port,
        generate_client_file=False,
        **options("litserve", "run", cores=task.cores),
    )


if __name__ == "__main__":
    main()
