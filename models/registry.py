"""The model registry: every version of the model, and which of them is the champion.

MLflow keeps it, as the registered model `dermserve` with the alias `champion`. Importing
MLflow takes 2 s and 170 MB: where that matters, ask through `models.registry_process`.
"""

from __future__ import annotations

import os
from pathlib import Path

from models.errors import InvalidPackage, NotFound
from models.package import BUNDLED_CHAMPION, CHAMPION_VARIABLE, ModelPackage
from models.registered_package import fetched, hash_of, local_folder, verified
from models.registered_version import (
    CHAMPION,
    RegisteredVersion,
    Verdict,
    is_version_name,
    verdict_tags,
)
from models.registry_store import RegistryStore
from models.tracking_uri import normalise, tracking_uri, var_folder


def bundled_champion() -> Path:
    """The package that a registry begins with."""
    return Path(os.environ.get(CHAMPION_VARIABLE) or BUNDLED_CHAMPION).absolute()


def package_folder(path: str) -> Path:
    """The folder of a package outside the registry, verified.

    Raises:
        InvalidPackage: if there is none.
    """
    try:
        return ModelPackage.load(Path(path)).folder
    except (OSError, ValueError) as error:  # a name too long, or with a null character
        raise InvalidPackage(f"{path[:64]!r} is no folder: {error}.") from error


