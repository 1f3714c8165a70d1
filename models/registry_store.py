"""The store under the registry: our few calls of MLflow, in our types and with our errors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from models.package import MANIFEST_FILE, ModelPackage
from models.registered_version import CHAMPION, HASH_TAG, RegisteredVersion, plain_metrics, tags_of
from models.tracking_uri import (
    artifact_folder,
    database_file,
    lock_file,
    locked,
    open_client,
    registry_errors,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import RegisteredModel
    from mlflow.exceptions import MlflowException

MODEL = "dermserve"
"""Name of the registered model in MLflow, and of the experiment that holds its runs."""

HISTORY_TAG = "dermserve.champions"
"""On the registered model: MLflow's numbers of the champions in order, the present one last."""

_MAX_HISTORY = 200
_PAGE = 200


class RegistryStore:
    """MLflow, as the registry needs it; opened at the first call.

    Every method raises `ModelUnavailable` within seconds if MLflow cannot be reached.

    Args:
        uri: normalised.
        locks: folder for the lock of a server's writers on this machine.
    """

    def __init__(self, uri: str, locks: Path) -> None:
        self.uri = uri
        database = database_file(uri)
        self.artifacts = None if database is None else artifact_folder(database)
        """Folder of all artifacts of an SQLite registry; None for a server's."""
        self._lock = locks / "registry.lock" if database is None else lock_file(database)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other processes from writing: all with SQLite, those of this machine else."""
        _ = self._client  # it takes the same lock to make an SQLite file
        with locked(self._lock):
            yield

    def champion(self) -> int | None:
        """Number of the version that the alias points at."""
        model = self._model()
        return None if model is None else _alias(model)

    def history(self) -> list[int]:
        """Numbers of the champions that a rollback walks back through, the present one last.

        The alias is the truth. Where the tag differs, the alias was moved in MLflow, or the
        process that moved it was killed before it wrote the tag.
        """
        model = self._model()
        if model is None:
            return []
        numbers = _numbers(model.tags.get(HISTORY_TAG, "[]"))
        champion = _alias(model)
        if champion is not None and numbers[-1:] != [champion]:
            numbers.append(champion)
        return numbers

    def move_champion(self, number: int) -> None:
        """Point the alias at a version and add it to the history."""
        history = self.history()
        if self.champion() == number:
            return
        # Alias first: if this process is killed between, `history` adds what is missing.
        self._set_alias(number)
        self._set_history([*history, number])

    def move_champion_back(self, history: list[int]) -> None:
        """Point the alias at the last version of a history that a rollback has shortened."""
        # History first: if this process is killed between, `history` adds the old champion.
        self._set_history(history)
        self._set_alias(history[-1])

    def versions(self) -> list[RegisteredVersion]:
        """The versions that DermServe registered, by number."""
        champion = self.champion()
        entries = []
        token: str | None = None
        while True:
            with registry_errors(self.uri):
                page = self._client.search_model_versions(
                    f"name='{MODEL}'", max_results=_PAGE, page_token=token
                )
            entries += list(page)
            token = page.token
            if not token:
                break
        versions = [
            RegisteredVersion.from_tags(
                entry.tags,
                number=int(entry.version),
                created_ms=entry.creation_timestamp,
                source=entry.source or "",
                champion=int(entry.version) == champion,
            )
            for entry in entries
        ]
        return sorted((v for v in versions if v is not None), key=lambda version: version.number)

    def create(self, package: ModelPackage, run_id: str | None) -> int:
        """Store the files of a package and make a version of them; returns its number."""
        client = self._client
        tags = tags_of(package)
        with registry_errors(self.uri):
            run = client.get_run(run_id) if run_id else self._run(package)
            # A run that registers two packages must not mix their files.
            path = f"package-{tags[HASH_TAG][:16]}"
            for name in (*package.manifest.files, MANIFEST_FILE):
                client.log_artifact(run.info.run_id, str(package.folder / name), path)
            if not run_id:
                client.set_terminated(run.info.run_id)
            self._make_model()
            version = client.create_model_version(
                MODEL,
                f"{run.info.artifact_uri.rstrip('/')}/{path}",
                run.info.run_id,
                tags=tags,
            )
        return int(version.version)

    def set_tags(self, number: int, tags: Mapping[str, str]) -> None:
        """Write tags of a version; others stay."""
        with registry_errors(self.uri):
            for name, value in tags.items():
                self._client.set_model_version_tag(MODEL, str(number), name, value)

    def delete(self, number: int) -> None:
        """Take a version out of the registry; its files stay with its run."""
        with registry_errors(self.uri):
            self._client.delete_model_version(MODEL, str(number))

    def download(self, source: str, folder: Path) -> None:
        """Write a version's files into an empty folder."""
        _ = self._client  # quietens MLflow before its import
        with registry_errors(self.uri):
            from mlflow.artifacts import download_artifacts

            # MLflow keeps the folder's name; the cache decides on another one.
            path = Path(
                download_artifacts(artifact_uri=source, dst_path=str(folder), tracking_uri=self.uri)
            )
            if path.is_dir() and path != folder:
                for file in path.iterdir():
                    file.replace(folder / file.name)
                path.rmdir()

    def experiment_id(self) -> str:
        """Id of the experiment `dermserve`; it is made if there is none."""
        with registry_errors(self.uri):
            experiment = self._client.get_experiment_by_name(MODEL)
            if experiment is not None:
                return str(experiment.experiment_id)
            # With SQLite, MLflow would put artifacts into whatever folder is current.
            location = None if self.artifacts is None else self.artifacts.as_uri()
            with _unless_exists():
                return str(self._client.create_experiment(MODEL, location))
            experiment = self._client.get_experiment_by_name(MODEL)
            return str(experiment.experiment_id) if experiment else ""

    @cached_property
    def _client(self) -> MlflowClient:
        return open_client(self.uri)

    def _model(self) -> RegisteredModel | None:
        with registry_errors(self.uri):
            try:
                return self._client.get_registered_model(MODEL)
            except _mlflow_exception() as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return None

    def _make_model(self) -> None:
        if self._model() is None:
            with registry_errors(self.uri), _unless_exists():
                self._client.create_registered_model(
                    MODEL, description="Classifier of dermatoscopic images."
                )

    def _run(self, package: ModelPackage) -> Run:
        run = self._client.create_run(self.experiment_id(), run_name=package.manifest.version)
        for name, value in plain_metrics(package.manifest).items():
            self._client.log_metric(run.info.run_id, f"test.{name}", value)
        return run

    def _set_alias(self, number: int) -> None:
        with registry_errors(self.uri):
            try:
                self._client.set_registered_model_alias(MODEL, CHAMPION, str(number))
            except _mlflow_exception():
                # A first alias is inserted: of two machines at once one fails, and by then it is
                # there to be changed.
                self._client.set_registered_model_alias(MODEL, CHAMPION, str(number))

    def _set_history(self, numbers: list[int]) -> None:
        with registry_errors(self.uri):
            text = json.dumps(numbers[-_MAX_HISTORY:])
            try:
                self._client.set_registered_model_tag(MODEL, HISTORY_TAG, text)
            except _mlflow_exception() as error:
                # Of two first writers at once, MLflow has the second one make the tag again.
                if "IntegrityError" not in str(error):
                    raise
                self._client.set_registered_model_tag(MODEL, HISTORY_TAG, text)


def _alias(model: RegisteredModel) -> int | None:
    number = model.aliases.get(CHAMPION)
    return None if number is None else int(number)


def _numbers(text: str) -> list[int]:
    """The history in a tag; empty if someone else has written there."""
    try:
        document = json.loads(text)
    except ValueError:
        return []
    if not isinstance(document, list) or not all(type(number) is int for number in document):
        return []
    return document


def _mlflow_exception() -> type[MlflowException]:
    from mlflow.exceptions import MlflowException

    return MlflowException


@contextmanager
def _unless_exists() -> Iterator[None]:
    """Let pass that another process has made the same a moment before."""
    try:
        yield
    except _mlflow_exception() as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
