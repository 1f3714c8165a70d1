"""The memory of a server's processes over time, recorded while something else goes on."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from pydantic import BaseModel, ConfigDict

from benchmarks.process_tree import ProcessTree, RoleMemory, memory_by_role, pss_bytes
from models.errors import DermServeError

PERIOD_S = 1.0
"""Between two samples; each takes some tens of milliseconds of CPU for a Ray session."""


class MemorySample(BaseModel):
    """All processes together at one moment."""

    model_config = ConfigDict(frozen=True)

    at_s: float
    """Since the recording began."""
    pss_bytes: int


class MemoryRecorder:
    """Samples a process tree every second, as a context manager.

    Raises:
        LoadFailed: at the end, if the processes could not be read.
    """

    def __init__(self, tree: ProcessTree, period_s: float = PERIOD_S) -> None:
        self.samples: list[MemorySample] = []
        self.peak: dict[str, RoleMemory] = {}
        """By role, when all together were largest."""
        self._tree = tree
        self._period_s = period_s
        self._ended = threading.Event()
        self._error: DermServeError | None = None
        self._thread = threading.Thread(target=self._record, daemon=True)

    def __enter__(self) -> MemoryRecorder:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    @property
    def elapsed_s(self) -> float:
        """Since the recording began."""
        return time.monotonic() - self._began

    def _record(self) -> None:
        largest = -1
        try:
            while True:
                snapshot = self._tree.snapshot()
                size = pss_bytes(snapshot)
                self.samples.append(MemorySample(at_s=self.elapsed_s, pss_bytes=size))
                if size > largest:
                    largest, self.peak = size, memory_by_role(snapshot)
                if self._ended.wait(self._period_s):
                    return
        except DermServeError as error:
            self._error = error
