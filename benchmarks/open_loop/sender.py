"""The process of the open-loop generator: reads a plan, sends its requests, prints the results."""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import numpy as np
import numpy.typing as npt
import uvloop

from benchmarks.open_loop.connection import Connection
from benchmarks.open_loop.load import RESULTS, OpenLoopResult, Plan, Stream
from benchmarks.open_loop.tally import Tally
from benchmarks.wrk import LoadFailed

_SWEEP_S = 0.05  # between two looks for requests whose time is over
_CONNECT_TIMEOUT_S = 10.0


def arrivals(
    stream: Stream, *, warmup_s: float, seconds: float, seed: Sequence[int]
) -> npt.NDArray[np.float64]:
    """When the requests of a stream are due, in seconds since the run began, ascending.

    A Poisson process given its number of arrivals, which is that of the rate: then the times are
    independent and uniform. Every run of a rate offers the same number, so that two servers, or
    two windows of one, do not differ by the luck of the draw.
    """
    generator = np.random.default_rng(seed)
    warming = generator.uniform(0, warmup_s, round(stream.rate * warmup_s))
    measured = generator.uniform(warmup_s, warmup_s + seconds, round(stream.rate * seconds))
    return np.sort(np.concatenate([warming, measured]))


@dataclass(slots=True)
class _Request:
    stream: int
    due_s: float
    body: int
    done: bool = False
    connection: Connection | None = None


