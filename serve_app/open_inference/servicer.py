"""The service of gRPC: which procedures of the protocol Serve's servers offer.

Named in `grpc_options` of the Serve configuration, and imported by every process that listens.
Triton's own function would register all its procedures, and Serve answers one that the deployment
lacks with the names of all methods it has; gRPC says UNIMPLEMENTED of one that is not registered.
Requests go on as bytes, because Ray's Python proxy pickles them and Triton's classes cannot be.
"""

from __future__ import annotations

from typing import Any

import grpc
from tritonclient.grpc import service_pb2

SERVICE = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]

PROCEDURES = (
    "ServerLive",
    "ServerReady",
    "ServerMetadata",
    "ModelReady",
    "ModelMetadata",
    "ModelConfig",
    "ModelStatistics",
    "ModelInfer",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
)
"""The methods of `rpc.Procedures`."""


def add_procedures_to_server(servicer: Any, server: Any) -> None:
    """Register the procedures; Serve calls this with a servicer of its own.

    Args:
        servicer: with a method for each procedure.
        server: of gRPC.
    """
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(getattr(servicer, name)) for name in PROCEDURES
    }
    generic = grpc.method_handlers_generic_handler(SERVICE.full_name, handlers)
    server.add_generic_rpc_handlers((generic,))
    server.add_registered_method_handlers(SERVICE.full_name, handlers)
