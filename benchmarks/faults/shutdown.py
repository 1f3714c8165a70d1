"""A shutdown under load: SIGTERM of the whole server, which finishes what it has accepted."""

from __future__ import annotations

import signal
import subprocess
import time

from benchmarks.faults.ground import Ground
from benchmarks.faults.outcome import Outcome
from benchmarks.faults.traffic import BUSY, Traffic
from benchmarks.wrk import LoadFailed

_STOP_TIMEOUT_S = 90.0


def stop(ground: Ground) -> Outcome:
    """Send SIGTERM, start the server anew in the same places, and look for the uploads."""
    assert ground.server is not None
    process = ground.server.process
    with Traffic(ground.url, plain=BUSY) as traffic:
        traffic.strike()
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise LoadFailed(f"The server runs {_STOP_TIMEOUT_S:.0f} s after SIGTERM.") from error
        stopped_s = time.monotonic() - began
    with ground.server:
        report = traffic.report()
    kinds = (report.plain, report.uploads)
    return Outcome(
        scenario="shutdown",
        fault="SIGTERM of the whole server",
        traffic=report,
        whole_after_s=None,
        note=f"ended with {process.returncode} after {stopped_s:.1f} s; of accepted requests "
        f"{sum(each.lost for each in kinds)} lost",
    )