class Sender:
    """Sends the requests of a plan as they fall due; the connections report to it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._url = _checked(plan.url)
        bodies = [path.read_bytes() for path in plan.files]
        self._wire = [
            [_on_the_wire(self._url, stream, body, plan.headers) for body in bodies]
            for stream in plan.streams
        ]
        end_s = plan.warmup_s + plan.seconds
        self._tallies = [Tally(stream, plan.warmup_s, end_s) for stream in plan.streams]
        due = [
            arrivals(stream, warmup_s=plan.warmup_s, seconds=plan.seconds, seed=[plan.seed, index])
            for index, stream in enumerate(plan.streams)
        ]
        self._requests = deque(
            _Request(stream, due_s, number % len(bodies))
            for number, (due_s, stream) in enumerate(
                sorted((at, index) for index, times in enumerate(due) for at in times.tolist())
            )
        )
        self._idle: list[Connection] = []
        self._busy: dict[Connection, _Request] = {}
        self._waiting: deque[_Request] = deque()
        self._by_deadline: deque[_Request] = deque()
        self._connecting: set[asyncio.Task[None]] = set()
        self._open = 0
        self._open_requests = len(self._requests)
        self._began = 0.0

    async def run(self) -> list[OpenLoopResult]:
        """Raises: LoadFailed: if no connection can be opened."""
        self._loop = asyncio.get_running_loop()
        self._finished = asyncio.Event()
        await self._connect_first()
        # The garbage collector would stop the clock; nothing here makes cycles that grow.
        gc.collect()
        gc.freeze()
        gc.disable()
        cpu_s = time.process_time()
        times = [request.due_s for request in self._requests]
        self._began = time.monotonic()
        threading.Thread(target=self._keep_pace, args=(times,), daemon=True).start()
        if times:
            self._sweep()
            await self._finished.wait()
        cpu_s = time.process_time() - cpu_s
        for connection in [*self._idle, *self._busy]:
            connection.abandon()
        return [tally.result(cpu_s) for tally in self._tallies]

    # What connections report.

    def opened(self, connection: Connection) -> None:
        self._open += 1

    def answered(self, connection: Connection, status: int, retry_after: bool, body: bytes) -> None:
        request = self._busy.pop(connection)
        tally = self._tallies[request.stream]
        tally.answered(request.due_s, self._now_s(), status, retry_after, body)
        self._close(request)

    def broken(self, connection: Connection, reason: str) -> None:
        self._fail(self._busy.pop(connection), reason)

    def idle(self, connection: Connection) -> None:
        while self._waiting:
            request = self._waiting.popleft()
            if not request.done:
                self._send(request, connection)
                return
        self._idle.append(connection)

    def closed(self, connection: Connection) -> None:
        self._open -= 1
        if connection in self._idle:
            self._idle.remove(connection)

    # The clock.

    def _keep_pace(self, times: list[float]) -> None:
        """Wake the loop when requests fall due, from a thread: a loop's timers count in ms."""
        woken_s = -1.0
        for due_s in times:
            if due_s <= woken_s:
                continue  # the loop takes it with those before
            while (wait_s := due_s - self._now_s()) > 0:
                time.sleep(wait_s)
            woken_s = self._now_s()
            self._loop.call_soon_threadsafe(self._send_due)

    def _send_due(self) -> None:
        now_s = self._now_s()
        while self._requests and self._requests[0].due_s <= now_s:
            request = self._requests.popleft()
            self._by_deadline.append(request)
            if self._idle:
                # The last used: the fewer take turns, the fewer are cold.
                self._send(request, self._idle.pop())
            elif self._open + len(self._connecting) < self._plan.max_connections:
                self._waiting.append(request)
                self._connect_another()
            else:
                self._fail(request, "unsent")

    def _sweep(self) -> None:
        """Give up requests that have waited for too long; they are in the order of their times."""
        latest_s = self._now_s() - self._plan.timeout_s
        pending = self._by_deadline
        while pending and (pending[0].done or pending[0].due_s < latest_s):
            request = pending.popleft()
            if request.done:
                continue
            if request.connection is not None:
                del self._busy[request.connection]
                request.connection.abandon()
            self._fail(request, "timeout")
        if not self._finished.is_set():
            self._loop.call_later(_SWEEP_S, self._sweep)

    def _send(self, request: _Request, connection: Connection) -> None:
        self._tallies[request.stream].sent(request.due_s, self._now_s())
        request.connection = connection
        self._busy[connection] = request
        connection.send(self._wire[request.stream][request.body])

    def _fail(self, request: _Request, reason: str) -> None:
        self._tallies[request.stream].failed(request.due_s, reason)
        self._close(request)

    def _close(self, request: _Request) -> None:
        request.done = True
        request.connection = None
        self._open_requests -= 1
        if self._open_requests == 0:
            self._finished.set()

    def _now_s(self) -> float:
        return time.monotonic() - self._began

    # Connections.

    async def _connect_first(self) -> None:
        await asyncio.gather(*(self._connect() for _ in range(self._plan.connections)))
        if not self._open:
            raise LoadFailed(
                f"No server answers at {self._url.netloc}. Start one with make serve, or correct "
                "the address."
            )

    def _connect_another(self) -> None:
        task = self._loop.create_task(self._connect())
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self) -> None:
        try:
            await asyncio.wait_for(
                self._loop.create_connection(
                    lambda: Connection(self), self._url.hostname or "", self._url.port or 80
                ),
                _CONNECT_TIMEOUT_S,
            )
        except (OSError, TimeoutError, asyncio.TimeoutError):
            # One connection fewer, so one request fewer can be sent.
            waiting = next((each for each in self._waiting if not each.done), None)
            if waiting is not None:
                self._waiting.remove(waiting)
                self._fail(waiting, "connection")


def _checked(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise LoadFailed(f"{url} is no address for a load. Write it as http://host:port/predict.")
    return parts


def _on_the_wire(
    url: SplitResult, stream: Stream, body: bytes, headers: Mapping[str, str]
) -> bytes:
    target = stream.path or (url.path or "/") + (f"?{url.query}" if url.query else "")
    if stream.priority is not None:
        target += f"{'&' if '?' in target else '?'}priority={stream.priority}"
    head = (
        f"POST {target} HTTP/1.1\r\nHost: {url.netloc}\r\n"
        f"Content-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        + "\r\n"
    )
    return head.encode() + body


def _allow_connections(count: int) -> None:
    """Raise the limit of open files, as far as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 64
    if soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def main() -> None:
    """Read a plan from standard input, run it, and print the results."""
    plan = Plan.model_validate_json(sys.stdin.buffer.read())
    _allow_connections(plan.max_connections)
    try:
        results = uvloop.run(Sender(plan).run())
    except (LoadFailed, OSError) as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(RESULTS.dump_json(results))


if __name__ == "__main__":
    main()
