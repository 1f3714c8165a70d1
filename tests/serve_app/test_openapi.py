"""The OpenAPI document is true: what it allows is answered as it says, and nothing answers 500.

Requests come from the document itself (schemathesis), right ones and wrong ones, over real HTTP.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

import models.errors
from cluster.server import LocalServer
from data.catalogue.api_key import Role
from data.catalogue.database import CATALOGUE_VARIABLE, Database
from data.catalogue.keys import Keys
from data.image_store import IMAGES_VARIABLE
from data.synthetic import synthetic_jpeg
from models.errors import DermServeError, ImageDamaged
from models.package import ModelPackage
from serve_app.access.access import Access
from serve_app.access.key_ring import KeyRing
from serve_app.api import create_api
from serve_app.archive import Archive
from serve_app.archive_client import ArchiveClient
from serve_app.settings import ServeSettings
from serve_app.trainer_client import TrainerClient
from tests.conftest import PROJECT, free_port
from tests.serve_app.chain import InProcessChain
from tests.serve_app.handles import InProcessHandle
from tests.serve_app.trainer import InProcessTrainer
from tests.waiting import wait_until

schemathesis = pytest.importorskip("schemathesis", reason="it needs Python 3.11")
conformance = pytest.importorskip("schemathesis.specs.openapi.checks")
binary = pytest.importorskip("schemathesis.transport.serialization")

NOBODY: Any = None
SETTINGS = ServeSettings()
API = create_api(NOBODY, NOBODY, NOBODY, SETTINGS, Access(NOBODY, SETTINGS, "127.0.0.1"))
DOCUMENT = API.openapi()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
# A stream of events never ends, and a retraining that starts would change the server of others.
OPERATIONS = SCHEMA.exclude(path="/retrain/events")
HARMLESS = OPERATIONS.exclude(method="POST", path="/retrain")

# Half of the files are pictures, so that good answers come too.
PICTURE = synthetic_jpeg("nv", 4242, width=60, height=50)
_FILES = st.sampled_from([PICTURE, PICTURE[:500], b""]) | st.binary(max_size=200)
schemathesis.openapi.format("binary", _FILES.map(binary.Binary))
for _type in ("image/jpeg", "image/*", "application/octet-stream"):
    schemathesis.openapi.media_type(_type, _FILES.map(binary.Binary))


def no_mistake(context: Any, response: Any, case: Any) -> None:
    """503 and 504 are answers, to requests that ask for one within no time at all."""
    assert response.status_code not in (500, 502), response.text


CHECKS = [
    no_mistake,
    conformance.status_code_conformance,
    conformance.content_type_conformance,
    conformance.response_headers_conformance,
    conformance.response_schema_conformance,
]

quickly = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def local(champion: ModelPackage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the API over a chain, an archive and a trainer in this process."""
    folder = tmp_path_factory.mktemp("openapi")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CATALOGUE_VARIABLE, f"sqlite:///{folder / 'catalogue.db'}")
        patch.setenv(IMAGES_VARIABLE, str(folder / "images"))
        with Serving(champion) as url:
            yield url


