"""The drift watch: gathers what all replicas saw of live traffic, and assesses it now and then."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from models.classes import CLASSES
from models.errors import InvalidPackage, NotFound
from models.live_sample import LiveSample
from models.package import DRIFT_FILE, ModelPackage
from training.drift.assessment import Assessment, WatchedModel, assess
from training.drift.window import LiveWindow
from training.settings import DriftSettings

logger = logging.getLogger("ray.serve")

_NOTHING = "No image has been classified since the watch began."
_NO_REFERENCE = (
    f"Version {{}} came without {DRIFT_FILE}, which live images are compared with. A version that "
    "this code packages has one."
)
_UNKNOWN = "The model that serves is not in the registry, so there is nothing to compare with."


class DriftWatch:
    """Live traffic beside the model that answers it. May be used from several threads.

    Everything is in memory only. A window belongs to one model: where another one answers most
    images, it begins anew.

    Args:
        find: the package of a hash; `NotFound` if there is none.
        settings: of the windows.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        find: Callable[[str], ModelPackage],
        settings: DriftSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find = find
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[str, LiveWindow] = {}
        self._answered: Counter[str] = Counter()
        self._model: tuple[str, WatchedModel] | None = None
        self._problem = ""
        self._assessed: tuple[LiveWindow, int, Assessment, datetime] | None = None
        self._summary = self._describe(None, None, None)

    @property
    def summary(self) -> dict[str, Any]:
        """What is known, as the HTTP API has it (`drift` of `GET /data/summary`)."""
        return self._summary

    def take(self, sample: LiveSample) -> None:
        """Take in what a replica saw since its last report."""
        if not sample.images:
            return
        now = self._clock()
        with self._lock:
            window = self._windows.get(sample.package_hash)
            if window is None:
                window = self._windows[sample.package_hash] = LiveWindow(
                    self._settings.window, self._settings.span_s, self._settings.max_age_s, now
                )
            window.offer(sample, now)
            self._answered[sample.package_hash] += sample.images

    def step(self) -> None:
        """Assess what is new. Computes for up to a second, on one core.

        Raises:
            ModelUnavailable: if the registry does not answer; the next step tries again.
        """
        now = self._clock()
        with self._lock:
            current = self._choose()
            if current is None:
                return
            package_hash, window = current
            window.settle(now)
            rows, taken = window.rows(), window.taken
        model = self._watched(package_hash)
        if isinstance(model, str) or len(rows) < self._settings.minimum:
            self._assessed = None
        elif self._assessed is None or self._assessed[:2] != (window, taken):
            with threadpool_limits(1):  # what it starts for itself would not be niced
                assessment = assess(model, rows)
            self._assessed = window, taken, assessment, datetime.now(timezone.utc)
        self._summary = self._describe(model, window, now)

    def _choose(self) -> tuple[str, LiveWindow] | None:
        """The window of the model that answered most images lately; all others end."""
        answered, self._answered = self._answered, Counter()
        for package_hash, _ in answered.most_common(1):
            self._windows = {package_hash: self._windows[package_hash]}
        return next(iter(self._windows.items()), None)

    def _watched(self, package_hash: str) -> WatchedModel | str:
        """The model of a hash, or why it cannot be watched."""
        if self._model is None or self._model[0] != package_hash:
            found = self._load(package_hash)
            if isinstance(found, str):  # it may be there the next time
                return found
            self._model = package_hash, found
        return self._model[1]

    def _load(self, package_hash: str) -> WatchedModel | str:
        try:
            package = self._find(package_hash)
            if DRIFT_FILE not in package:
                return _NO_REFERENCE.format(package.manifest.version)
            return WatchedModel.load(package)
        except NotFound:
            return _UNKNOWN
        except InvalidPackage as error:
            if error.message != self._problem:  # it is asked for again and again
                logger.error("Drift is not watched: %s", error.message)
            self._problem = error.message
            return "The package of the model that serves is damaged. The trainer's log says more."

    def _describe(
        self, model: WatchedModel | str | None, window: LiveWindow | None, now: float | None
    ) -> dict[str, Any]:
        settings = self._settings
        samples = 0 if window is None else len(window)
        since = None
        if window is not None and now is not None and window.since is not None:
            age = timedelta(seconds=now - window.since)
            since = (datetime.now(timezone.utc) - age).isoformat()
        summary: dict[str, Any] = {
            "status": "collecting",
            "reason": f"{samples} images are not enough; {settings.minimum} are.",
            "version": None,
            "samples": samples,
            "minimum": settings.minimum,
            "since": since,
            "assessed": None,
            "embedding": None,
            "class_mix": None,
            "out_of_distribution": None,
            "performance": None,
        }
        if model is None:
            return summary | {"reason": _NOTHING}
        if isinstance(model, str):
            return summary | {"status": "no_reference", "reason": model}
        summary["version"] = model.version
        if self._assessed is None:
            return summary
        _, _, assessment, moment = self._assessed
        return (
            summary
            | {"status": "assessed", "reason": None, "assessed": moment.isoformat()}
            | _findings(model, assessment)
        )


def _findings(model: WatchedModel, assessment: Assessment) -> dict[str, Any]:
    performance = assessment.performance
    return {
        "embedding": asdict(assessment.embedding),
        "class_mix": {
            **asdict(assessment.class_mix),
            "predicted": _by_class(assessment.answers / assessment.answers.sum()),
            "expected": _by_class(model.answers / model.answers.sum()),
            "estimated": _by_class(assessment.prevalence),
        },
        "out_of_distribution": assessment.out_of_distribution,
        "performance": performance
        and {
            **asdict(performance),
            "validation_accuracy": model.accuracy,
            "validation_balanced_accuracy": model.balanced_accuracy,
        },
    }


def _by_class(values: npt.NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(CLASSES, values.tolist(), strict=True))
