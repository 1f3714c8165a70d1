"""Tracking: a run's recipe and measures in MLflow, beside the run's own history."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from models.errors import DermServeError
from models.tracking_uri import (
    artifact_folder,
    database_file,
    open_client,
    registry_errors,
    shown,
    tracking_uri,
)
from training.progress import EpochRecord
from training.settings import TrainingSettings

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "DermServe"
"""Name of the MLflow experiment that holds all runs of training."""

_RUN_TAG = "dermserve.run"
_ODD = re.compile(r"[^\w. /-]", re.ASCII)


class Tracking:
    """Records one run; nothing that MLflow does wrong ends it.

    The first failure is told in one sentence, after which nothing more is recorded: the
    measures stand in the run's history too.

    Args:
        run: name of the run; a record of the same name goes on.
        settings: its recipe.
        tags: what else to tell of it, such as the dataset's hash and the version.
        on_warning: told of the failure.
        uri: of the tracking store; `tracking_uri()` if None.
    """

    def __init__(
        self,
        run: str,
        settings: TrainingSettings,
        tags: Mapping[str, str],
        on_warning: Callable[[str], None],
        uri: str | None = None,
    ) -> None:
        self._on_warning = on_warning
        self._client: MlflowClient | None = None
        self._run_id = ""
        self._uri = ""
        try:
            self._uri = uri or tracking_uri()
            client = open_client(self._uri)
            with registry_errors(self._uri):
                self._run_id = _open_run(client, self._uri, run, tags)
                _log_parameters(client, self._run_id, settings)
            self._client = client
        except DermServeError as error:
            self._warn(error)

    def on_epoch(self, record: EpochRecord) -> None:
        """Record an epoch, at its number."""
        numbers = {
            "train.loss": record.loss,
            "train.seconds": record.seconds,
            "train.images_per_s": record.images_per_s,
            **_flat("validation", record.metrics),
        }
        self._log(numbers, record.epoch)

    def finish(self, metrics: Mapping[str, object] | None) -> None:
        """End the record.

        Args:
            metrics: of the finished package, as its manifest has them; None if the run failed.
        """
        if metrics is not None:
            self._log(_flat("package", metrics), step=0)
        self._do(
            lambda client: client.set_terminated(
                self._run_id, "FINISHED" if metrics is not None else "FAILED"
            )
        )

    def _log(self, numbers: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        metrics = [Metric(name, value, now_ms, step) for name, value in numbers.items()]
        self._do(lambda client: client.log_batch(self._run_id, metrics=metrics))

    def _do(self, action: Callable[[MlflowClient], object]) -> None:
        if self._client is None:
            return
        try:
            with registry_errors(self._uri):
                action(self._client)
        except DermServeError as error:
            self._client = None
            self._warn(error)

    def _warn(self, error: DermServeError) -> None:
        self._on_warning(
            f"This run is not recorded in MLflow{f' ({shown(self._uri)})' if self._uri else ''}, "
            f"but goes on: {error.message}"
        )


def _open_run(client: MlflowClient, uri: str, run: str, tags: Mapping[str, str]) -> str:
    """Id of the record with this name, new or going on."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        database = database_file(uri)
        # A server decides for itself where artifacts lie.
        location = artifact_folder(database).as_uri() if database else None
        experiment_id = client.create_experiment(EXPERIMENT, artifact_location=location)
    else:
        experiment_id = experiment.experiment_id
    found = client.search_runs([experiment_id], f"tags.`{_RUN_TAG}` = '{run}'", max_results=1)
    if found:
        client.update_run(found[0].info.run_id, status="RUNNING")
        return str(found[0].info.run_id)
    created = client.create_run(experiment_id, run_name=run, tags={**tags, _RUN_TAG: run})
    return str(created.info.run_id)


def _log_parameters(client: MlflowClient, run_id: str, settings: TrainingSettings) -> None:
    """The recipe; MLflow refuses another value of a parameter, so what may change is left out."""
    from mlflow.entities import Param

    parameters = [Param(name, str(value)) for name, value in settings.recipe().items()]
    client.log_batch(run_id, params=parameters)


def _flat(prefix: str, metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of nested measures by dotted name, in the letters that MLflow takes."""
    numbers: dict[str, float] = {}
    for key, value in metrics.items():
        name = _ODD.sub("_", key)
        if isinstance(value, Mapping):
            numbers |= _flat(f"{prefix}.{name}", value)
        elif isinstance(value, (int, float)):
            numbers[f"{prefix}.{name}"] = float(value)
    return numbers
