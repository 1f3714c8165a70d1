"""Record output: results one after the other, as a table, CSV or JSON, shown or in a file."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cluster.exit_code import usage_error
from cluster.printable import printable

PARTIAL = ".part"
"""How a file ends whose last record has not been written yet."""


class Format(str, Enum):
    """How results are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"


class Record(Protocol):
    """One result, in the forms that the formats need."""

    def shown(self) -> Sequence[str]:
        """Cells of a table for people."""

    def cells(self) -> dict[str, object]:
        """Cells of a CSV file, by column."""

    def document(self) -> dict[str, Any]:
        """What JSON says of it."""


def chosen_format(format_: Format | None, output: Path | None) -> Format:
    """The format that was asked for; else by the file's name; else a table on a terminal, or CSV.

    Raises:
        CommandFailed: if a file is to hold a table.
    """
    if format_ is None:
        if output is not None:
            by_name = output.suffix.lower().removeprefix(".")
            return Format(by_name) if by_name in ("csv", "json", "jsonl") else Format.CSV
        return Format.TABLE if sys.stdout.isatty() else Format.CSV
    if output is not None and format_ is Format.TABLE:
        raise usage_error("A table is for the terminal. Write csv, json or jsonl into a file.")
    return format_


class RecordOutput:
    """Writes records as they come; use it as a context manager.

    JSON is exact and pure ASCII. In a table and in CSV, what a terminal or a spreadsheet would act
    upon is made harmless: control characters are written as `\\x1b`, and a text that looks like a
    formula gets an apostrophe.

    A file gets its name when all is written. Until then, and if the block fails, it has the suffix
    `.part`, with all records so far.

    Args:
        format_: of the records.
        output: a file, which is replaced; None for standard output.
        columns: of CSV.
        heads: of the table.

    Raises:
        CommandFailed: if the file cannot be written.
    """

    def __init__(
        self, format_: Format, output: Path | None, columns: Sequence[str], heads: Sequence[str]
    ) -> None:
        self._format = format_
        self._output = output
        self._columns = columns
        self._table = Table(*heads)
        self._file: IO[str] = sys.stdout
        self.written = 0
        """Records so far."""

    @property
    def partial(self) -> Path | None:
        """Where the records are until all are written; None for standard output."""
        return self._output and self._output.with_name(self._output.name + PARTIAL)

    def __enter__(self) -> RecordOutput:
        if self.partial is not None:
            if self._output is not None and self._output.is_dir():
                raise usage_error(
                    f"{self._output} is a folder, and cannot be written. Name a file."
                )
            try:
                self._file = self.partial.open("w", encoding="utf-8", newline="")
            except OSError as error:
                raise usage_error(f"{self._output} cannot be written: {error.strerror}.") from error
        self._csv = csv.writer(self._file, lineterminator="\n")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.written:
            self._end()  # also after an error, so that what is there can be read
        if self._output is None or self.partial is None:
            self._file.flush()
            return
        self._file.close()
        if kind is None:
            os.replace(self.partial, self._output)
        elif not self.written:
            self.partial.unlink()

    def write(self, record: Record) -> None:
        """Take one record in."""
        if self._format is Format.TABLE:
            self._table.add_row(
                *(Text(printable(cell), overflow="fold") for cell in record.shown())
            )
        elif self._format is Format.CSV:
            cells = record.cells()
            if not self.written:
                self._csv.writerow(self._columns)
            self._csv.writerow([csv_cell(cells.get(column)) for column in self._columns])
        else:
            text = json.dumps(record.document())
            if self._format is Format.JSON:
                text = f"{',' if self.written else '['}\n{text}"
            else:
                text += "\n"
            self._file.write(text)
        self.written += 1

    def _end(self) -> None:
        if self._format is Format.JSON:
            self._file.write("\n]\n")
        elif self._format is Format.TABLE:
            Console(file=self._file).print(self._table)


def csv_cell(value: object) -> object:
    """A cell that neither a spreadsheet nor a terminal acts upon; None leaves it empty."""
    from dermserve_client.csv_text import safe_cell

    if value is None:
        return ""
    return safe_cell(printable(value)) if isinstance(value, str) else value
