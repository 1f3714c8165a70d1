"""The trace context: what the W3C calls valid, and that anything else is as good as none."""

from __future__ import annotations

import logging

import pytest

from serve_app.telemetry.trace_context import (
    context_of_headers,
    context_of_metadata,
    parse,
    wire,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"


def test_a_valid_one_is_taken() -> None:
    context = parse([VALID], ["rojo=1,congo=2"])
    assert context is not None
    assert (context.trace_id, context.span_id) == (int(TRACE, 16), int(SPAN, 16))
    assert context.trace_flags.sampled
    assert context.is_remote
    assert dict(context.trace_state) == {"rojo": "1", "congo": "2"}
    assert wire(context) == (VALID, "rojo=1,congo=2")


@pytest.mark.parametrize(
    ("traceparent", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-fe", False),  # unknown flags count for nothing
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f" \t{VALID} ", True),
        (f"cc-{TRACE}-{SPAN}-01", True),  # a version to come
        (f"cc-{TRACE}-{SPAN}-01-and-more", True),
    ],
)
def test_flags_and_later_versions_are_read_as_far_as_they_are_known(
    traceparent: str, sampled: bool
) -> None:
    context = parse([traceparent], [])
    assert context is not None
    assert context.trace_flags.sampled is sampled


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00",
        VALID[:-1],
        VALID + "1",
        VALID + "-more",  # version 00 ends there
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN.upper()}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"00_{TRACE}_{SPAN}_01",
        f"cc-{TRACE}-{SPAN}-01.what",
        f"{VALID},{VALID}",
        VALID * 1000,
        "cc-" + VALID[3:] + "-" + "x" * 100_000,
        f"00-{'٣' * 32}-{SPAN}-01",  # digits, but none of ASCII
        f"{VALID}\x00",
    ],
)
def test_an_invalid_one_is_none(traceparent: str) -> None:
    assert parse([traceparent], ["rojo=1"]) is None


def test_several_are_none() -> None:
    assert parse([VALID, VALID], []) is None
    headers = [(b"traceparent", VALID.encode())]
    assert context_of_headers(headers) is not None
    assert context_of_headers(headers * 2) is None
    assert context_of_headers([]) is None
    metadata = [("traceparent", VALID), ("traceparent-bin", b"\x00"), ("other", "x")]
    assert context_of_metadata(metadata) is not None
    assert context_of_metadata([*metadata, ("traceparent", VALID)]) is None
    assert context_of_headers([(b"traceparent", b"\xff\xfe")]) is None


@pytest.mark.parametrize(
    ("tracestates", "kept"),
    [
        ([], {}),
        ([""], {}),
        (["a=1", "b=2"], {"a": "1", "b": "2"}),  # several headers are one
        ([" a=1 ,, b=2"], {"a": "1", "b": "2"}),
        (["a=1,a=2"], None),
        (["A=1"], {}),
        (["a=" + "x" * 600], {}),
        ([",".join(f"k{i}=v" for i in range(33))], {}),
        (["a=1\x00"], {}),
    ],
)
def test_a_state_that_is_invalid_is_dropped_and_the_trace_is_kept(
    tracestates: list[str], kept: dict[str, str] | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        context = parse([VALID], tracestates)
    assert context is not None
    if kept is not None:
        assert dict(context.trace_state) == kept
    assert caplog.records == []  # a client does not write our log
