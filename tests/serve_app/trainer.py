"""The trainer in this process: the real catalogue of runs and rollouts, and no training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from data.catalogue.database import Database
from data.catalogue.record import as_json
from data.catalogue.rollouts import Rollout, Rollouts
from data.catalogue.runs import Runs
from data.catalogue.uploads import Uploads
from models.errors import (
    DermServeError,
    GateRefused,
    InvalidConfiguration,
    InvalidField,
    NotFound,
)
from models.package import CARD_FILE, ModelPackage
from training.drift.watch import DriftWatch
from training.settings import DriftSettings, RetrainSettings

THRESHOLD = 10


class InProcessTrainer:
    """Answers what the trainer answers; with `error` set, it answers that.

    Args:
        database: the catalogue.
        package: the champion, and the only version.
    """

    def __init__(self, database: Database, package: ModelPackage) -> None:
        self.uploads, self.runs = Uploads(database), Runs(database)
        self.rollouts = Rollouts(database)
        self.error: Exception | None = None
        self.refused: set[str] = set()
        """Versions that the gate has refused."""
        self.asked: list[str] = []
        """The methods that were called."""
        self.watch = DriftWatch(lambda _: package, DriftSettings())
        self._package = package

    def status(self) -> Any:
        return self._answer("status", self._status)

    def waiting(self) -> Any:
        return self._answer("waiting", self._waiting)

    def start(self, mode: Any, actor: str) -> Any:
        def request() -> dict[str, Any]:
            try:
                wish = RetrainSettings().mode_of(mode)
            except InvalidConfiguration as error:
                raise InvalidField(error.message) from error
            return as_json(self.runs.request(wish, "manual", actor))

        return self._answer("start", request)

    def cancel(self, actor: str) -> Any:
        return self._answer("cancel", lambda: as_json(self.runs.cancel(actor)))

    def history(self, limit: int, offset: int) -> Any:
        def read() -> dict[str, Any]:
            page = self.runs.history(limit, offset)
            return {"runs": [as_json(run) for run in page.items], "total": page.total}

        return self._answer("history", read)

    def models(self) -> Any:
        def read() -> dict[str, Any]:
            return {
                "champion": self._package.manifest.version,
                "previous": None,
                "models": [self._summary()],
                "rollouts": [as_json(rollout) for rollout in self.rollouts.history(20, 0).items],
            }

        return self._answer("models", read)

    def model(self, version: str) -> Any:
        def read() -> dict[str, Any]:
            self._check(version)
            return {
                **self._summary(),
                "manifest": self._package.manifest.model_dump(mode="json"),
                "card": self._package.file(CARD_FILE).read_text("utf-8"),
                "report": True,
                "run": None,
            }

        return self._answer("model", read)

    def drift(self) -> Any:
        return self._answer("drift", lambda: self.watch.summary)

    def report_of(self, version: str) -> Any:
        def read() -> bytes:
            self._check(version)
            return self._package.file("report.html").read_bytes()

        return self._answer("report_of", read)

    def evaluation_of(self, version: str) -> Any:
        def read() -> bytes:
            self._check(version)
            return self._package.file("report.json").read_bytes()

        return self._answer("evaluation_of", read)

    def promote(self, version: str, actor: str, force: bool) -> Any:
        def begin() -> dict[str, Any]:
            if version in self.refused and not force:
                raise GateRefused(f"The gate refused {version}. Send force=true all the same.")
            return as_json(self._begin("promotion", version, actor))

        return self._answer("promote", begin)

    def rollback(self, actor: str) -> Any:
        return self._answer("rollback", lambda: as_json(self._begin("rollback", "1", actor)))

    def _begin(self, kind: Any, version: str, actor: str) -> Rollout:
        return self.rollouts.begin(
            kind,
            from_version=self._package.manifest.version,
            to_version=version,
            actor=actor,
            state="switching",
        )

    def _status(self) -> dict[str, Any]:
        active = self.runs.active()
        ended = [run for run in self.runs.history(2, 0).items if not run.active]
        rollout = self.rollouts.latest()
        return {
            "state": "idle" if active is None else "running",
            "run": active and as_json(active),
            "last": as_json(ended[0]) if ended else None,
            "waiting": self._waiting(),
            "rollout": rollout and as_json(rollout),
        }

    def _waiting(self) -> dict[str, Any]:
        new = sum(self.uploads.counts().new.values())
        return {
            "new_images": new,
            "threshold": THRESHOLD,
            "missing": max(0, THRESHOLD - new),
            "missing_by_class": {},
            "quiet_until": None,
        }

    def _summary(self) -> dict[str, Any]:
        manifest = self._package.manifest
        return {
            "version": manifest.version,
            "package_hash": "0" * 64,
            "dataset_hash": manifest.dataset_hash,
            "registered": manifest.created.isoformat(),
            "metrics": {},
            "champion": True,
            "verdict": None,
            "reason": None,
            "replicas": 1,
        }

    def _check(self, version: str) -> None:
        if version not in ("champion", self._package.manifest.version):
            raise NotFound(f"There is no version {version!r:.80}. See GET /models.")

    def _answer(self, method: str, work: Callable[[], Any]) -> Any:
        """Errors of ours are values; others are raised, as by a replica."""
        self.asked.append(method)
        if isinstance(self.error, DermServeError):
            return self.error
        if self.error is not None:
            raise self.error
        try:
            return work()
        except DermServeError as error:
            return error
