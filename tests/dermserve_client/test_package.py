"""The package: what it needs, what it offers, and that both clients offer the same."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys

import pytest

import dermserve_client
from dermserve_client import AsyncClient, Client
from dermserve_client.classes import CODES
from dermserve_client.errors import DermServeError
from dermserve_client.predictions import predict
from models.classes import CLASSES
from tests.conftest import PROJECT

SOURCES = sorted((PROJECT / "dermserve_client").glob("*.py"))
NEEDED = {"httpx", "httpx_sse", "pydantic"}


def test_it_needs_little() -> None:
    imported = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.module is not None
                imported.add(node.module.split(".")[0])
    assert imported - sys.stdlib_module_names == NEEDED | {"dermserve_client"}


def test_it_loads_nothing_of_the_server() -> None:
    code = "import sys, dermserve_client; print('ray' in sys.modules or 'numpy' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert result.stdout == "False\n"


def test_it_offers_what_it_names() -> None:
    assert all(hasattr(dermserve_client, name) for name in dermserve_client.__all__)
    for error in DermServeError.__subclasses__():
        assert error.__name__ in dermserve_client.__all__


def _methods(kind: type) -> dict[str, str]:
    return {
        name: str(inspect.signature(method)).split(" ->")[0]
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and name not in ("close", "aclose")
    }


def test_both_clients_offer_the_same() -> None:
    assert _methods(Client) == _methods(AsyncClient)
    assert len(_methods(Client)) == 27


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_method_looks_like_one(kind: type[Client | AsyncClient]) -> None:
    method = kind.predict
    assert method.__name__ == "predict"
    assert method.__doc__ == predict.__doc__
    assert list(inspect.signature(method).parameters) == ["self", "image", "priority", "timeout_s"]
    assert all(inspect.getdoc(getattr(kind, name)) for name in _methods(kind))


def test_its_classes_are_the_model_s() -> None:
    assert CODES == CLASSES
