"""The campaign: workers one after the other, and what they came to together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import PROJECT
from tests.fuzzing.oracle import Outcome
from tests.fuzzing.worker import read_current, save_finding


class WorkerFailed(Exception):
    """A worker ended by itself before its time, which is a fault of the fuzzing."""


@dataclass
class Tally:
    """What the inputs of one target came to."""

    cases: int = 0
    cpu_s: float = 0.0
    codes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    slowest: str = ""
    peak_bytes: int = 0
    findings: list[str] = field(default_factory=list)

    def add(self, report: dict[str, Any]) -> None:
        self.cases += report["cases"]
        self.codes.update(report["codes"])
        if report["slowest_s"] > self.slowest_s:
            self.slowest_s, self.slowest = report["slowest_s"], report["slowest"]
        self.peak_bytes = max(self.peak_bytes, report["peak_bytes"])
        self.findings += report["findings"]


def work(
    target: str,
    folder: Path,
    seed: int,
    *,
    tally: Tally,
    cases: int | None = None,
    seconds: float | None = None,
    module: str = "tests.fuzzing.worker",
    on_report: Callable[[dict[str, Any]], None] = lambda report: None,
) -> None:
    """Let one worker work; if it dies of an input, that is a finding.

    Args:
        target: name of the target.
        folder: of the findings; created if absent.
        seed: of the mutations.
        tally: to which what it did is added.
        cases: inputs, those of the corpus with them.
        seconds: of CPU, instead of a number of cases.
        module: the worker.
        on_report: told what it has done, again and again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", module, "--target", target]
    command += ["--folder", str(folder), "--seed", str(seed)]
    command += ["--cases", str(cases)] if cases is not None else []
    command += ["--seconds", str(seconds)] if seconds is not None else []
    log = folder / "log"
    with (
        log.open("w+") as errors,
        subprocess.Popen(
            command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as worker,
    ):
        report: dict[str, Any] = Tally().__dict__
        assert worker.stdout is not None
        for line in worker.stdout:
            if line.startswith("{"):
                report = json.loads(line)
                on_report(report)
        _, status, usage = os.wait4(worker.pid, 0)
        worker.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        said = errors.read()[-3000:]
    tally.add(report)
    tally.cpu_s += usage.ru_utime + usage.ru_stime
    if worker.returncode < 0:
        name = signal.Signals(-worker.returncode).name
        kind = "hang" if name == "SIGPROF" else "crash"
        outcome = Outcome(kind, 0.0, f"{kind}: {name}", said)
        save_finding(folder, target, read_current(folder), outcome, seed)
        tally.findings.append(f"{kind}: {name}")
    elif worker.returncode > 0:
        raise WorkerFailed(
            f"The worker of {target} with seed {seed} ended with {worker.returncode}: {said}"
        )


def findings_of(tallies: Sequence[Tally]) -> list[str]:
    """All findings, each kind once."""
    return sorted({finding for tally in tallies for finding in tally.findings})
