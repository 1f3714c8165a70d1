"""Traffic: clients that predict, ask again and upload at a steady rate, and count the answers."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable
from types import TracebackType

import httpx
from pydantic import BaseModel, ConfigDict

from benchmarks.faults.tally import Counting, Tally
from benchmarks.wrk import LoadFailed
from data.synthetic import synthetic_jpeg
from dermserve_client import Client, DermServeError, Refused, Retries

PLAIN = 4
"""Clients that send a request once."""
PATIENT = 4
"""Clients that ask again as `dermserve_client` does by default."""
REQUESTS_PER_S = 5.0
"""Of each of them; together they stay far below what two cores can do."""
BUSY = 24
"""Clients without retries where it matters that requests are under way at every moment."""
UPLOADS_PER_S = 2.0
WARM_S = 3.0

_TIMEOUT_S = 40.0  # the server gives up before
_SEEDS = itertools.count(20_000)


class TrafficReport(BaseModel):
    """What became of everything that was sent."""

    model_config = ConfigDict(frozen=True)

    plain: Tally
    """Predictions that were sent once."""
    patient: Tally
    """Predictions with the client's retries."""
    attempts: int
    """Requests that those took."""
    uploads: Tally
    acknowledged: int
    """Uploads that the server said it has stored."""
    found: int
    """Of those, with their picture, afterwards."""

    @property
    def uploads_lost(self) -> int:
        """Acknowledged and not there."""
        return self.acknowledged - self.found


