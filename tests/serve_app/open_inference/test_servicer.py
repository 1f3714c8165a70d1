"""The service of gRPC: what is registered is what the deployment answers."""

from __future__ import annotations

import inspect
import pickle
from typing import Any
from unittest.mock import Mock

import pytest
from tritonclient.grpc import service_pb2

from models.errors import MalformedRequest
from serve_app.open_inference.messages import request_of
from serve_app.open_inference.rpc import Procedures
from serve_app.open_inference.servicer import PROCEDURES, add_procedures_to_server


def test_every_procedure_is_registered() -> None:
    answered = {name for name, _ in inspect.getmembers(Procedures, inspect.isfunction)}
    assert answered == set(PROCEDURES)


def test_a_request_goes_on_as_bytes_because_a_proxy_pickles_it() -> None:
    class Server:
        handlers: dict[str, Any]

        def add_generic_rpc_handlers(self, handlers: Any) -> None: ...

        def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
            assert service == "inference.GRPCInferenceService"
            self.handlers = handlers

    server = Server()
    add_procedures_to_server(Mock(), server)
    assert server.handlers.keys() == set(PROCEDURES)
    assert all(each.request_deserializer is None for each in server.handlers.values())
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(service_pb2.ModelInferRequest())


def test_a_request_is_what_the_procedure_takes() -> None:
    sent = service_pb2.ModelReadyRequest(name="dermserve", version="2")
    assert request_of("ModelReady", sent.SerializeToString()) == sent
    for wrong in (b"hello", b"\x0a\xff"):
        with pytest.raises(MalformedRequest, match="ModelInfer"):
            request_of("ModelInfer", wrong)


def test_serve_hands_each_its_context() -> None:
    for name in PROCEDURES:
        assert "grpc_context" in inspect.signature(getattr(Procedures, name)).parameters
