"""Clients that ask for predictions without a pause, and what they were answered when."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx


@dataclass
class Load:
    """The answers so far."""

    answers: list[tuple[float, float, str]] = field(default_factory=list)
    """When it came, on the clock of `time.monotonic`; seconds it took; `200`, or what was wrong."""

    def failed(self, since: float = 0.0) -> Counter[str]:
        """What was wrong since a moment, and how often."""
        return Counter(what for at, _, what in self.answers if at >= since and what != "200")

    def sent(self, since: float = 0.0) -> int:
        """How many have been answered, or have failed, since a moment."""
        return sum(at >= since for at, _, _ in self.answers)

    def recovered_after_s(self, since: float) -> float:
        """Seconds from a moment to the last failure, or to the end of the longest silence."""
        failures = [at - since for at, _, what in self.answers if at >= since and what != "200"]
        times = sorted(at for at, _, what in self.answers if what == "200" and at >= since)
        pairs = zip([since, *times], times, strict=False)
        gap, end = max(((b - a, b - since) for a, b in pairs), default=(0.0, 0.0))
        return max([*failures, end if gap > 1.0 else 0.0])


@contextmanager
def load(
    urls: Sequence[str], image: bytes, headers: dict[str, str], clients: int = 6
) -> Iterator[Load]:
    """Load servers, each client one of them, until the block ends."""
    found = Load()
    over = threading.Event()

    def work(url: str) -> None:
        with httpx.Client(base_url=url, timeout=60, headers=headers, trust_env=False) as client:
            while not over.is_set():
                started = time.monotonic()
                try:
                    response = client.post("/predict", content=image)
                    what = str(response.status_code)
                    if what != "200":
                        what += " " + response.headers.get("x-error-code", response.text[:200])
                except httpx.HTTPError as error:
                    what = type(error).__name__
                now = time.monotonic()
                found.answers.append((now, now - started, what))
                if what != "200":
                    over.wait(0.05)

    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(work, urls[n % len(urls)]) for n in range(clients)]
        try:
            yield found
        finally:
            over.set()
    for each in running:
        each.result()


def report(scenario: str, found: Load, since: float, note: str) -> None:
    """A row of the table, on standard output: what a breakage cost."""
    failed = found.failed(since)
    slowest = max((seconds for at, seconds, _ in found.answers if at >= since), default=0.0)
    print(
        f"\n| {scenario} | {found.sent()} | {sum(failed.values())} {dict(failed) or ''} | "
        f"{found.recovered_after_s(since):.1f} s, slowest answer {slowest:.1f} s | {note} |"
    )