class Traffic:
    """Traffic on a server from its beginning to its end; use it as a context manager.

    Args:
        url: of the server.
        route: that takes an image; `/predict`, or `/explain` at a rate that suits it.
        requests_per_s: of each client that predicts.
        plain: how many of them send a request once.
        uploads_per_s: of the one that uploads.
        retries: of the patient clients.
        warm_s: at the beginning, when nothing may fail.
    """

    def __init__(
        self,
        url: str,
        route: str = "/predict",
        requests_per_s: float = REQUESTS_PER_S,
        plain: int = PLAIN,
        uploads_per_s: float = UPLOADS_PER_S,
        retries: Retries | None = None,
        warm_s: float = WARM_S,
    ) -> None:
        self._url = url
        self._route = route
        self._period_s = 1 / requests_per_s
        self._clients = plain
        self._upload_period_s = 1 / uploads_per_s
        self._retries = retries
        self._warm_s = warm_s
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._stored: list[str] = []
        self._attempts = 0
        self._image = synthetic_jpeg("nv", 1)

    def __enter__(self) -> Traffic:
        """Raises: LoadFailed: if the server does not answer well before anything is broken."""
        now = time.monotonic()
        self.struck_s = now
        self._plain, self._patient, self._uploads = (Counting(now) for _ in range(3))
        work: list[Callable[[], None]] = [self._send_plain] * self._clients
        work += [self._send_patient] * PATIENT + [self._upload]
        self._threads = [threading.Thread(target=each, daemon=True) for each in work]
        for thread in self._threads:
            thread.start()
        time.sleep(self._warm_s)
        if failed := self.failures():
            self._end()
            raise LoadFailed(f"{failed} requests failed before anything was broken.")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def strike(self) -> None:
        """Say that the fault is made now."""
        self.struck_s = time.monotonic()

    def pause(self, seconds: float) -> None:
        """Let it go on for a while."""
        self._ended.wait(seconds)

    def failures(self) -> int:
        """Requests of all kinds that have failed so far."""
        with self._lock:
            return sum(each.tally(0).failed for each in (self._plain, self._patient, self._uploads))

    def calm(self, quiet_s: float, timeout_s: float) -> None:
        """Go on until no request has failed for a while, and each kind was answered well in it.

        A server that hangs fails nothing until its clients give up. A kind whose clients do not
        send twice in that while need not be answered.

        Args:
            quiet_s: of it.
            timeout_s: longest wait.

        Raises:
            LoadFailed: if requests fail, or wait, to the end.
        """
        kinds = [self._plain, self._patient] if 2 * self._period_s <= quiet_s else []
        kinds += [self._uploads] if 2 * self._upload_period_s <= quiet_s else []
        began = time.monotonic()
        while True:
            with self._lock:
                failures = (c.last_failure_s for c in (self._plain, self._patient, self._uploads))
                last = max((each for each in failures if each is not None), default=began)
                answered = min((each.last_good_s for each in kinds), default=math.inf)
            now = time.monotonic()
            if now - max(last, began) >= quiet_s > now - answered:
                return
            if now - began > timeout_s:
                raise LoadFailed(
                    f"Requests still fail or are not answered {timeout_s:.0f} s later; "
                    f"{self.failures()} have failed so far."
                )
            time.sleep(0.1)

    def report(self, url: str | None = None) -> TrafficReport:
        """What became of everything, and whether the uploads are there.

        Args:
            url: of the server that has them now; None takes the same. If it does not answer,
                they count as not found.
        """
        with self._lock:
            plain, patient, uploads = (
                each.tally(self.struck_s) for each in (self._plain, self._patient, self._uploads)
            )
            stored, attempts = list(self._stored), self._attempts
        return TrafficReport(
            plain=plain,
            patient=patient,
            attempts=attempts,
            uploads=uploads,
            acknowledged=len(stored),
            found=_found(url or self._url, stored),
        )

    def _end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _paced(self, period_s: float) -> bool:
        """Wait for the next turn; False once the traffic has ended."""
        return not self._ended.wait(period_s)

    def _count(self, counting: Counting, failure: str | None) -> None:
        with self._lock:
            counting.add(failure, time.monotonic())

    def _send_plain(self) -> None:
        with httpx.Client(base_url=self._url, timeout=_TIMEOUT_S) as client:
            while self._paced(self._period_s):
                try:
                    failure = refusal(client.post(self._route, content=self._image))
                except httpx.HTTPError as error:
                    failure = type(error).__name__
                self._count(self._plain, failure)

    def _send_patient(self) -> None:
        transport = _Counted(self._count_attempt)
        with Client(self._url, retries=self._retries, transport=transport) as client:
            ask = client.explain if self._route == "/explain" else client.predict
            while self._paced(self._period_s):
                try:
                    ask(self._image)
                except Refused as error:
                    self._count(self._patient, error.code)
                except DermServeError as error:
                    self._count(self._patient, type(error).__name__)
                else:
                    self._count(self._patient, None)

    def _count_attempt(self) -> None:
        with self._lock:
            self._attempts += 1

    def _upload(self) -> None:
        # A file whose upload failed is sent again, as the server advises, until it is answered.
        data: bytes | None = None
        with httpx.Client(base_url=self._url, timeout=_TIMEOUT_S) as client:
            while self._paced(self._upload_period_s):
                data = data or synthetic_jpeg("nv", next(_SEEDS), 300, 225)
                files = {"files": ("lesion.jpg", data, "image/jpeg")}
                try:
                    response = client.post("/upload/bulk", files=files)
                except httpx.HTTPError as error:
                    self._count(self._uploads, type(error).__name__)
                    continue
                failure = refusal(response)
                self._count(self._uploads, failure)
                if failure is None:
                    (result,) = response.json()["results"]
                    if result["id"] is not None:
                        with self._lock:
                            self._stored.append(result["id"])
                    data = None


def refusal(response: httpx.Response) -> str | None:
    """Status and code of an answer, as a `Tally` has them; None of 200."""
    if response.status_code == 200:
        return None
    try:
        code = response.json()["error"]["code"]
    except (ValueError, KeyError, TypeError):
        code = "without a code"
    return f"{response.status_code} {code}"


class _Counted(httpx.HTTPTransport):
    """The connections of a client, and a word for each request on them."""

    def __init__(self, count: Callable[[], None]) -> None:
        super().__init__()
        self._count = count

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._count()
        return super().handle_request(request)


def _found(url: str, stored: list[str]) -> int:
    found = 0
    with httpx.Client(base_url=url, timeout=_TIMEOUT_S) as client:
        for upload_id in stored:
            for path in (f"/uploads/{upload_id}", f"/uploads/{upload_id}/image"):
                try:
                    if client.get(path).status_code != 200:
                        break
                except httpx.HTTPError:
                    break
            else:
                found += 1
    return found
