"""The spans of requests: one tree for each, the same whether the stages share a process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind

from data.synthetic import synthetic_jpeg
from serve_app.message import Message
from serve_app.telemetry.observer import Observer
from serve_app.telemetry.stage_spans import record, traced
from serve_app.telemetry.trace import Trace
from serve_app.telemetry.trace_context import parse
from serve_app.work import Work
from tests.serve_app.telemetry.conftest import PROFILES, Open, Recorded
from tests.serve_app.telemetry.leaving import leave

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "rojo=1"}
TREE = [
    "POST /predict",
    "POST /predict > preprocessor",
    "POST /predict > preprocessor > classifier",
    "POST /predict > preprocessor > classifier > forward",
    "POST /predict > preprocessor > decode",
]


def _attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_request_has_one_tree(
    profile: str, open_api: Open, recorded: Recorded, jpeg: bytes
) -> None:
    async with open_api(profile) as client:
        answer = await client.post(
            "/predict", content=jpeg, headers={**SAMPLED, "x-request-id": "mine-1"}
        )
    assert answer.status_code == 200
    assert recorded.tree() == TREE
    (server,) = recorded.named("POST /predict")
    assert server.parent is not None
    assert server.parent.span_id == int(SPAN, 16)
    spans = {span.name: span for span in recorded.spans}
    for span in recorded.spans:
        assert span.context.trace_id == int(TRACE, 16)
        assert dict(span.context.trace_state) == {"rojo": "1"}
        assert span.start_time <= span.end_time
    assert _attributes(server) == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
        "http.request.body.size": len(jpeg),
        "http.response.body.size": len(answer.content),
        "dermserve.request_id": "mine-1",
        "dermserve.model_version": answer.json()["model_version"],
    }
    for name in ("decode", "forward"):
        attributes = _attributes(spans[name])
        assert attributes["dermserve.batch.size"] == attributes["dermserve.images"] == 1
        assert 0 <= attributes["dermserve.queue.wait_s"] < 60
    assert (
        _attributes(spans["forward"])["dermserve.model.version"] == (answer.json()["model_version"])
    )
    hops = {name for name, span in spans.items() if "dermserve.hop.wait_s" in _attributes(span)}
    assert hops == (set() if profile == "colocated" else {"preprocessor", "classifier"})
    assert server.start_time <= spans["decode"].start_time <= spans["forward"].start_time
    assert spans["forward"].end_time <= server.end_time


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_request_of_many_images_has_few_spans(
    profile: str, open_api: Open, recorded: Recorded
) -> None:
    images = [synthetic_jpeg("nv", seed, 120, 90) for seed in range(3)]
    parts = [("files", (f"secret-{i}.jpg", each)) for i, each in enumerate(images)]
    parts.append(("files", ("broken.jpg", images[0][:300])))
    async with open_api(profile) as client:
        answer = await client.post("/predict/batch", files=parts)
    assert (answer.json()["succeeded"], answer.json()["failed"]) == (3, 1)
    assert len({span.context.trace_id for span in recorded.spans}) == 1
    for name, count in (("decode", 4), ("forward", 3)):
        assert sum(_attributes(each)["dermserve.images"] for each in recorded.named(name)) == count
    errors = [_attributes(each).get("error.type") for each in recorded.named("preprocessor")]
    assert "truncated_image" in errors
    everything = "".join(span.to_json() for span in recorded.spans)
    assert "secret" not in everything
    assert "broken" not in everything


async def test_each_of_many_requests_has_its_own_tree(open_api: Open, recorded: Recorded) -> None:
    images = [synthetic_jpeg("nv", seed, 120, 90) for seed in range(12)]
    async with open_api(max_batch_size=8) as client:
        answers = await asyncio.gather(
            *(client.post("/predict", content=image) for image in images)
        )
    assert all(answer.status_code == 200 for answer in answers)
    assert recorded.tree() == sorted(TREE * len(images))
    assert len({span.context.trace_id for span in recorded.spans}) == len(images)


def test_requests_that_share_a_batch_know_of_each_other(recorded: Recorded) -> None:
    parents = [parse([f"00-{trace:032x}-{SPAN}-01"], []) for trace in (1, 2, 3)]
    traces = [Trace(parent) for parent in parents if parent is not None]
    untraced: Work[bytes] = Work(b"")
    works = [Work(b"", trace=traces[index]) for index in (0, 1, 1, 2)]
    begun = time.perf_counter()
    record("forward", [*works, untraced], begun, begun + 0.25, shared=True, model_version="7")
    first, second, third = recorded.spans
    assert [span.context.trace_id for span in recorded.spans] == [1, 2, 3]
    assert [_attributes(span)["dermserve.images"] for span in recorded.spans] == [1, 2, 1]
    assert {_attributes(span)["dermserve.batch.size"] for span in recorded.spans} == {5}
    # To the requests of the others, whose spans of this batch lead back.
    assert [link.context.trace_id for link in first.links] == [2, 3]
    assert {link.context.span_id for link in first.links} == {int(SPAN, 16)}
    for other in (second, third):
        assert [link.context for link in other.links] == [first.context]
    for span in recorded.spans:
        assert span.end_time - span.start_time == pytest.approx(250_000_000, abs=1_000_000)
        assert abs(span.start_time - time.time_ns()) < 60e9

    record("decode", works, begun, begun)
    assert [span.links for span in recorded.named("decode")] == [()] * 3


async def test_nothing_is_recorded_of_a_request_that_is_not_sampled(
    open_api: Open, record_spans: Callable[..., Recorded], jpeg: bytes
) -> None:
    recorded = record_spans(ParentBased(ALWAYS_OFF))
    unsampled = {"traceparent": SAMPLED["traceparent"][:-1] + "0"}
    async with open_api("chain") as client:
        for headers in ({}, unsampled, {"traceparent": "00-ABC"}):
            assert (await client.post("/predict", content=jpeg, headers=headers)).is_success
        assert recorded.tree() == []
        assert (await client.post("/predict", content=jpeg, headers=SAMPLED)).is_success
    assert recorded.tree() == TREE


ASKED = [
    ("POST", "/predict", b"no image", "POST /predict", 415),
    ("GET", "/uploads/abc?secret=1", None, "GET /uploads/{id}", 404),
    ("GET", "/nowhere/secret", None, "GET", 404),
    ("PUT", "/predict", None, "PUT /predict", 405),
    ("SECRET", "/predict", None, "_OTHER /predict", 405),
    (
        "GET",
        "/v2/models/dermserve/versions/secret/ready",
        None,
        "GET /v2/models/{model}/versions/{version}/ready",
        404,
    ),
    ("GET", "/health/ready", None, "GET /health/ready", 200),
]


async def test_a_span_names_the_route_and_the_outcome(open_api: Open, recorded: Recorded) -> None:
    async with open_api() as client:
        for method, path, body, _, status in ASKED:
            answer = await client.request(method, path, content=body)
            assert answer.status_code == status, path
    servers = [each for each in recorded.spans if each.kind is SpanKind.SERVER]
    for (_, path, _, name, status), server in zip(ASKED, servers, strict=True):
        assert server.name == name, path
        assert _attributes(server)["http.response.status_code"] == status
        assert server.status.is_unset  # what a client does wrong is no failure of ours
        assert "secret" not in server.to_json().lower()


async def test_a_fault_of_ours_is_an_error_of_the_span(
    open_api: Open, recorded: Recorded, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("serve_app.preprocessing.decode_image", fail)
    async with open_api() as client:
        assert (await client.post("/predict", content=jpeg)).status_code == 500
    spans = {span.name: span for span in recorded.spans}
    assert not spans["POST /predict"].status.is_ok
    assert _attributes(spans["POST /predict"])["error.type"] == "500"
    assert _attributes(spans["preprocessor"])["error.type"] == "ZeroDivisionError"


async def test_an_id_that_a_client_forged_is_shown_as_it_can_be(
    open_api: Open, recorded: Recorded
) -> None:
    async with open_api() as client:
        forged = "a\u2028b\x1b[31m c" + "x" * 500
        await client.get("/health/live", headers={"x-request-id": forged.encode()})
    (span,) = recorded.spans
    shown = str(_attributes(span)["dermserve.request_id"])
    assert shown.isascii()
    assert shown.isprintable()
    assert len(shown) == 128


def test_a_trace_survives_a_message() -> None:
    parent = parse([SAMPLED["traceparent"]], ["rojo=1"])
    assert parent is not None
    works = [Work(b"a", request_id="one", trace=Trace(parent)), Work(b"b", request_id="two")]
    message = Message.by_value(works)
    arrived = message._works(message.content)
    assert [work.request_id for work in arrived] == ["one", "two"]
    assert arrived[1].trace is None
    assert arrived[0].trace is not None
    assert arrived[0].trace.parent == parent
    assert (arrived[0].trace.hop_wait_s or 0) > 0
    plain = Message.by_value([Work(b"a"), Work(b"b")])
    assert plain.traces == ()  # nothing travels where nobody is recorded


async def test_work_that_is_given_up_ends_its_spans(recorded: Recorded) -> None:
    parent = parse([SAMPLED["traceparent"]], [])
    assert parent is not None

    async def hang(works: object) -> list[Any]:
        await asyncio.Event().wait()
        return []

    task = asyncio.ensure_future(traced("a stage", [Work(b"", trace=Trace(parent))], hang))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (span,) = recorded.spans
    assert _attributes(span)["error.type"] == "CancelledError"


async def test_a_stage_whose_process_records_nothing_passes_the_trace_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("serve_app.telemetry.tracing.tracer", lambda: None)
    parent = parse([SAMPLED["traceparent"]], [])
    assert parent is not None
    works = [Work(b"", trace=Trace(parent))]

    async def same(inside: Any) -> list[Any]:
        assert inside is works
        return [1]

    assert await traced("a stage", works, same) == [1]
    record("a deed", works, 0.0, 1.0)
    assert not Observer(access_log=False).watches


async def test_a_client_that_leaves_ends_the_span(
    open_api: Open, recorded: Recorded, jpeg: bytes
) -> None:
    async with open_api() as client:
        await leave(client, jpeg)
    (span,) = recorded.named("POST /predict")
    assert _attributes(span)["http.response.status_code"] == 499
