"""The trainer as a Serve deployment: its loops, and what the ingress asks."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from data.catalogue.database import Database, catalogue_url
from data.catalogue.record import as_json
from data.catalogue.rollouts import Rollouts
from data.catalogue.runs import Runs
from data.catalogue.uploads import Uploads
from data.image_store import images_url
from models.errors import MISTAKE, DermServeError, InvalidConfiguration, InvalidField
from models.log_records import write_log_records
from models.registry import Registry
from models.replica_report import ReplicaReport
from training.drift.gauges import DriftGauges
from training.drift.watch import DriftWatch
from training.promotion.gate_file import GateFile
from training.promotion.reports import ReplicaReports
from training.promotion.rollout import RolloutDriver, Stopped
from training.promotion.serve_config import ServeConfig
from training.promotion.versions import Versions
from training.retraining.observer import Observer
from training.retraining.retrainer import Places, Retrainer
from training.retraining.waiting import Waiting
from training.settings import TrainingSettings
from training.storage import runs_folder

logger = logging.getLogger("ray.serve")

_RETRY_S = 2.0

_NICE = 15
"""Of the drift watch, which computes for most of a second now and then: on a busy machine a tenth
of a core is left for it."""

_SHOWN_EVERY_S = 5.0
"""Between two settings of the gauges: Ray forgets one that was not set for 20 s."""

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def _as_value(
    method: Callable[Arguments, Answer],
) -> Callable[Arguments, Answer | DermServeError]:
    """Errors travel as values between deployments (docs/decisions/0004)."""

    @wraps(method)
    def answer(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer | DermServeError:
        try:
            return method(*args, **kwargs)
        except DermServeError as error:
            return error
        except Exception:
            logger.exception("The trainer made a mistake")
            return DermServeError(MISTAKE)

    return answer


class Trainer:
    """The one replica. Serve runs its methods in threads, so they may block.

    Args:
        settings: recipe and `retrain` of the runs.
        gate: that is enforced.
    """

    def __init__(self, settings: TrainingSettings, gate: GateFile) -> None:
        write_log_records()
        database = Database()
        registry = Registry()
        self._settings = settings
        self._uploads, self._runs = Uploads(database), Runs(database)
        self._rollouts = Rollouts(database)
        self._reports = ReplicaReports()
        self._stopped = threading.Event()
        self._loops: set[str] = set()
        serve_config = ServeConfig()
        self._versions = Versions(registry, self._rollouts, self._runs, self._reports, serve_config)
        driver = RolloutDriver(
            self._rollouts, registry, serve_config, self._reports, gate, self._stopped
        )
        retrainer = Retrainer(
            self._uploads,
            self._runs,
            self._rollouts,
            registry,
            settings,
            gate,
            Places(catalogue_url(), images_url(), runs_folder()),
            self._stopped,
        )
        logger.info("%s", settings.retrain)
        logger.info("Promotion gate %s: %s", gate.hash[:12], gate)
        self._drift, self._gauges = DriftWatch(registry.package_of, settings.drift), DriftGauges()
        poll_s, period_s = settings.retrain.poll_s, settings.drift.period_s
        self._start("rollout", driver.step, poll_s)
        self._start("retrain", retrainer.step, poll_s)
        self._start("drift", self._drift.step, period_s, nice=_NICE)
        self._start("drift gauges", self._show_drift, _SHOWN_EVERY_S)
        observer = Observer(database, registry, settings.retrain)
        self._start("observe catalogue", observer.tell_catalogue, _SHOWN_EVERY_S)
        self._start("observe registry", observer.tell_registry, _SHOWN_EVERY_S)

    def _start(self, name: str, step: Callable[[], None], period_s: float, nice: int = 0) -> None:
        self._loops.add(name)
        work = (step, period_s, nice)
        threading.Thread(target=self._repeat, args=work, name=name, daemon=True).start()

    def _repeat(self, step: Callable[[], None], period_s: float, nice: int) -> None:
        """One of the loops. Nothing ends it but the replica's own end."""
        os.nice(nice)  # on Linux, the thread's own
        while not self._stopped.is_set():
            wait_s = period_s
            try:
                step()
            except Stopped:
                return
            except DermServeError as error:
                logger.error("The trainer tries again in %.0f s: %s", _RETRY_S, error.message)
                wait_s = _RETRY_S
            except Exception:
                logger.exception("The trainer tries again in %.0f s", _RETRY_S)
                wait_s = _RETRY_S
            self._stopped.wait(wait_s)

    def report(self, report: ReplicaReport) -> None:
        """Take in what a classifier replica says of itself."""
        self._reports.put(replace(report, sample=None))  # first: rollouts wait for it
        if report.sample is not None:
            self._drift.take(report.sample)

    @_as_value
    def drift(self) -> dict[str, Any]:
        """What live traffic says; see `GET /data/summary`."""
        return self._drift.summary

    @_as_value
    def status(self) -> dict[str, Any]:
        """What is under way: `run`, `last`, `waiting` and `rollout`; see the HTTP API."""
        active = self._runs.active()
        ended = [run for run in self._runs.history(2, 0).items if not run.active]
        rollout = self._rollouts.latest()
        return {
            "state": "idle" if active is None else "running",
            "run": active and as_json(active),
            "last": as_json(ended[0]) if ended else None,
            "waiting": self._waiting(),
            "rollout": rollout and as_json(rollout),
        }

    @_as_value
    def waiting(self) -> dict[str, Any]:
        """What is missing until a retraining starts by itself."""
        return self._waiting()

    @_as_value
    def start(self, mode: str | None, actor: str) -> dict[str, Any]:
        """Ask for a retraining now; `RunActive` if one is under way."""
        try:
            wish = self._settings.retrain.mode_of(mode)  # type: ignore[arg-type]
        except InvalidConfiguration as error:
            raise InvalidField(error.message) from error
        return as_json(self._runs.request(wish, "manual", actor))

    @_as_value
    def cancel(self, actor: str) -> dict[str, Any]:
        """Ask the retraining that is under way to stop; `NoRunActive` if none is."""
        return as_json(self._runs.cancel(actor))

    @_as_value
    def history(self, limit: int, offset: int) -> dict[str, Any]:
        """Retrainings, the newest first."""
        page = self._runs.history(limit, offset)
        return {"runs": [as_json(run) for run in page.items], "total": page.total}

    @_as_value
    def models(self) -> dict[str, Any]:
        """Every version, which of them serves, and what was rolled out lately."""
        return self._versions.list()

    @_as_value
    def model(self, version: str) -> dict[str, Any]:
        """What is known of one version; `champion` names the one that serves."""
        return self._versions.describe(version)

    @_as_value
    def report_of(self, version: str) -> bytes:
        """The evaluation report of a version as HTML."""
        return self._versions.report(version)

    @_as_value
    def evaluation_of(self, version: str) -> bytes:
        """The numbers of that report as JSON."""
        return self._versions.evaluation(version)

    @_as_value
    def promote(self, version: str, actor: str, force: bool) -> dict[str, Any]:
        """Begin to roll a version out, and wait a while for every replica to serve it."""
        return as_json(self._versions.promote(version, actor, force=force))

    @_as_value
    def rollback(self, actor: str) -> dict[str, Any]:
        """Begin the way back to the previous champion, and wait a while for it."""
        return as_json(self._versions.rollback(actor))

    def check_health(self) -> None:
        """Raise if one of the loops has ended, so that Serve replaces the replica."""
        alive = {thread.name for thread in threading.enumerate()}
        if not self._loops <= alive:
            raise RuntimeError("a loop of the trainer has ended")

    def __del__(self) -> None:
        """Serve calls it when the replica is to end; the loops then leave things to the next."""
        self._stopped.set()

    def _show_drift(self) -> None:
        self._gauges.set(self._drift.summary)

    def _waiting(self) -> dict[str, Any]:
        waiting = Waiting.of(self._uploads.counts(), self._settings.retrain)
        quiet = waiting.quiet_until
        return {**asdict(waiting), "quiet_until": quiet and quiet.isoformat()}
