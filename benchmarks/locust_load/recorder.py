"""A plug-in for Locust that writes every request down, unrounded, for `benchmarks.load_report`.

Locust's own statistics round to two digits and mix the time in which users are still coming
with the time in which all are there.
"""

from __future__ import annotations

import csv
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from locust import events
from locust.env import Environment

from benchmarks.locust_load.step import MARKS_FILE, REQUESTS_FILE, Marks, Request

LAG_EVERY_S = 0.05


def _add_option(parser: ArgumentParser) -> None:
    parser.add_argument("--record", required=True, help="Existing folder to write to.")


def _record(environment: Environment, **_: Any) -> None:
    if environment.parsed_options is not None:
        _Recorder(environment, Path(environment.parsed_options.record))


def _listen(hook: Any, listener: Callable[..., None]) -> None:
    hook.add_listener(listener)  # which Locust leaves untyped


class _Recorder:
    """Listens to one run of Locust."""

    def __init__(self, environment: Environment, folder: Path) -> None:
        self._folder = folder
        # By lines, so that the progress display can follow.
        self._file = (folder / REQUESTS_FILE).open("w", newline="", encoding="utf-8", buffering=1)
        self._rows = csv.writer(self._file)
        self._rows.writerow(Request.model_fields)
        self._spawned: tuple[float, float] | None = None
        self._marks: Marks | None = None
        self._lags: list[float] = []
        hooks = environment.events
        _listen(hooks.request, self._request)
        _listen(hooks.user_error, self._user_error)
        _listen(hooks.spawning_complete, self._spawning_complete)
        _listen(hooks.test_stopping, self._test_stopping)
        _listen(hooks.quitting, self._quitting)

    def _request(
        self,
        name: str,
        response_time: float,
        exception: BaseException | None,
        start_time: float,
        context: dict[str, Any],
        **_: Any,
    ) -> None:
        problem = "" if exception is None else " ".join(str(exception).split())
        images = context.get("images", 0)
        self._rows.writerow((start_time, name, response_time / 1e3, images, problem))

    def _user_error(self, exception: BaseException, **_: Any) -> None:
        """A bug of the locustfile, which Locust itself counts as nothing."""
        problem = " ".join(f"{type(exception).__name__}: {exception}".split())
        self._rows.writerow((time.time(), "locustfile", 0, 0, problem))

    def _spawning_complete(self, **_: Any) -> None:
        if self._spawned is None:
            self._spawned = time.time(), time.process_time()
            # A greenlet, by Locust's patch: it comes to its turn as late as the users do.
            threading.Thread(target=self._measure_lag, daemon=True).start()

    def _measure_lag(self) -> None:
        while self._marks is None:
            asleep = time.perf_counter()
            time.sleep(LAG_EVERY_S)
            self._lags.append(max(0.0, time.perf_counter() - asleep - LAG_EVERY_S))

    def _test_stopping(self, **_: Any) -> None:
        if self._spawned is None or self._marks is not None or not self._lags:
            return
        spawned_s, cpu_s = self._spawned
        self._marks = Marks(
            spawned_s=spawned_s,
            stopping_s=time.time(),
            generator_cpu_s=time.process_time() - cpu_s,
            generator_lag_p99_s=float(np.quantile(self._lags, 0.99, method="inverted_cdf")),
        )

    def _quitting(self, **_: Any) -> None:
        self._file.close()
        if self._marks is not None:
            (self._folder / MARKS_FILE).write_text(self._marks.model_dump_json(), encoding="utf-8")


_listen(events.init_command_line_parser, _add_option)
_listen(events.init, _record)