@pytest.fixture(scope="module")
def keyed(
    champion: ModelPackage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, dict[str, str]]]:
    """The same with keys: one that may only read, and one that may ask once in a minute."""
    folder = tmp_path_factory.mktemp("keyed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CATALOGUE_VARIABLE, f"sqlite:///{folder / 'catalogue.db'}")
        patch.setenv(IMAGES_VARIABLE, str(folder / "images"))
        database = Database()
        made = {
            "reads": Keys(database).create("reads", [Role.PREDICT], "test").text,
            "few": Keys(database).create("few", list(Role), "test", requests_per_minute=1).text,
        }
        database.close()
        with Serving(champion) as url:
            yield url, made


class Serving:
    """Runs the API in a thread of this process.

    Args:
        champion: the model.
    """

    def __init__(self, champion: ModelPackage) -> None:
        chain = InProcessChain(champion, SETTINGS)
        database = Database()
        behind: Any = InProcessHandle(chain.preprocessor)
        self._archive = Archive(behind, SETTINGS)
        archive: Any = InProcessHandle(self._archive)
        trainer: Any = InProcessHandle(InProcessTrainer(database, champion))
        ring = KeyRing(Keys(database))
        ring.refresh()
        app = create_api(
            chain,
            ArchiveClient(archive, SETTINGS),
            TrainerClient(lambda: trainer),
            SETTINGS,
            Access(ring, SETTINGS, "127.0.0.1"),
        )
        self._port = free_port()
        config = uvicorn.Config(app, port=self._port, log_level="critical")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._database = database

    def __enter__(self) -> str:
        self._thread.start()
        alive = self._thread.is_alive
        wait_until(lambda: self._server.started or not alive(), "it does not start")
        assert alive()
        return f"http://127.0.0.1:{self._port}"

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._archive._pixels.shutdown()
        self._archive._catalogue.shutdown()
        self._database.close()


def _check(case: Any, url: str, key: str | None = None) -> None:
    """Send a request as it is, and once more for something that there is."""
    headers = {} if key is None else {"x-api-key": key}
    case.call_and_validate(base_url=url, headers=headers, checks=CHECKS, timeout=60)
    known = {"model": lambda _: "dermserve", "version": _version, "id": _upload}
    if key is None and case.path_parameters:
        found = {name: known[name](url) for name in case.path_parameters}
        case.path_parameters = found
        case.call_and_validate(base_url=url, checks=CHECKS, timeout=60)


@cache
def _version(url: str) -> str:
    """The version that serves; anything, where only keys are answered."""
    return str((httpx.get(f"{url}/health").json()["model"] or {}).get("version", "1"))


def _upload(url: str) -> str:
    """An upload, which the request before may have removed."""
    files = {"files": ("a.jpg", PICTURE)}
    answer = httpx.post(f"{url}/upload/bulk", files=files, timeout=60)
    if answer.status_code != 200:  # it takes a key
        return "1"
    (verdict,) = answer.json()["results"]
    return str(verdict.get("id") or verdict["duplicate_of"])


# The chain of this process draws no maps.
@OPERATIONS.exclude(path="/explain").parametrize()
@quickly
def test_every_answer_is_documented(case: Any, local: str) -> None:
    _check(case, local)


@OPERATIONS.exclude(path="/explain").parametrize()
@settings(quickly, max_examples=2)
def test_every_refusal_of_a_key_is_documented(case: Any, keyed: tuple[str, dict[str, str]]) -> None:
    url, keys = keyed
    for key in (None, keys["reads"], keys["few"]):
        _check(case, url, key)


@HARMLESS.parametrize()
@settings(quickly, max_examples=5)
def test_every_answer_of_a_server_is_documented(case: Any, server: LocalServer) -> None:
    _check(case, server.url)


def test_a_server_shows_this_document(server: LocalServer) -> None:
    assert httpx.get(f"{server.url}/openapi.json").json() == DOCUMENT


def _errors() -> dict[str, type[DermServeError]]:
    """The errors that a client may get, by code."""
    return {
        each.code: each
        for each in vars(models.errors).values()
        if isinstance(each, type) and issubclass(each, DermServeError) and each.status != 500
    }


def _codes(document: Any) -> list[str]:
    detail = document["components"]["schemas"]["ErrorDetail"]
    codes: list[str] = detail["properties"]["code"]["enum"]
    return codes


def test_every_error_is_documented_by_code_and_status() -> None:
    mistakes = {DermServeError.code, ImageDamaged.code}
    assert set(_codes(DOCUMENT)) == {*_errors(), *mistakes}
    statuses = {
        status
        for operations in DOCUMENT["paths"].values()
        for operation in operations.values()
        for status in operation["responses"]
    }
    # No operation of the document is one that does not exist for its method.
    assert {str(each.status) for each in _errors().values()} - {"405"} <= statuses


@pytest.mark.parametrize("code", _codes(DOCUMENT))
def test_every_documented_code_is_reached_by_a_test(code: str) -> None:
    """A test of the routes has to name it or its class; that it comes, running that shows."""
    name = _errors().get(code, DermServeError).__name__
    expected = re.compile(rf"""["']{code}["']|\b{name}\(""")
    folder = PROJECT / "tests" / "serve_app"
    files = [path for path in folder.rglob("*.py") if path != Path(__file__)]
    assert any(expected.search(path.read_text()) for path in files), f"no test expects {code}"


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield from [part["$ref"]] if isinstance(part.get("$ref"), str) else []
    for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _references(each)


def test_every_reference_leads_somewhere() -> None:
    places = set(_references(DOCUMENT))
    assert len(places) > 10
    for place in places:
        found = DOCUMENT
        for name in place.removeprefix("#/").split("/"):
            found = found[name]
        assert found


def test_what_a_key_is_for_is_documented() -> None:
    paths = DOCUMENT["paths"]
    assert "security" not in paths["/health/live"]["get"]
    assert "401" not in paths["/health/live"]["get"]["responses"]
    predict = paths["/predict"]["post"]
    assert [*map(dict, predict["security"])] == [{"bearer": []}, {"key": []}, {}]
    assert predict["responses"].keys() >= {"401", "403", "408", "413", "429"}
    assert "408" not in paths["/models"]["get"]["responses"]
    # The guard refuses a body where none belongs, on routes that take no key too.
    assert all(
        "413" in operation["responses"]
        for operations in paths.values()
        for operation in operations.values()
    )
    refused = paths["/v2/models/{model}/infer"]["post"]["responses"]["401"]["content"]
    assert refused["application/json"]["schema"]["$ref"].endswith("/ProtocolError")
