"""`dermserve predict`: pictures classified by a running server, or by this process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.addresses import SERVER_URL
from cluster.exit_code import CommandFailed, ExitCode, usage_error
from cluster.image_paths import find_images
from cluster.in_order import in_order
from cluster.options import EngineChoice, OutputFile, OutputFormat, Paths
from cluster.printable import printable, say
from cluster.progress import progress
from cluster.record_output import RecordOutput, chosen_format
from cluster.server_access import Url, server

if TYPE_CHECKING:
    from cluster.predicted_file import PredictedFile

# A server may be full of other people's work for so long.
_PATIENCE_S = 120.0


class Priority(str, Enum):
    """Bulk work gives way to interactive work."""

    BULK = "bulk"
    INTERACTIVE = "interactive"


def predict(
    paths: Paths,
    format_: OutputFormat = None,
    output: OutputFile = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Classify in this process, without a server.")
    ] = False,
    package: Annotated[
        str, typer.Option(help="With --offline: `champion`, a version, or a package's folder.")
    ] = "champion",
    engine: Annotated[
        EngineChoice, typer.Option(help="With --offline: what runs the network.")
    ] = EngineChoice.AUTO,
    concurrency: Annotated[
        int, typer.Option(min=1, max=64, help="Requests under way at once.")
    ] = 4,
    chunk: Annotated[
        int, typer.Option(min=1, max=512, help="Files in one request; the server has a limit.")
    ] = 16,
    priority: Annotated[
        Priority, typer.Option(help="Bulk gives way to whoever waits for an answer.")
    ] = Priority.BULK,
    url: Url = SERVER_URL,
) -> None:
    """Classify pictures; one that cannot be used has an error for a result and stops no other.

    Exit code 1 if any has an error.

    Example: dermserve predict scans/ 'more/**/*.png' --output results.csv
    """
    found = find_images(paths)
    for path in found.empty:
        say(f"There are no images in {printable(path)}.", style="yellow")
    if not found.files:
        raise usage_error("There is nothing to classify. Name image files, or a folder with some.")
    from cluster.predicted_file import COLUMNS, HEADS

    chosen = chosen_format(format_, output)
    out = RecordOutput(chosen, output, COLUMNS, HEADS)
    failed, version = 0, None
    started = time.monotonic()
    results = (
        _offline(found.files, package, engine)
        if offline
        else _served(found.files, url, concurrency, chunk, priority)
    )
    try:
        with out, progress(len(found.files), "Classifying") as advance:
            for result in results:
                out.write(result)
                failed += result.failed
                if result.prediction is not None:
                    version = result.prediction.model_version
                advance(1)
    except (CommandFailed, KeyboardInterrupt):
        _say_partial(out, len(found.files))
        raise
    seconds = time.monotonic() - started
    _say_done(len(found.files), failed, version, seconds, output)
    if failed:
        raise typer.Exit(ExitCode.FAILED)


def _served(
    files: tuple[str, ...], url: str, concurrency: int, chunk: int, priority: Priority
) -> Iterator[PredictedFile]:
    from cluster.served_files import ask, read_chunks

    with server(url, patience_s=_PATIENCE_S) as client:
        chunks = read_chunks(files, chunk)
        for results in in_order(
            lambda each: ask(client, each, priority.value), chunks, concurrency
        ):
            yield from results


def _offline(files: tuple[str, ...], package: str, engine: EngineChoice) -> Iterator[PredictedFile]:
    from cluster.offline_classifier import OfflineClassifier
    from cluster.served_files import read

    classifier = OfflineClassifier(package, engine.value)
    pieces = [
        files[start : start + classifier.piece] for start in range(0, len(files), classifier.piece)
    ]
    for results in in_order(
        lambda piece: classifier.classify([(file, read(file)) for file in piece]),
        pieces,
        classifier.threads,
    ):
        yield from results


def _say_partial(out: RecordOutput, total: int) -> None:
    if not out.written:
        return
    where = f" The others are in {out.partial}." if out.partial else ""
    say(f"{total - out.written:,} of {total:,} files have no result.{where}", style="yellow")


def _say_done(
    total: int, failed: int, version: str | None, seconds: float, output: Path | None
) -> None:
    by = f" by model {version}" if version else ""
    where = f" The results are in {output}." if output else ""
    have = "has" if failed == 1 else "have"
    wrong = f" {failed:,} of them {have} an error." if failed else ""
    say(
        f"{total:,} {'file' if total == 1 else 'files'}{by} in {seconds:.1f} s "
        f"({total / seconds:.1f}/s).{wrong}{where} For research and education only: decision "
        "support, not a diagnosis and not a medical device."
    )
