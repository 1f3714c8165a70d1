"""A round of the comparison: each server is started, checked, measured and ended in its turn."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.comparison.results import Turn
from benchmarks.free_ports import free_ports
from benchmarks.open_loop.load import OpenLoopResult, run_open_loop
from benchmarks.peers.answer import check_answer
from benchmarks.peers.entry import Entry
from benchmarks.peers.failure import PeerFailed
from benchmarks.peers.reference import Reference
from benchmarks.peers.server_process import ServerProcess
from benchmarks.peers.task import PeerTask
from benchmarks.wrk import LoadFailed, LoadResult, run_wrk

START_TIMEOUT_S = 180.0
WARM_UP_S = 3
_WARM_UP_CONCURRENCY = 16
_OPEN_LOOP_TIMEOUT_S = 5.0
"""An answer that takes longer counts as failed."""
_POLL_S = 0.1

# For the estimate: of one server, on average; of the bare limit; of the open loop's generator,
# with the answers that come after the last request.
_START_AND_STOP_S = 12.0
_BARE_LIMIT_START_S = 6.0
_OPEN_LOOP_TAIL_S = 4.0


@dataclass(frozen=True)
class Plan:
    """What is the same for every server and round."""

    files: Sequence[Path]
    reference: Reference
    python: Path
    """The peers' interpreter."""
    cores: int
    concurrencies: Sequence[int]
    shares: Sequence[float]
    """Of the bare limit, which the open loop offers; ascending, since a server that has no
    bound to its queue still works on the last rate when the next begins."""
    seconds: int
    """Length of one measurement."""
    folder: Path
    """That servers work in."""
    logs: Path
    limit: float = 0.0
    """The bare limit, images a second; 0 before it is measured."""

    def rates(self, entry: Entry) -> list[float]:
        """Requests a second; none with torch eager, which is far below them all."""
        return [s * self.limit for s in self._shares(entry)]

    def steps(self, entry: Entry) -> int:
        """How often `measure` goes on: a start, and measurements."""
        return 1 + len(self.concurrencies) + len(self._shares(entry))

    def estimate_s(self, entries: Sequence[Entry]) -> float:
        """About how long a round takes."""
        rates = sum(len(self._shares(entry)) for entry in entries)
        measurements = len(self.concurrencies) * len(entries)
        return (
            self.seconds * (1 + measurements + rates)
            + (_START_AND_STOP_S + WARM_UP_S) * len(entries)
            + _OPEN_LOOP_TAIL_S * rates
            + _BARE_LIMIT_START_S
        )

    def _shares(self, entry: Entry) -> Sequence[float]:
        return self.shares if entry.engine == "openvino" else ()


def measure(entry: Entry, plan: Plan, on_step: Callable[[str], None]) -> Turn:
    """Give a server its turn. What goes wrong with it is in the result.

    Args:
        entry: of the server.
        plan: of the comparison.
        on_step: told what is done next, `plan.steps` times if all goes well.

    Raises:
        LoadFailed: if the server's processes do not end.
    """
    port, spare = free_ports(2)
    task = PeerTask(engine=entry.engine, port=port, cores=plan.cores)
    url = f"http://127.0.0.1:{port}{entry.path}"
    start_s = None
    closed: list[LoadResult] = []
    opened: list[OpenLoopResult] = []
    problem = None
    began = time.monotonic()
    on_step("starts")
    server = ServerProcess(
        entry.command(plan.python, task, spare),
        environment={**os.environ, **task.environment()},
        folder=plan.folder,
        log=plan.logs / f"{entry.name}-{entry.engine}.log",
    )
    with server:
        try:
            _wait_until_right(server, entry, url, plan)
            start_s = time.monotonic() - began
            server.look_around()
            _check(entry, url, plan)
            _closed(entry, url, plan, _WARM_UP_CONCURRENCY, WARM_UP_S)
            for concurrency in plan.concurrencies:
                on_step(f"{concurrency} connections")
                closed.append(_closed(entry, url, plan, concurrency, plan.seconds))
            for rate in plan.rates(entry):
                on_step(f"{rate:.0f} requests/s")
                opened.append(_open(entry, url, plan, rate))
        except (PeerFailed, LoadFailed) as error:
            problem = error.message
        except (httpx.HTTPError, subprocess.TimeoutExpired) as error:
            problem = f"It stopped answering ({error!r})."
    return Turn(
        label=entry.label,
        start_s=start_s,
        closed=tuple(closed),
        open=tuple(opened),
        problem=problem,
    )


def _closed(entry: Entry, url: str, plan: Plan, concurrency: int, seconds: int) -> LoadResult:
    return run_wrk(url, plan.files, concurrency=concurrency, seconds=seconds, headers=entry.headers)


def _open(entry: Entry, url: str, plan: Plan, rate: float) -> OpenLoopResult:
    return run_open_loop(
        url,
        plan.files,
        rate=rate,
        seconds=plan.seconds,
        timeout_s=_OPEN_LOOP_TIMEOUT_S,
        headers=entry.headers,
    )


def _wait_until_right(server: ServerProcess, entry: Entry, url: str, plan: Plan) -> None:
    """Until the first image has its right answer.

    A server that listens before its model is loaded may refuse or say 5xx until then.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    last = "nothing"
    while time.monotonic() < deadline:
        if server.ended:
            raise PeerFailed(f"It ended at its start: {server.last_words()}")
        try:
            response = _post(entry, url, plan.reference.bodies[0])
        except httpx.HTTPError as error:
            last = repr(error)
        else:
            if response.status_code == 200:
                check_answer(response, entry.read, plan.reference.expected(entry.engine)[0])
                return
            last = f"{response.status_code}: {response.text[:200]}"
        time.sleep(_POLL_S)
    raise PeerFailed(f"It was not ready after {START_TIMEOUT_S:.0f} s; last it said {last}.")


def _check(entry: Entry, url: str, plan: Plan) -> None:
    """Each image of the reference once, before anything is timed."""
    expected = plan.reference.expected(entry.engine)
    for body, probabilities in zip(plan.reference.bodies, expected, strict=True):
        check_answer(_post(entry, url, body), entry.read, probabilities)


def _post(entry: Entry, url: str, body: bytes) -> httpx.Response:
    headers = {"Content-Type": "image/jpeg", **entry.headers}
    return httpx.post(url, content=body, headers=headers, timeout=10)