class Registry:
    """A registry; it is opened at the first call.

    Every method raises `ModelUnavailable` within seconds if the registry cannot be reached.

    Args:
        uri: of MLflow; None for `tracking_uri()`.
        cache: folder for packages fetched from a server; None for `var/models`.
        bundled: package that becomes the champion of a registry without one; None for
            `bundled_champion()`.

    Raises:
        InvalidConfiguration: as `tracking_uri` raises it.
    """

    def __init__(
        self, uri: str | None = None, *, cache: Path | None = None, bundled: Path | None = None
    ) -> None:
        self.uri = tracking_uri() if uri is None else normalise(uri)
        self.cache = cache or var_folder() / "models"
        self.bundled = bundled or bundled_champion()
        self._store = RegistryStore(self.uri, locks=self.cache)

    def resolve(self, name: str) -> Path:
        """The folder of the verified package that a name stands for.

        Args:
            name: `champion`, the name of a version, or a folder, written so that it is no
                possible name: `./tiny`, not `tiny`.

        Raises:
            NotFound: if no version has that name.
            InvalidPackage: if the package is missing, damaged or incompatible.
        """
        if name == CHAMPION:
            return self.folder(self.champion())
        return self.folder(self.version(name)) if is_version_name(name) else package_folder(name)

    def champion(self) -> RegisteredVersion:
        """The version that serves; the bundled package, if the registry has none yet.

        Raises:
            InvalidPackage: if the bundled package is needed and does not verify, or if the
                alias points at a version that DermServe has not registered.
        """
        number = self._store.champion()
        if number is None:
            with self._store.writing():
                number = self._store.champion()  # another process may have been first
                if number is None:
                    number = self._register(self.bundled, None).number
                    self._store.move_champion(number)
        for version in self._store.versions():
            if version.number == number:
                return version
        raise InvalidPackage(
            f"The champion in the registry, version {number} of MLflow, was not registered by "
            "DermServe. Promote one that was: `dermserve models promote VERSION`."
        )

    def versions(self) -> list[RegisteredVersion]:
        """All versions, in the order of their registration."""
        versions: dict[str, RegisteredVersion] = {}
        for version in self._store.versions():
            # Two machines may have registered the same at once, and one of them may have been
            # killed before it took its own back: the first counts.
            versions.setdefault(version.version, version)
        return list(versions.values())

    def version(self, name: str) -> RegisteredVersion:
        """The version of a name.

        Raises:
            NotFound: if there is none.
        """
        for version in self.versions():
            if version.version == name:
                return version
        raise NotFound(
            f"The registry has no version {name[:64]!r}. Choose one that `dermserve models list` "
            "shows."
        )

    def register(self, package: Path, *, run_id: str | None = None) -> RegisteredVersion:
        """Put a package into the registry; the same content is not put twice.

        Args:
            package: its folder; only files that its manifest names are taken.
            run_id: MLflow run that trained it; None makes one.

        Raises:
            InvalidPackage: if it does not verify, or if another package has its version name.
        """
        ModelPackage.load(package)  # before anything is opened
        with self._store.writing():
            return self._register(package, run_id)

    def promote(self, name: str) -> RegisteredVersion:
        """Make a version the champion, if its package verifies.

        Raises:
            NotFound: if no version has that name.
            InvalidPackage: if its package does not verify; the champion is then as it was.
        """
        version = self.version(name)
        self.folder(version)
        with self._store.writing():
            self._store.move_champion(version.number)
        return self.version(name)

    def rollback(self) -> RegisteredVersion:
        """Make the version champion that was champion before this one.

        It works as "undo" does: what was rolled back is forgotten, so a second rollback goes
        one further back, not forth again. Versions that were deleted are passed over.

        Raises:
            NotFound: if no earlier champion is left.
            InvalidPackage: if its package does not verify; the champion is then as it was.
        """
        with self._store.writing():
            history = self._store.history()
            present = history[-1:]
            by_number = {version.number: version for version in self.versions()}
            while history and (history[-1:] == present or history[-1] not in by_number):
                history.pop()
            if not history:
                raise NotFound(
                    "No earlier champion is left to roll back to. Choose a version with "
                    "`dermserve models promote`."
                )
            version = by_number[history[-1]]
            self.folder(version)
            self._store.move_champion_back(history)
        return self.version(version.version)

    def history(self) -> list[str]:
        """Names of the champions that `rollback` would walk back through, the present last."""
        names = {version.number: version.version for version in self.versions()}
        return [names[number] for number in self._store.history() if number in names]

    def previous(self) -> str | None:
        """Name of the version that `rollback` would make champion; None if there is none."""
        history = self.history()
        return next((name for name in reversed(history) if name != history[-1]), None)

    def record_verdict(self, name: str, verdict: Verdict, reason: str) -> None:
        """Note on a version what the promotion gate said of it.

        Args:
            name: of the version.
            verdict: whether it may become champion.
            reason: in a sentence.

        Raises:
            NotFound: if no version has that name.
        """
        self._store.set_tags(self.version(name).number, verdict_tags(verdict, reason))

    def next_version(self) -> str:
        """A name that no version has: the whole number after the largest."""
        numbers = [int(v.version) for v in self.versions() if v.version.isdecimal()]
        return str(max(numbers, default=0) + 1)

    def folder(self, version: RegisteredVersion) -> Path:
        """The verified package of a version, on this machine.

        Raises:
            InvalidPackage: if it is missing, damaged or incompatible.
        """
        folder = local_folder(version.source, self._store.artifacts)
        try:
            if folder is not None:
                return verified(folder, version.package_hash).folder
            return fetched(
                self.cache,
                version.package_hash,
                lambda target: self._store.download(version.source, target),
            ).folder
        except InvalidPackage as error:
            raise InvalidPackage(
                f"Version {version.version} in the registry cannot serve. {error.message} "
                "Restore its files, or promote another with `dermserve models promote`; "
                "`dermserve models register` adds the package that came with this code."
            ) from error

    def package_of(self, package_hash: str) -> ModelPackage:
        """The package of a hash, as `hash_of` gives it, on this machine.

        Raises:
            NotFound: if no version has that hash.
            InvalidPackage: as `folder` raises it.
        """
        for version in self.versions():
            if version.package_hash == package_hash:
                return ModelPackage.load(self.folder(version))
        raise NotFound(f"The registry has no version of the hash {package_hash[:64]!r}.")

    def experiment_id(self) -> str:
        """Id of the MLflow experiment for runs of training; it is made if there is none."""
        return self._store.experiment_id()

    def _register(self, folder: Path, run_id: str | None) -> RegisteredVersion:
        package = ModelPackage.load(folder)
        name, content = package.manifest.version, hash_of(package)
        if not is_version_name(name):
            raise InvalidPackage(f"A version cannot be called {name!r}. Train it under another.")
        for version in self.versions():
            if version.version == name:
                return _same(version, content)
        number = self._store.create(package, run_id)
        first = self.version(name)
        if first.number != number:  # another machine was faster
            self._store.delete(number)
        return _same(first, content)


def _same(version: RegisteredVersion, package_hash: str) -> RegisteredVersion:
    if version.package_hash != package_hash:
        raise InvalidPackage(
            f"The registry holds another model under the name {version.version}. Give the new "
            "one another version."
        )
    return version
