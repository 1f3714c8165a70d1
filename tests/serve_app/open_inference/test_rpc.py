"""Remote procedures: who may call them, and what status each error becomes."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2

from data.catalogue.api_key import Role
from data.catalogue.keys import Keys
from models import errors
from models.errors import DermServeError, Overloaded
from models.package import ModelPackage
from serve_app.access.access import Access
from serve_app.access.key_ring import KeyRing
from serve_app.access.routes import need_of, need_of_procedure
from serve_app.open_inference.protocol import OpenInference
from serve_app.open_inference.rpc import Procedures
from tests.serve_app.chain import InProcessChain
from tests.serve_app.open_inference.examples import packed
from tests.serve_app.open_inference.procedures import InProcessProcedures
from tests.serve_app.trainer import InProcessTrainer

Code = grpc.StatusCode

CODES = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    405: Code.INVALID_ARGUMENT,
    408: Code.INVALID_ARGUMENT,
    409: Code.FAILED_PRECONDITION,
    413: Code.INVALID_ARGUMENT,
    415: Code.INVALID_ARGUMENT,
    422: Code.INVALID_ARGUMENT,
    429: Code.RESOURCE_EXHAUSTED,
    500: Code.INTERNAL,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
    507: Code.RESOURCE_EXHAUSTED,
}
ERRORS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, DermServeError)
]


@pytest.fixture
def procedures(access: Access, open_inference: OpenInference) -> InProcessProcedures:
    return InProcessProcedures(access, open_inference)


def _infer(*images: bytes, **more: Any) -> Any:
    request = service_pb2.ModelInferRequest(model_name="dermserve", **more)
    request.inputs.add(name="IMAGE", datatype="BYTES", shape=[len(images)])
    request.raw_input_contents.append(packed(*images))
    return request


async def test_an_inference_is_answered(procedures: InProcessProcedures, jpeg: bytes) -> None:
    response, context = await procedures.call("ModelInfer", _infer(jpeg, id="mine"))
    assert (context.code(), response.id, response.model_name) == (None, "mine", "dermserve")
    assert [output.name for output in response.outputs][:2] == ["PROBABILITIES", "PREDICTED_CLASS"]


async def test_the_id_of_the_request_is_in_the_prediction(
    procedures: InProcessProcedures, jpeg: bytes
) -> None:
    request = _infer(jpeg)
    request.outputs.add(name="PREDICTION")
    response, _ = await procedures.call("ModelInfer", request)
    assert b'"request_id":"made-by-serve"' in response.raw_output_contents[0]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
async def test_every_error_has_its_status(
    procedures: InProcessProcedures,
    chain: InProcessChain,
    jpeg: bytes,
    kind: type[DermServeError],
) -> None:
    chain.error = kind("Say what to do.")
    try:
        status = await procedures.refusal("ModelInfer", _infer(jpeg))
    finally:
        chain.error = None
    assert status == (CODES[kind.status], kind.code)


async def test_waiting_is_advised_where_it_helps(
    procedures: InProcessProcedures, chain: InProcessChain, jpeg: bytes
) -> None:
    chain.error = Overloaded("Later.")
    try:
        _, context = await procedures.call("ModelInfer", _infer(jpeg))
    finally:
        chain.error = None
    assert dict(context.trailing_metadata())["retry-after"] == "1"
    assert context.details() == "Later."


async def test_a_mistake_of_ours_says_nothing_of_the_inside(
    procedures: InProcessProcedures, chain: InProcessChain, jpeg: bytes
) -> None:
    chain.error = RuntimeError("/etc/secret")
    try:
        _, context = await procedures.call("ModelInfer", _infer(jpeg))
    finally:
        chain.error = None
    assert context.code() == Code.INTERNAL
    assert "secret" not in context.details()


ASKED = {
    "ServerMetadata": (service_pb2.ServerMetadataRequest(), None),
    "ModelReady": (service_pb2.ModelReadyRequest(name="dermserve"), None),
    "ModelMetadata": (service_pb2.ModelMetadataRequest(name="dermserve"), None),
    "ModelConfig": (service_pb2.ModelConfigRequest(name="dermserve"), None),
    "ModelStatistics": (service_pb2.ModelStatisticsRequest(name="dermserve"), None),
    "ModelInfer": (_infer(b""), Role.PREDICT),
    "RepositoryIndex": (service_pb2.RepositoryIndexRequest(), None),
    "RepositoryModelLoad": (service_pb2.RepositoryModelLoadRequest(), Role.ADMIN),
    "RepositoryModelUnload": (service_pb2.RepositoryModelUnloadRequest(), Role.ADMIN),
}


@pytest.mark.parametrize("name", ASKED)
async def test_a_procedure_needs_a_key_and_its_role(
    procedures: InProcessProcedures, ring: KeyRing, keys: Keys, name: str
) -> None:
    request, role = ASKED[name]
    wrong = keys.create("wrong", [each for each in Role if each is not role], "test")
    right = keys.create("right", [role or Role.UPLOAD], "test")
    ring.refresh()
    refused = Code.PERMISSION_DENIED, "forbidden"
    missing = Code.UNAUTHENTICATED, "unauthenticated"
    assert await procedures.refusal(name, request) == missing
    assert await procedures.refusal(name, request, x_api_key="ds_1_2") == missing
    if role is not None:
        assert await procedures.refusal(name, request, x_api_key=wrong.text) == refused
    _, context = await procedures.call(name, request, authorization=f"Bearer {right.text}")
    assert context.code() not in (refused[0], missing[0])


@pytest.mark.parametrize(
    ("name", "route"),
    [
        ("ServerLive", "GET /v2/health/live"),
        ("ServerReady", "GET /v2/health/ready"),
        ("ServerMetadata", "GET /v2"),
        ("ModelReady", "GET /v2/models/{model}/ready"),
        ("ModelMetadata", "GET /v2/models/{model}/versions/{version}"),
        ("ModelConfig", "GET /v2/models/{model}/config"),
        ("ModelStatistics", "GET /v2/models/{model}/stats"),
        ("ModelInfer", "POST /v2/models/{model}/infer"),
        ("RepositoryIndex", "POST /v2/repository/index"),
        ("RepositoryModelLoad", "POST /v2/repository/models/{model}/load"),
        ("RepositoryModelUnload", "POST /v2/repository/models/{model}/unload"),
    ],
)
def test_a_procedure_needs_what_its_route_needs(name: str, route: str) -> None:
    assert need_of_procedure(name) == need_of(*route.split(" "))


def test_no_procedure_is_without_a_need() -> None:
    defined = {name for name in vars(Procedures) if name[0].isupper()}
    assert defined == {*ASKED, "ServerLive", "ServerReady"}
    for name in defined:
        need_of_procedure(name)
    with pytest.raises(KeyError):
        need_of_procedure("ModelDelete")


async def test_health_needs_no_key(
    procedures: InProcessProcedures, ring: KeyRing, keys: Keys
) -> None:
    keys.create("one", [Role.ADMIN], "test")
    ring.refresh()
    live, _ = await procedures.call("ServerLive", service_pb2.ServerLiveRequest(), peer="odd")
    ready, _ = await procedures.call("ServerReady", service_pb2.ServerReadyRequest(), peer="odd")
    assert live.live
    assert ready.ready


@pytest.mark.parametrize(
    ("peer", "here"),
    [
        ("ipv4:127.0.0.1:5000", True),
        ("ipv6:[::1]:5000", True),
        ("ipv6:%5B::1%5D:5000", True),
        ("ipv6:%5B::ffff:127.0.0.1%5D:5000", True),
        ("unix:", True),
        ("ipv4:192.0.2.7:5000", False),
        ("ipv6:%5B2001:db8::7%5D:5000", False),
        ("ipv6:%5B::ffff:192.0.2.7%5D:5000", False),
        ("", False),
        ("odd", False),
    ],
)
async def test_without_a_key_only_this_machine_is_answered(
    procedures: InProcessProcedures, jpeg: bytes, peer: str, here: bool
) -> None:
    _, context = await procedures.call("ModelInfer", _infer(jpeg), peer=peer)
    assert context.code() is (None if here else Code.PERMISSION_DENIED)


async def test_with_a_key_every_machine_is_answered(
    procedures: InProcessProcedures, ring: KeyRing, keys: Keys, jpeg: bytes
) -> None:
    key = keys.create("one", [Role.PREDICT], "test")
    ring.refresh()
    _, context = await procedures.call(
        "ModelInfer", _infer(jpeg), peer="ipv4:192.0.2.7:5000", x_api_key=key.text
    )
    assert context.code() is None


async def test_a_load_is_a_promotion_by_its_caller(
    procedures: InProcessProcedures, ring: KeyRing, keys: Keys, trainer: InProcessTrainer
) -> None:
    key = keys.create("one", [Role.ADMIN], "test")
    ring.refresh()
    request = service_pb2.RepositoryModelLoadRequest(model_name="dermserve")
    request.parameters["version"].string_param = "2"
    refused = await procedures.refusal("RepositoryModelLoad", request, x_api_key=key.text)
    assert refused == (Code.DEADLINE_EXCEEDED, "deadline_exceeded")  # it has only begun
    rollout = trainer.rollouts.latest()
    assert rollout is not None
    assert (rollout.to_version, rollout.actor) == ("2", f"key:{key.key.id}")


async def test_metadata_and_statistics_are_messages(
    procedures: InProcessProcedures, jpeg: bytes, champion: ModelPackage
) -> None:
    await procedures.call("ModelInfer", _infer(jpeg, jpeg))
    version = champion.manifest.version
    metadata, _ = await procedures.call("ModelMetadata", ASKED["ModelMetadata"][0])
    assert list(metadata.versions) == [version]
    config, _ = await procedures.call("ModelConfig", ASKED["ModelConfig"][0])
    assert config.config.max_batch_size == 4
    statistics, _ = await procedures.call("ModelStatistics", ASKED["ModelStatistics"][0])
    (of_version,) = statistics.model_stats
    assert (of_version.version, of_version.inference_count >= 2) == (version, True)
    index, _ = await procedures.call("RepositoryIndex", ASKED["RepositoryIndex"][0])
    assert [(each.version, each.state) for each in index.models] == [(version, "READY")]
