"""The worker: a process that gives one target one mutated input after the other.

It may die of any of them, so each is written to a file first. What it has done it says on its
standard output, a line of JSON at a time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import mmap
import resource
import signal
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzzing.minimise import minimise
from tests.fuzzing.mutation import MAX_BYTES, mutate
from tests.fuzzing.oracle import MAX_CPU_S, MAX_MEMORY_BYTES, Outcome, judge, peak_bytes
from tests.fuzzing.targets import TARGETS, Target

HANG_S = 10
"""Seconds of CPU after which the process is killed, by a signal that no decoder can put off."""

CURRENT = "current"
"""Name of the file with the input at work, behind its length in eight bytes."""

_REPORT_S = 0.5
_HEAD_BYTES = 8
_MAX_EACH = 20
"""Findings of one kind that are kept."""


class Worker:
    """Judges inputs and keeps what they came to.

    Args:
        target: what reads them.
        name: of the target.
        folder: where findings go, as `NAME.bin` beside `NAME.json`.
        seed: of the mutations; stands in the findings.
    """

    def __init__(self, target: Target, name: str, folder: Path, seed: int) -> None:
        self._target = target
        self._name = name
        self._folder = folder
        self._seed = seed
        with (folder / CURRENT).open("w+b") as file:
            file.truncate(_HEAD_BYTES + 8 * MAX_BYTES)
            self._current = mmap.mmap(file.fileno(), 0)
        self._found: Counter[str] = Counter()
        self.cases = 0
        self.codes: Counter[str] = Counter()
        self.slowest_s, self.slowest = 0.0, ""
        self.findings: list[str] = []
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
        self.base_bytes = peak_bytes()
        self.over_memory = False

    def give(self, data: bytes) -> Outcome:
        """Give one input to the target."""
        outcome = self._judge(data)
        self.cases += 1
        self.codes[outcome.code] += 1
        if outcome.cpu_s > self.slowest_s:
            self.slowest_s, self.slowest = outcome.cpu_s, hashlib.sha256(data).hexdigest()[:12]
        if outcome.finding is not None:
            self._keep(data, outcome)
        elif not self.over_memory and peak_bytes() - self.base_bytes > MAX_MEMORY_BYTES:
            self.over_memory = True  # the peak stays where it is, so only the first is known
            taken = f"{(peak_bytes() - self.base_bytes) / 2**20:.0f} MiB"
            self._save(data, Outcome("memory", outcome.cpu_s, "memory", taken))
        return outcome

    def report(self) -> dict[str, Any]:
        """What it has done so far."""
        return {
            "cases": self.cases,
            "codes": dict(self.codes),
            "slowest_s": self.slowest_s,
            "slowest": self.slowest,
            "peak_bytes": max(0, peak_bytes() - self.base_bytes),
            "findings": self.findings,
        }

    def _judge(self, data: bytes, tries: int = 3) -> Outcome:
        head = len(data).to_bytes(_HEAD_BYTES, "little")
        self._current[: _HEAD_BYTES + len(data)] = head + data
        signal.setitimer(signal.ITIMER_PROF, HANG_S)
        outcome = judge(self._target.run, data, tries)
        signal.setitimer(signal.ITIMER_PROF, 0)
        return outcome

    def _keep(self, data: bytes, outcome: Outcome) -> None:
        finding = outcome.finding or ""
        self._found[finding] += 1
        if self._found[finding] > _MAX_EACH:
            return
        if self._found[finding] == 1 and outcome.code != "slow":
            data = minimise(data, lambda one: self._judge(one).finding == finding)
        elif self._found[finding] == 1:
            # Each try takes a second or more, so few are made.
            enough_s = 1.2 * MAX_CPU_S
            data = minimise(data, lambda one: self._judge(one, 1).cpu_s > enough_s, tries=8)
        self._save(data, outcome)

    def _save(self, data: bytes, outcome: Outcome) -> None:
        save_finding(self._folder, self._name, data, outcome, self._seed)
        self.findings.append(f"{outcome.code}: {outcome.finding}")


def save_finding(folder: Path, target: str, data: bytes, outcome: Outcome, seed: int) -> None:
    """Write an input and what is wrong with it."""
    digest = hashlib.sha256(data).hexdigest()[:12]
    path = folder / f"{target.replace(' ', '-')}-{outcome.code}-{digest}.bin"
    path.write_bytes(data)
    said = {
        "target": target,
        "finding": outcome.finding,
        "detail": outcome.detail,
        "cpu_s": round(outcome.cpu_s, 3),
        "seed": seed,
    }
    path.with_suffix(".json").write_text(json.dumps(said, indent=1))


def read_current(folder: Path) -> bytes:
    """The input at which a worker died."""
    with (folder / CURRENT).open("rb") as file:
        return file.read(int.from_bytes(file.read(_HEAD_BYTES), "little"))


def limit_memory() -> None:
    """Refuse this process what would harm the machine; the bound itself is lower."""
    status = Path("/proc/self/status").read_text().split("VmSize:")[1]
    most = int(status.split()[0]) * 1024 + 6 * MAX_MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", choices=TARGETS, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--replay", type=Path, help="one input; nothing is mutated")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # the form parser tells of every broken form
    target = TARGETS[arguments.target]
    seeds = list(target.seeds().values())
    limit_memory()
    worker = Worker(target, arguments.target, arguments.folder, arguments.seed)
    if arguments.replay is not None:
        worker.give(arguments.replay.read_bytes())
    else:
        _work(worker, seeds, arguments)
    print(json.dumps(worker.report()), flush=True)


def _work(worker: Worker, seeds: list[bytes], arguments: argparse.Namespace) -> None:
    random = Random(arguments.seed)
    for data in seeds:
        worker.give(data)
    started = reported = time.process_time()
    while arguments.cases is None or worker.cases < arguments.cases:
        worker.give(mutate(random.choice(seeds), random.choice(seeds), random))
        now = time.process_time()
        if arguments.seconds is not None and now - started > arguments.seconds:
            break
        if now - reported > _REPORT_S:
            reported = now
            print(json.dumps(worker.report()), flush=True)


if __name__ == "__main__":
    main()
