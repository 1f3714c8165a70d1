"""`dermserve upload`: labelled pictures for the server to learn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.addresses import SERVER_URL
from cluster.exit_code import CommandFailed, ExitCode, usage_error
from cluster.image_paths import find_images
from cluster.options import OutputFile, OutputFormat, Paths
from cluster.printable import printable, say
from cluster.progress import progress
from cluster.record_output import RecordOutput, chosen_format
from cluster.server_access import Url, failure, server

if TYPE_CHECKING:
    from cluster.served_files import Read
    from cluster.upload_labels import Labels
    from cluster.uploaded_file import UploadedFile
    from dermserve_client import Client, Missing

# An upload is written to disk and compared with all others before it is answered.
_TIMEOUT_S = 300.0


class Diagnosis(str, Enum):
    """The seven classes."""

    AKIEC = "akiec"
    BCC = "bcc"
    BKL = "bkl"
    DF = "df"
    MEL = "mel"
    NV = "nv"
    VASC = "vasc"


class LabelSource(str, Enum):
    """How a label was established, the most reliable first."""

    HISTOPATHOLOGY = "histopathology"
    FOLLOW_UP = "follow_up"
    CONSENSUS = "consensus"
    EXPERT = "expert"
    USER = "user"


def upload(
    paths: Paths,
    label: Annotated[
        Diagnosis | None, typer.Option(help="Of all files.", show_default=False)
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="CSV file with the columns file and label, and perhaps lesion_id.",
            show_default=False,
        ),
    ] = None,
    lesion: Annotated[
        str | None,
        typer.Option(help="Name of the lesion that all files show.", show_default=False),
    ] = None,
    source: Annotated[
        LabelSource, typer.Option(help="How the labels were established.")
    ] = LabelSource.USER,
    uploader: Annotated[
        str | None,
        typer.Option(help="Who sends them, where the server has no keys.", show_default=False),
    ] = None,
    chunk: Annotated[
        int, typer.Option(min=1, max=256, help="Files in one request; the server has a limit.")
    ] = 32,
    format_: OutputFormat = None,
    output: OutputFile = None,
    url: Url = SERVER_URL,
) -> None:
    """Upload pictures to learn from, and show the server's verdict on each.

    A request is never repeated. If no answer comes, the command stops and says for which files;
    to upload the same again does no harm, because the server knows what it has. Exit code 1 if a
    file was rejected.

    Example: dermserve upload scans/ --labels diagnoses.csv --source histopathology
    """
    found = find_images(paths)
    for path in found.empty:
        say(f"There are no images in {printable(path)}.", style="yellow")
    if not found.files:
        raise usage_error("There is nothing to upload. Name image files, or a folder with some.")
    from cluster.upload_labels import labels_of
    from cluster.uploaded_file import COLUMNS, HEADS

    given = labels_of(found.files, label and label.value, labels, lesion)
    if given.without:
        say(f"{given.without:,} files have no label and will wait in the review queue.")
    sending = _Sending(found.files, given, source.value, uploader, chunk, url)
    counts: Counter[str] = Counter()
    failed = 0
    with (
        RecordOutput(chosen_format(format_, output), output, COLUMNS, HEADS) as out,
        progress(len(found.files), "Uploading") as advance,
    ):
        for result in sending.results():
            out.write(result)
            counts[result.verdict] += 1
            failed += result.failed
            advance(1)
    said = ", ".join(f"{number:,} {verdict}" for verdict, number in counts.most_common())
    say(f"{said}. {_missing(sending.missing)}")
    if sending.error is not None:
        raise sending.error
    if failed:
        raise typer.Exit(ExitCode.FAILED)


class _Sending:
    """Sends files one request after the other, until one is not answered.

    Args:
        files: in this order.
        given: what they show.
        source: of the labels.
        uploader: if the server is to be told.
        chunk: most files in a request.
        url: of the server.
    """

    def __init__(
        self,
        files: tuple[str, ...],
        given: Labels,
        source: str,
        uploader: str | None,
        chunk: int,
        url: str,
    ) -> None:
        self.missing: Missing | None = None
        """Until the next retraining, as the last answer has it."""
        self.error: CommandFailed | None = None
        """Why it ended early."""
        self._files = files
        self._given = given
        self._source = source
        self._uploader = uploader
        self._chunk = chunk
        self._url = url

    def results(self) -> Iterator[UploadedFile]:
        """A result for each file, in order, also of those that were not sent any more."""
        from cluster.served_files import read_chunks
        from cluster.uploaded_file import NOT_SENT, UNKNOWN
        from dermserve_client import (
            AccessDenied,
            DermServeError,
            InvalidRequest,
            NotFound,
            TooLarge,
            TooManyRequests,
        )

        done = 0
        with server(self._url, timeout_s=_TIMEOUT_S) as client:
            for chunk in read_chunks(self._files, self._chunk):
                parts = [chunk]  # the next one last
                while parts and self.error is None:
                    part = parts.pop()
                    try:
                        answers = self._send(client, part)
                    except TooLarge as error:  # nothing of it was stored
                        if len(part) > 1:
                            half = len(part) // 2
                            parts += [part[half:], part[:half]]
                            continue
                        answers = [self._result(part[0][0], "rejected", reason=error.message)]
                    except DermServeError as error:
                        self.error = failure(error, self._url)
                        before = (AccessDenied, InvalidRequest, NotFound, TooManyRequests)
                        verdict = NOT_SENT if isinstance(error, before) else UNKNOWN
                        answers = [self._result(file, verdict) for file, _ in part]
                    yield from answers
                    done += len(part)
                if self.error is not None:
                    break
        yield from (self._result(file, NOT_SENT) for file in self._files[done:])

    def _send(self, client: Client, chunk: list[Read]) -> list[UploadedFile]:
        ready = [(file, data) for file, data in chunk if isinstance(data, bytes)]
        answers = iter(self._ask(client, ready) if ready else ())
        return [
            next(answers)
            if isinstance(data, bytes)
            else self._result(file, "rejected", reason=data.message)
            for file, data in chunk
        ]

    def _ask(self, client: Client, ready: list[tuple[str, bytes]]) -> list[UploadedFile]:
        labels = [self._given.labels[file] for file, _ in ready]
        answer = client.upload(
            [data for _, data in ready],
            labels,
            label_source=self._source if any(labels) else None,  # type: ignore[arg-type]
            lesion_ids=[self._given.lesions[file] for file, _ in ready],
            uploader=self._uploader,
        )
        self.missing = answer.retraining
        return [
            self._result(file, each.verdict, each.id, each.duplicate_of, each.reason)
            for (file, _), each in zip(ready, answer.results, strict=True)
        ]

    def _result(
        self,
        file: str,
        verdict: str,
        id_: str | None = None,
        duplicate_of: str | None = None,
        reason: str | None = None,
    ) -> UploadedFile:
        from cluster.uploaded_file import UploadedFile

        label, lesion = self._given.labels[file], self._given.lesions[file]
        return UploadedFile(file, verdict, label, lesion, id_, duplicate_of, reason)


def _missing(missing: Missing | None) -> str:
    if missing is None:
        return ""
    if missing.missing:
        return f"{missing.missing} more labelled images until the server retrains by itself."
    return "That is enough for a retraining; `dermserve retrain status` shows it."
