"""The open-loop generator against real servers that answer, refuse, stall and misbehave."""

from __future__ import annotations

import math
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.open_loop.load import RESULTS, OpenLoopResult, Stream, run_open_loop, run_streams
from benchmarks.open_loop.sender import arrivals
from benchmarks.open_loop.tally import Tally
from benchmarks.wrk import LoadFailed
from tests.benchmarks.small_server import small_server
from tests.http_server import serving

RATE, SECONDS = 100.0, 0.5
DUE = 50
"""Requests that fall due at that rate in that time."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with small_server() as url:
        yield url


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Bodies; the servers here do not look at them."""
    folder = tmp_path_factory.mktemp("bodies")
    paths = [folder / f"{number}.jpg" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes(100_000 * number + 10))
    return paths


def load(url: str, files: list[Path], **options: Any) -> OpenLoopResult:
    chosen = {"rate": RATE, "seconds": SECONDS, "connections": 4, **options}
    result = run_open_loop(url, files, **chosen)
    assert_adds_up(result)
    return result


def assert_adds_up(result: OpenLoopResult) -> None:
    assert result.sent == result.ok + result.rejected + result.expired + result.failed
    assert result.failed == sum(result.failures.values())


def test_every_request_is_answered(url: str, files: list[Path]) -> None:
    result = load(f"{url}/ok", files)
    assert (result.sent, result.ok) == (DUE, DUE)
    assert 0 < result.p50_s <= result.p90_s <= result.p99_s <= result.max_s
    assert sum(result.ok_each_second) == DUE
    assert result.goodput == result.ok_within / SECONDS
    assert result.generator_cpu_s > 0
    assert result.timings["queue"].mean_s == 0.25
    assert result.timings["total"].p99_s == 0.5


def test_answers_without_timings_are_answers(url: str, files: list[Path]) -> None:
    result = load(f"{url}/unmeasured", files)
    assert (result.ok, result.timings) == (DUE, {})


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("/full", {"rejected": DUE, "retry_after_missing": 0}),
        ("/silent", {"rejected": DUE, "retry_after_missing": DUE}),
        ("/limited", {"rejected": DUE, "retry_after_missing": 0}),
        ("/late", {"expired": DUE}),
        ("/bug", {"failed": DUE, "failures": {"500": DUE}}),
    ],
)
def test_refusals_are_told_apart(
    url: str, files: list[Path], path: str, counts: dict[str, Any]
) -> None:
    result = load(url + path, files)
    assert result.model_dump(include=set(counts)) == counts
    assert result.ok == 0
    assert math.isnan(result.p99_s)
    assert result.goodput == 0


def test_a_server_that_never_answers(url: str, files: list[Path]) -> None:
    result = load(f"{url}/never", files, timeout_s=0.2)
    assert result.failures == {"timeout": DUE}


def test_more_connections_are_opened_up_to_a_bound(url: str, files: list[Path]) -> None:
    result = load(f"{url}/never", files, timeout_s=5, connections=1, max_connections=8)
    assert result.failures == {"timeout": 8, "unsent": DUE - 8}


def test_streams_are_counted_apart(url: str, files: list[Path]) -> None:
    streams = [
        Stream(rate=RATE, priority="interactive"),
        Stream(rate=2 * RATE, priority="bulk"),
        Stream(rate=RATE, path="/late?why=not"),
    ]
    first, second, third = run_streams(f"{url}/ok", files, streams, seconds=SECONDS)
    assert (first.priority, first.ok) == ("interactive", DUE)
    assert (second.priority, second.rejected) == ("bulk", 2 * DUE)
    assert (third.priority, third.expired) == (None, DUE)


def test_the_warm_up_is_not_counted(url: str, files: list[Path]) -> None:
    result = load(f"{url}/ok", files, warmup_s=0.5)
    assert (result.sent, result.ok) == (DUE, DUE)
    assert sum(result.ok_each_second) == 2 * DUE


# Servers that break the rules.


