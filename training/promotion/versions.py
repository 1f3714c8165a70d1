"""Versions of the model: what is known of each, and which is to serve on somebody's word."""

from __future__ import annotations

import threading
import time
from typing import Any

from data.catalogue.record import as_json
from data.catalogue.rollouts import Rollout, RolloutKind, Rollouts
from data.catalogue.runs import Runs
from models.errors import (
    AlreadyChampion,
    GateRefused,
    InvalidPackage,
    ModelPinned,
    NotFound,
    PackageDamaged,
    RolloutActive,
)
from models.package import CARD_FILE, ModelPackage
from models.registered_version import CHAMPION, RegisteredVersion
from models.registry import Registry
from training.promotion.handover import begin_after
from training.promotion.reports import ReplicaReports
from training.promotion.serve_config import ServeConfig
from training.report import DATA_FILE, REPORT_FILE

ANSWER_S = 15.0
"""How long `promote` and `rollback` wait before they answer that it is still going on."""

_POLL_S = 0.1
_ROLLOUTS_LISTED = 20


class Versions:
    """The registry as people see it through the API. May be used from several threads.

    Args:
        registry: of the models.
        rollouts, runs: of the catalogue.
        reports: of the replicas.
        serve: the configuration as it runs.
    """

    def __init__(
        self,
        registry: Registry,
        rollouts: Rollouts,
        runs: Runs,
        reports: ReplicaReports,
        serve: ServeConfig,
    ) -> None:
        self._registry = registry
        self._rollouts = rollouts
        self._runs = runs
        self._reports = reports
        self._serve = serve
        self._one_at_a_time = threading.Lock()

    def list(self) -> dict[str, Any]:
        """Every version in the order of registration, with the replicas that serve it.

        Raises:
            ModelUnavailable: if the registry does not answer.
        """
        champion = self._registry.champion()  # a new registry begins with the bundled package
        serving = self._reports.versions()
        return {
            "champion": champion.version,
            "previous": self._registry.previous(),
            "models": [
                _summary(version, serving.get(version.version, 0))
                for version in self._registry.versions()
            ],
            "rollouts": [
                as_json(rollout) for rollout in self._rollouts.history(_ROLLOUTS_LISTED).items
            ],
        }

    def describe(self, name: str) -> dict[str, Any]:
        """A version's card, for people and for programs.

        Raises:
            NotFound: if no version has that name.
            PackageDamaged: if its package is missing or damaged.
        """
        version = self._find(name)
        package = self._verified(version)
        run = self._runs.of_version(version.version)
        card = package.file(CARD_FILE).read_text("utf-8") if CARD_FILE in package else None
        return {
            **_summary(version, self._reports.versions().get(version.version, 0)),
            "manifest": package.manifest.model_dump(mode="json"),
            "card": card,
            "report": REPORT_FILE in package,
            "run": run and as_json(run),
        }

    def report(self, name: str) -> bytes:
        """The evaluation report of a version.

        Raises:
            NotFound: if no version has that name, or its package holds no report.
            PackageDamaged: if its package is missing or damaged.
        """
        return self._reported(name, REPORT_FILE)

    def evaluation(self, name: str) -> bytes:
        """The numbers of that report, as JSON.

        Raises:
            NotFound, PackageDamaged: as `report`.
        """
        return self._reported(name, DATA_FILE)

    def promote(self, name: str, actor: str, *, force: bool = False) -> Rollout:
        """Roll a version out on somebody's word, without a shadow before.

        Returns:
            The rollout, past its switch or, if that takes long, still in it.

        Raises:
            NotFound: if no version has that name.
            PackageDamaged: if its package does not verify.
            GateRefused: if the gate refused it and `force` is not set.
            ModelPinned: if the Serve configuration names another version.
            AlreadyChampion: if it serves already.
            RolloutActive: if another rollout has not switched yet.
        """
        version = self._find(name)
        if version.verdict == "refused" and not force:
            raise GateRefused(
                f"The promotion gate refused version {version.version}: {version.reason} Promote "
                "it all the same with force=true; the audit log will say so."
            )
        self._verified(version)
        return self._begin("promotion", version.version, actor, forced=version.verdict == "refused")

    def rollback(self, actor: str) -> Rollout:
        """Go back to the champion before this one.

        Raises:
            NotFound: if there is none.
            ModelPinned, RolloutActive: as `promote`.
        """
        previous = self._registry.previous()
        if previous is None:
            raise NotFound(
                "No earlier champion is left to roll back to. Choose a version of GET /models and "
                "promote it."
            )
        return self._begin("rollback", previous, actor)

    def _begin(
        self, kind: RolloutKind, to_version: str, actor: str, *, forced: bool = False
    ) -> Rollout:
        with self._one_at_a_time:
            pinned = self._serve.read().pinned
            if pinned is not None:
                raise ModelPinned(
                    f"The Serve configuration pins the model to {pinned}. Deploy it with "
                    "`model: champion` first."
                )
            active = self._rollouts.active()
            if active is not None and active.state != "observing":
                raise RolloutActive(
                    f"Version {active.to_version} is being rolled out. Wait until it serves."
                )
            champion = self._registry.champion().version
            # Not by the alias alone: replicas may have missed that it was moved.
            if champion == to_version and set(self._reports.versions()) <= {champion}:
                raise AlreadyChampion(f"Version {champion} is the champion already.")
            rollout = begin_after(
                self._rollouts,
                active,
                kind,
                from_version=champion,
                to_version=to_version,
                actor=actor,
                state="switching",
                forced=forced,
            )
        deadline = time.monotonic() + ANSWER_S
        while rollout.state == "switching" and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            rollout = self._rollouts.get(rollout.id)
        return rollout

    def _verified(self, version: RegisteredVersion) -> ModelPackage:
        """Raises: PackageDamaged: if the version's package does not verify."""
        try:
            return ModelPackage.load(self._registry.folder(version))
        except InvalidPackage as error:
            raise PackageDamaged(error.message) from error

    def _reported(self, name: str, file: str) -> bytes:
        package = self._verified(self._find(name))
        if file not in package:
            raise NotFound(f"Version {package.manifest.version} came without a report.")
        return package.file(file).read_bytes()

    def _find(self, name: str) -> RegisteredVersion:
        return self._registry.champion() if name == CHAMPION else self._registry.version(name)


def _summary(version: RegisteredVersion, replicas: int) -> dict[str, Any]:
    """What the list and the card say alike; where the files lie is nobody's business."""
    document = version.to_json()
    del document["source"], document["number"]
    return {**document, "replicas": replicas}
