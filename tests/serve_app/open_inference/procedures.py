"""The procedures in this process, called as Serve calls them for gRPC."""

from __future__ import annotations

from typing import Any

import grpc
from ray.serve.grpc_util import RayServegRPCContext

from serve_app.access.access import Access
from serve_app.open_inference.protocol import OpenInference
from serve_app.open_inference.rpc import Procedures


class _Arrived:
    """The context of a call that has just arrived, as gRPC gives it to Serve."""

    def __init__(self, metadata: dict[str, str], peer: str) -> None:
        self._metadata = metadata
        self._peer = peer

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return list(self._metadata.items())

    def peer(self) -> str:
        return self._peer

    def trailing_metadata(self) -> list[tuple[str, str]]:
        return [("request_id", "made-by-serve")]

    def auth_context(self) -> dict[str, Any]:
        return {}

    def _nothing(self) -> None:
        return None

    code = details = peer_identities = peer_identity_key = _nothing


class InProcessProcedures(Procedures):
    """A deployment that answers the procedures.

    Args:
        access: says who may ask.
        open_inference: what they ask.
    """

    def __init__(self, access: Access, open_inference: OpenInference) -> None:
        self._access = access
        self._open_inference = open_inference

    async def call(
        self, name: str, request: Any, *, peer: str = "ipv4:127.0.0.1:5000", **metadata: str
    ) -> tuple[Any, RayServegRPCContext]:
        """The response of a procedure, and the context as it was left."""
        arrived: Any = _Arrived({k.replace("_", "-"): v for k, v in metadata.items()}, peer)
        context = RayServegRPCContext(arrived)
        response = await getattr(self, name)(request.SerializeToString(), grpc_context=context)
        return response, context

    async def refusal(self, name: str, request: Any, **terms: str) -> tuple[grpc.StatusCode, str]:
        """The status of a call that must fail, and the code of its error."""
        _, context = await self.call(name, request, **terms)
        assert context.details()
        trailers = dict(context.trailing_metadata())
        assert trailers["request_id"] == "made-by-serve"
        return context.code(), trailers["error-code"]
