"""A server under comparison: started as a process of its own, and ended with all its children."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import psutil

from benchmarks.wrk import LoadFailed

_STOP_S = 20.0
"""For an orderly end; what is left after it is killed."""
_KILL_S = 10.0


class ServerProcess:
    """A context manager: the server runs inside, and nothing of it after.

    Args:
        command: what to run.
        environment: all of its variables.
        folder: that it works in.
        log: file for what it prints.
    """

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path
    ) -> None:
        self._command = list(command)
        self._environment = dict(environment)
        self._folder = folder
        self._log = log
        self._family: set[psutil.Process] = set()

    def __enter__(self) -> ServerProcess:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of its own, which can be killed as one
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.look_around()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        _, left = psutil.wait_procs(self._family, timeout=1)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        _, left = psutil.wait_procs(left, timeout=_KILL_S)
        if left:
            raise LoadFailed(
                f"Processes {sorted(process.pid for process in left)} of the last server do not "
                "end, and would slow the next. End them and begin again."
            )

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.poll() is not None

    def look_around(self) -> None:
        """Note its descendants, so that one whose parent dies is not lost sight of."""
        with contextlib.suppress(psutil.NoSuchProcess):
            leader = psutil.Process(self._process.pid)
            self._family |= set(leader.children(recursive=True))

    def last_words(self, lines: int = 5) -> str:
        """The end of what it printed."""
        text = self._log.read_text(errors="replace").strip()
        return " | ".join(line.strip() for line in text.splitlines()[-lines:])
