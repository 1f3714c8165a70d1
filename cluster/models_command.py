"""`dermserve models`: the versions in the registry, and which of them serves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from models.registered_version import RegisteredVersion
    from models.registry import Registry

app = typer.Typer(
    help="List, show, register, promote and roll back versions of the model.", no_args_is_help=True
)

Version = Annotated[str, typer.Argument(help="Name of a version, as `dermserve models list` has.")]

_MAIN_METRICS = {"balanced_accuracy": "balanced accuracy", "macro_auc": "macro AUC"}


@app.command("list")
def list_versions() -> None:
    """List the versions; a star marks the champion.

    Example: dermserve models list
    """
    from models.tracking_uri import shown

    registry = _registry()
    registry.champion()  # a new registry begins with the bundled package
    table = Table("", "version", "registered", *_MAIN_METRICS.values(), "gate", "dataset")
    for version in registry.versions():
        table.add_row(
            "*" if version.champion else "",
            version.version,
            _when(version),
            *(_metric(version, name) for name in _MAIN_METRICS),
            version.verdict or "-",
            Text(version.dataset_hash[:12]),
        )
    console = Console()
    console.print(table)
    # As text, not markup: addresses and paths may hold brackets.
    console.print(
        f"Champions so far: {' -> '.join(registry.history())}. Registry: {shown(registry.uri)}",
        markup=False,
        soft_wrap=True,
    )


@app.command()
def show(version: Version = "champion") -> None:
    """Show what is known of a version, and its model card.

    Example: dermserve models show 2
    """
    from rich.markdown import Markdown

    from models.package import CARD_FILE, ModelPackage

    registry = _registry()
    found = registry.champion() if version == "champion" else registry.version(version)
    package = ModelPackage.load(registry.folder(found))
    table = Table(show_header=False)
    for name, value in {
        "version": f"{found.version} (champion)" if found.champion else found.version,
        "registered": _when(found),
        "created": package.manifest.created.isoformat(" ", "minutes"),
        "package": str(package.folder),
        "package hash": found.package_hash,
        "dataset hash": found.dataset_hash,
        **{f"test {name}": f"{value:.4g}" for name, value in found.metrics.items()},
    }.items():
        table.add_row(name, Text(value, overflow="fold"))
    console = Console()
    console.print(table)
    if CARD_FILE in package.manifest.files:
        console.print(Markdown(package.file(CARD_FILE).read_text(encoding="utf-8")))


@app.command()
def register(
    package: Annotated[
        Path | None, typer.Argument(help="Folder of a package; else the one that ships.")
    ] = None,
) -> None:
    """Put a package into the registry; it serves once it is promoted.

    Example: dermserve models register var/model-2
    """
    registry = _registry()
    registry.champion()  # a new registry begins with the bundled package
    version = registry.register(package or registry.bundled)
    Console().print(
        f"Version {version.version} is registered. Serve it with "
        f"`dermserve models promote {version.version}`.",
        markup=False,
        soft_wrap=True,
    )


@app.command()
def promote(version: Version) -> None:
    """Make a version the champion, if its package verifies.

    Example: dermserve models promote 2
    """
    _say(_registry().promote(version))


@app.command()
def rollback() -> None:
    """Go back to the champion before this one; again, and it goes one further back.

    Example: dermserve models rollback
    """
    _say(_registry().rollback())


def _registry() -> Registry:
    # NumPy takes a moment to import; the other commands do not need it.
    from models.registry import Registry

    return Registry()


def _say(champion: RegisteredVersion) -> None:
    Console().print(
        f"Version {champion.version} is the champion. Servers take it when they start; a running "
        f"one takes it with POST /models/{champion.version}/promote.",
        markup=False,
        soft_wrap=True,
    )


def _when(version: RegisteredVersion) -> str:
    return version.registered.astimezone().strftime("%Y-%m-%d %H:%M")


def _metric(version: RegisteredVersion, name: str) -> str:
    return f"{version.metrics[name]:.3f}" if name in version.metrics else "-"
