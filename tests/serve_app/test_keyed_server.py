"""A running server with keys: who gets in over HTTP and gRPC, and that its logs tell nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import ray
import yaml
from tritonclient.grpc import service_pb2

from benchmarks.started_server import StartedServer
from data.catalogue.api_key import Role
from data.catalogue.database import Database
from data.catalogue.keys import CreatedKey, Keys
from data.catalogue.uploads import Uploads
from data.synthetic import synthetic_jpeg
from serve_app import schemas
from tests.cluster.monitoring.prometheus_process import PrometheusProcess
from tests.cluster.monitoring.promtool import needs_prometheus
from tests.conftest import PROJECT, free_port, tracing_to
from tests.serve_app.forms import error_of
from tests.serve_app.open_inference.examples import URL, image_body, packed
from tests.serve_app.telemetry.receiver import Receiver

INFER = "/inference.GRPCInferenceService/ModelInfer"
FILE_NAME = "mrs-smith-1961-left-shoulder"
CLIENT_ID = "the-id-of-a-request"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@dataclass(frozen=True)
class Keyed:
    """A server, its catalogue, and a key for each purpose."""

    url: str
    grpc_address: str
    keys: Keys
    database: Database
    predict: CreatedKey
    upload: CreatedKey
    spent: CreatedKey
    logs: Path
    receiver: Receiver

    def bearer(self, created: CreatedKey) -> dict[str, str]:
        return {"authorization": f"Bearer {created.text}"}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """`dermserve up`, with access logs in JSON and traces, on a catalogue that has keys."""
    if ray.is_initialized():
        pytest.skip("another server runs in these tests; run this file by itself, as .ci/run does")
    folder = tmp_path_factory.mktemp("keyed")
    database = Database(f"sqlite:///{folder}/catalogue.db")
    keys = Keys(database)
    config = yaml.safe_load((PROJECT / "configs" / "colocated.yaml").read_text())
    config["grpc_options"]["port"] = grpc_port = free_port()
    config["applications"][0]["args"] = {
        **(config["applications"][0].get("args") or {}),
        "access_log": True,  # the most that a server writes
    }
    config["logging_config"]["encoding"] = "JSON"
    path = folder / "serve.yaml"
    path.write_text(yaml.safe_dump(config))
    made = [
        keys.create("a test", roles, "test", requests_per_minute=limit)
        for roles, limit in (
            ([Role.PREDICT], None),
            ([Role.UPLOAD, Role.REVIEW], None),
            ([Role.PREDICT], 1),
        )
    ]
    with pytest.MonkeyPatch.context() as patch, Receiver(traces_port := free_port()) as receiver:
        for name, value in tracing_to(traces_port).items():
            patch.setenv(name, value)
        patch.setenv("OTEL_TRACES_SAMPLER", "always_on")  # the most again
        patch.setenv("RAY_SERVE_HAPROXY_STATS_PORT", str(free_port()))
        patch.setenv("RAY_SERVE_HAPROXY_METRICS_PORT", str(free_port()))
        with StartedServer(path, folder) as server:
            logs = Path("/tmp/ray/session_latest/logs").resolve()
            yield Keyed(
                server.url,
                f"127.0.0.1:{grpc_port}",
                keys,
                database,
                *made,
                logs=logs,
                receiver=receiver,
            )
    database.close()


def _infer(image: bytes) -> service_pb2.ModelInferRequest:
    request = service_pb2.ModelInferRequest(model_name="dermserve")
    request.inputs.add(name="IMAGE", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(packed(image))
    return request


def _call(keyed: Keyed, image: bytes, **metadata: str) -> service_pb2.ModelInferResponse:
    with grpc.insecure_channel(keyed.grpc_address) as channel:
        call = channel.unary_unary(
            INFER,
            request_serializer=service_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=service_pb2.ModelInferResponse.FromString,
        )
        names = [(name.replace("_", "-"), value) for name, value in metadata.items()]
        return call(_infer(image), metadata=names, timeout=60)


def _refused(keyed: Keyed, image: bytes, **metadata: str) -> tuple[grpc.StatusCode, dict[str, str]]:
    with pytest.raises(grpc.RpcError) as error:
        _call(keyed, image, **metadata)
    trailers = dict(error.value.trailing_metadata() or ())
    return error.value.code(), trailers


def test_a_key_is_asked_for_over_http(keyed: Keyed, jpeg: bytes) -> None:
    with httpx.Client(base_url=keyed.url, timeout=60) as client:
        error_of(client.post("/predict", content=jpeg), 401, "unauthenticated")
        error_of(
            client.post("/predict", content=jpeg, headers=keyed.bearer(keyed.upload)),
            403,
            "forbidden",
        )
        answer = client.post("/predict", content=jpeg, headers=keyed.bearer(keyed.predict))
        schemas.Prediction.model_validate_json(answer.content)
        assert answer.headers["x-content-type-options"] == "nosniff"
        body, headers = image_body(jpeg)
        refused = client.post(URL, content=body, headers=headers)
        assert refused.status_code == 401
        assert isinstance(json.loads(refused.content)["error"], str)
        headers |= {"x-api-key": keyed.predict.text}
        assert client.post(URL, content=body, headers=headers).status_code == 200
        assert client.get("/health/ready").status_code == 200


def test_a_key_is_asked_for_over_grpc(keyed: Keyed, jpeg: bytes) -> None:
    code = grpc.StatusCode
    for metadata in (
        {"authorization": f"Bearer {keyed.predict.text}"},
        {"x_api_key": keyed.predict.text},
    ):
        assert _call(keyed, jpeg, **metadata).model_name == "dermserve"
    status, trailers = _refused(keyed, jpeg)
    assert (status, trailers["error-code"]) == (code.UNAUTHENTICATED, "unauthenticated")
    status, trailers = _refused(keyed, jpeg, x_api_key=keyed.upload.text)
    assert (status, trailers["error-code"]) == (code.PERMISSION_DENIED, "forbidden")
    _call(keyed, jpeg, x_api_key=keyed.spent.text)
    status, trailers = _refused(keyed, jpeg, x_api_key=keyed.spent.text)
    assert (status, trailers["error-code"]) == (code.RESOURCE_EXHAUSTED, "rate_limited")
    assert 1 <= int(trailers["retry-after"]) <= 60


def test_a_revoked_key_is_forgotten_by_a_running_server(keyed: Keyed, jpeg: bytes) -> None:
    created = keyed.keys.create("another", [Role.PREDICT], "test")
    with httpx.Client(base_url=keyed.url, timeout=60, headers=keyed.bearer(created)) as client:
        for expected, change in ((200, None), (401, keyed.keys.revoke)):
            if change is not None:
                change(created.key.id, "test")
            deadline = time.monotonic() + 60  # within seconds, says the command line
            while client.post("/predict", content=jpeg).status_code != expected:
                assert time.monotonic() < deadline
                time.sleep(0.05)


def _lines(keyed: Keyed) -> list[dict[str, Any]]:
    """The log of the replica that takes the requests; each line must be an object."""
    (path,) = (keyed.logs / "serve").glob("replica_dermserve_classifier_*.log")
    whole = path.read_text().rpartition("\n")[0]  # the last may be half written
    return [json.loads(line) for line in whole.split("\n") if line]


def test_every_request_has_a_line_of_json(keyed: Keyed, jpeg: bytes) -> None:
    key = keyed.predict
    context = f"00-{TRACE}-00f067aa0ba902b7-01"
    with httpx.Client(base_url=keyed.url, timeout=60, headers=keyed.bearer(key)) as client:
        for query in ("", "?priority=interactive"):  # the hot path and the framework's
            headers = {"x-request-id": f"line{query[:1]}", "traceparent": context}
            answer = client.post(f"/predict{query}", content=jpeg, headers=headers)
            assert answer.status_code == 200
        assert client.get("/uploads/nobody", headers={"x-request-id": "line3"}).status_code == 403
        forged = b"line4\xe2\x80\xa8\xc2\x85forged"
        assert client.get("/nowhere", headers=[(b"x-request-id", forged)]).status_code == 404
    _call(keyed, jpeg, x_api_key=key.text)
    wanted = {"line", "line?", "line3", "line4?????forged"}
    lines: dict[str, dict[str, Any]] = {}
    called: dict[str, Any] = {"protocol": None}
    deadline = time.monotonic() + 60
    while not wanted <= lines.keys() or called["protocol"] != "grpc":  # written within a second
        assert time.monotonic() < deadline, lines.keys()
        requests = [line for line in _lines(keyed) if line.get("event") == "request"]
        lines = {line["request_id"]: line for line in requests}
        called = requests[-1]
    model = answer.json()["model_version"]
    common = {"deployment": "classifier", "application": "dermserve", "levelname": "INFO"}
    for name in ("line", "line?"):
        expected = {
            "method": "POST",
            "route": "/predict",
            "status": 200,
            "key_id": key.key.id,
            "request_bytes": len(jpeg),
            "model_version": model,
            "trace_id": TRACE,
        }
        assert lines[name].items() >= (common | expected).items()
        assert lines[name]["duration_ms"] > 0
    assert lines["line"].keys() == lines["line?"].keys()
    assert (lines["line3"]["route"], lines["line3"]["status"]) == ("/uploads/{id}", 403)
    assert lines["line4?????forged"]["route"] is None
    over_grpc = {"protocol": "grpc", "status": 200, "key_id": key.key.id, "model_version": model}
    assert called.items() >= over_grpc.items()
    assert "serve_access_log" not in str(_lines(keyed))  # Ray's own are off


def _written(keyed: Keyed) -> dict[Path, bytes]:
    """All logs, once the id of a request of ours is in them: Serve writes them some at a time."""
    with httpx.Client(base_url=keyed.url, timeout=60) as client:
        for _ in range(50):
            logs = {path: path.read_bytes() for path in keyed.logs.rglob("*") if path.is_file()}
            if any(CLIENT_ID.encode() in text for text in logs.values()):
                return logs
            for _ in range(50):
                client.get("/health/live", headers=keyed.bearer(keyed.predict))
    pytest.fail(f"{keyed.logs} are not the logs of this server")


def test_the_logs_hold_no_key_no_file_name_and_no_pixels(keyed: Keyed, jpeg: bytes) -> None:
    image = synthetic_jpeg("bcc", seed=8123)
    name = f"{FILE_NAME}.jpg"
    with httpx.Client(base_url=keyed.url, timeout=60) as client:
        predict, upload = keyed.bearer(keyed.predict), keyed.bearer(keyed.upload)
        marked = {**predict, "x-request-id": CLIENT_ID}
        assert client.post("/predict", content=image, headers=marked).is_success
        named = {"file": (name, image, "image/jpeg")}
        assert client.post("/predict", files=named, headers=predict).is_success
        broken = {"file": (name, image[:900], "image/jpeg")}
        assert client.post("/predict", files=broken, headers=predict).status_code == 400
        wrong = {"x-api-key": keyed.predict.text[:-1] + "x"}
        assert client.post("/predict", files=named, headers=wrong).status_code == 401
        parts = [
            ("files", (name, image, "image/jpeg")),
            ("files", (f"{FILE_NAME}-broken.jpg", image[:900], "image/jpeg")),
            ("files", (f"{FILE_NAME}.pdf", b"%PDF-1.7", "application/pdf")),
        ]
        sent = client.post("/upload/bulk", files=parts, headers=upload)
        assert sent.status_code == 200
        verdicts = [result["verdict"] for result in sent.json()["results"]]
        failing = client.post(
            "/upload/bulk", files=[*parts, ("uploader", (None, FILE_NAME))], headers=upload
        )
        assert failing.status_code == 422
        _call(keyed, image, authorization=f"Bearer {keyed.predict.text}")
    assert verdicts == ["needs_label", "rejected", "rejected"]
    (kept,) = Uploads(keyed.database).page().items
    assert kept.uploader == f"key:{keyed.upload.key.id}"
    everything: dict[Any, bytes] = {**_written(keyed)}
    everything["the spans"] = b"".join(
        bytes(str(span), "utf-8")
        for _, span in keyed.receiver.until(lambda spans: CLIENT_ID in str(spans))
    )
    secret = {
        "a key": keyed.predict.text.encode(),
        "the secret of a key": keyed.predict.text.rpartition("_")[2][:-1].encode(),
        "the secret of another": keyed.upload.text.rpartition("_")[2].encode(),
        "a file name": FILE_NAME.encode(),
        "bytes of an image": image[600:632],
        "their repr": repr(image[600:616])[2:-1].encode(),
    }
    for path, text in everything.items():
        for what, needle in secret.items():
            assert needle not in text, f"{path} holds {what}"


@needs_prometheus
@pytest.mark.parametrize("valid", [True, False])
def test_prometheus_gets_in_with_a_key_alone(keyed: Keyed, tmp_path: Path, valid: bool) -> None:
    key = keyed.predict.text if valid else f"{keyed.predict.text[:-1]}-"
    with PrometheusProcess(tmp_path, keyed.url.removeprefix("http://"), key) as prometheus:
        prometheus.wait_for(
            "Prometheus has not asked the server",
            lambda: (
                [target["health"] for target in prometheus.targets("dermserve")]
                == ["up" if valid else "down"]
            ),
        )
        (target,) = prometheus.targets("dermserve")
    assert target["lastError"] == ("" if valid else "server returned HTTP status 401 Unauthorized")