class Misbehaving(socketserver.StreamRequestHandler):
    """Reads requests from one connection, and answers as the path says."""

    timeout = 10

    def handle(self) -> None:
        while line := self.rfile.readline():
            path = line.split()[1].decode()
            length = 0
            while (header := self.rfile.readline().lower()) not in (b"\r\n", b""):
                if header.startswith(b"content-length:"):
                    length = int(header.split(b":")[1])
            if path == "/early":
                self._write(b"HTTP/1.1 503 \r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
            self.rfile.read(length)
            if not getattr(self, path[1:])():
                return

    def garbage(self) -> bool:
        return self._write(b"I am not a server\r\n\r\n")

    def hangup(self) -> bool:
        return False

    def half(self) -> bool:
        self._write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
        return False

    def announced(self) -> bool:
        self._write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        return False

    def unframed(self) -> bool:
        self._write(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")
        return False

    def drip(self) -> bool:
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        return all(self._write(answer[at : at + 1]) for at in range(len(answer)))

    def early(self) -> bool:
        return True

    def twice(self) -> bool:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        self._write(answer)
        self._write(answer)
        return False

    def _write(self, data: bytes) -> bool:
        self.wfile.write(data)
        return True


@contextmanager
def misbehaving() -> Iterator[str]:
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that hangs up is expected."""

    server = Server(("127.0.0.1", 0), Misbehaving)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_address[1]}"


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("/garbage", {"failures": {"garbage": DUE}}),
        ("/hangup", {"failures": {"connection": DUE}}),
        ("/half", {"failures": {"connection": DUE}}),
        ("/announced", {"ok": DUE}),
        ("/unframed", {"ok": DUE}),
        ("/drip", {"ok": DUE}),
        ("/early", {"rejected": DUE, "retry_after_missing": 0}),
    ],
)
def test_connections_that_misbehave(files: list[Path], path: str, counts: dict[str, Any]) -> None:
    with misbehaving() as url:
        result = load(url + path, files)
    assert result.model_dump(include=set(counts)) == counts


def test_an_answer_to_nothing_is_not_counted(files: list[Path]) -> None:
    with misbehaving() as url:
        result = load(f"{url}/twice", files)
    assert result.ok <= result.sent == DUE


def test_a_server_that_goes_away(files: list[Path]) -> None:
    """Its connections are taken and closed; new ones are refused."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def leave() -> None:
            first, _ = listener.accept()
            first.recv(10)
            listener.close()
            first.close()

        thread = threading.Thread(target=leave)
        thread.start()
        port = listener.getsockname()[1]
        result = load(f"http://127.0.0.1:{port}/", files, connections=1)
        thread.join()
    assert result.failures == {"connection": DUE}


def test_a_server_that_is_not_there(files: list[Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(LoadFailed, match=f"No server answers at 127.0.0.1:{port}"):
        load(f"http://127.0.0.1:{port}/", files)


def test_an_address_of_another_kind(files: list[Path]) -> None:
    with pytest.raises(LoadFailed, match="https://localhost/ is no address for a load"):
        load("https://localhost/", files)


# Without a server.

RATES = st.floats(0.5, 500)
DURATIONS = st.floats(0.1, 20)


@given(rate=RATES, warmup_s=st.just(0.0) | DURATIONS, seconds=DURATIONS, seed=st.integers(0, 9))
def test_arrivals(rate: float, warmup_s: float, seconds: float, seed: int) -> None:
    stream = Stream(rate=rate)
    times = arrivals(stream, warmup_s=warmup_s, seconds=seconds, seed=[seed])
    assert (np.diff(times) >= 0).all()
    assert (times < warmup_s).sum() == round(rate * warmup_s)
    assert ((times >= warmup_s) & (times <= warmup_s + seconds)).sum() == round(rate * seconds)
    again = arrivals(stream, warmup_s=warmup_s, seconds=seconds, seed=[seed])
    assert (times == again).all()


def test_arrivals_are_those_of_a_poisson_process() -> None:
    """Gaps are exponential: as spread as they are long, and the next says nothing of the last."""
    gaps = np.diff(arrivals(Stream(rate=1000), warmup_s=0, seconds=100, seed=[1]))
    assert np.std(gaps) / np.mean(gaps) == pytest.approx(1, abs=0.02)
    assert np.corrcoef(gaps[:-1], gaps[1:])[0, 1] == pytest.approx(0, abs=0.02)


FATES = st.lists(
    st.tuples(
        st.floats(0, 9),  # due
        st.floats(0, 30),  # until the answer
        st.sampled_from([200, 503, 429, 504, 500, 404, "timeout", "unsent"]),
        st.booleans(),
    )
)


@settings(max_examples=200)
@given(fates=FATES)
def test_a_tally_adds_up(fates: list[tuple[float, float, int | str, bool]]) -> None:
    tally = Tally(Stream(rate=1), begin_s=2, end_s=9)
    for due_s, latency_s, fate, retry_after in fates:
        if isinstance(fate, int):
            tally.sent(due_s, due_s)
            tally.answered(due_s, due_s + latency_s, fate, retry_after, b"{}")
        else:
            tally.failed(due_s, fate)
    result = tally.result(generator_cpu_s=0.5)
    assert_adds_up(result)
    counted = [each for each in fates if each[0] >= 2]
    assert result.sent == len(counted)
    ok = [latency_s for _, latency_s, fate, _ in counted if fate == 200]
    assert result.ok == len(ok)
    if ok:
        assert result.max_s == pytest.approx(max(ok))
        assert result.p50_s == pytest.approx(np.median(ok))
    silent = [each for each in counted if each[2] == 503 and not each[3]]
    assert result.retry_after_missing == len(silent)
    came = [due_s + latency_s for due_s, latency_s, fate, _ in fates if fate == 200]
    assert result.ok_within == sum(2 <= at_s < 9 for at_s in came)
    assert sum(result.ok_each_second) == len(came)
    assert repr(RESULTS.validate_json(RESULTS.dump_json([result]))) == repr([result])
