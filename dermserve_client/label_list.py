"""A label list: the diagnosis of each file, out of a CSV that a person has written."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from dermserve_client.classes import CODES

MAX_BYTES = 4 * 1024 * 1024
MAX_ROWS = 20_000
_PROBLEMS_TOLD = 5

FILE_COLUMNS = ("file", "filename", "image", "image_id", "name")
LABEL_COLUMNS = ("label", "dx", "class", "diagnosis")
LESION_COLUMNS = ("lesion_id", "lesion")


@dataclass(frozen=True)
class LabelList:
    """Labels by the name of the file, and what is wrong with the list."""

    labels: dict[str, str] = field(default_factory=dict)
    lesions: dict[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    """Sentences that say what to do."""

    def label_of(self, name: str) -> str | None:
        """The label of a file, by its name, its last part, or that without its ending."""
        return _look_up(self.labels, name)

    def lesion_of(self, name: str) -> str | None:
        """The lesion that a file shows, looked up like its label."""
        return _look_up(self.lesions, name)


def names_of(name: str) -> tuple[str, ...]:
    """Names under which a list may have a file, the one that is looked up first at the front.

    Args:
        name: a path, also inside an archive as in `scans.zip: deep/1.jpg`.
    """
    outer, _, member = name.partition(": ")
    inner = member if outer.lower().endswith(".zip") else name
    last = PurePosixPath(inner.replace("\\", "/"))
    return (name, inner, last.name, last.stem)


def read_labels(data: bytes) -> LabelList:
    """Read a CSV with the columns `file` and `label`, and `lesion_id` if lesions have names.

    Never raises: what cannot be read is told in `problems`.

    Args:
        data: in UTF-8, with commas, semicolons or tabs.
    """
    if len(data) > MAX_BYTES:
        return _no_list("The label file is larger than 4 MB. Leave out what is not file or label.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return _no_list("The label file is no text in UTF-8. Save it as CSV (UTF-8).")
    if "\0" in text:
        return _no_list("The label file is no text. Save it as CSV (UTF-8).")
    first = text.splitlines()[0] if text.strip() else ""
    delimiter = max(",;\t", key=first.count)
    try:
        rows = list(csv.DictReader(io.StringIO(text), delimiter=delimiter))
    except csv.Error as error:
        return _no_list(f"The label file cannot be read ({error}). Save it as CSV (UTF-8).")
    if len(rows) > MAX_ROWS:
        return _no_list(f"The label file has {len(rows):,} rows; {MAX_ROWS:,} are the most.")
    heads = {(head or "").strip().lower(): head for head in (rows[0] if rows else {})}
    file_head = _first(heads, FILE_COLUMNS)
    label_head = _first(heads, LABEL_COLUMNS)
    if file_head is None or label_head is None:
        return _no_list(
            "The label file needs a first line with the columns `file` and `label`, and a line "
            "for each picture below it."
        )
    return _collect(rows, file_head, label_head, _first(heads, LESION_COLUMNS))


def _collect(
    rows: Iterable[dict[str, str]], file_head: str, label_head: str, lesion_head: str | None
) -> LabelList:
    labels: dict[str, str] = {}
    lesions: dict[str, str] = {}
    problems: list[str] = []
    for number, row in enumerate(rows, start=2):
        name, label = (row.get(file_head) or "").strip(), (row.get(label_head) or "").strip()
        code = label.lower()
        if not name:
            continue
        if label and code not in CODES:
            problems.append(
                f"Line {number}: {label[:40]!r} is none of the seven classes. Use one of "
                f"{', '.join(CODES)}."
            )
        elif label and labels.get(name, code) != code:
            problems.append(f"Line {number}: {name[:80]!r} has two labels. Keep one of them.")
        elif label:
            labels[name] = code
        lesion = "" if lesion_head is None else (row.get(lesion_head) or "").strip()
        if lesion and lesions.setdefault(name, lesion) != lesion:
            problems.append(f"Line {number}: {name[:80]!r} has two lesions. Keep one of them.")
    more = len(problems) - _PROBLEMS_TOLD
    if more > 0:
        problems = [*problems[:_PROBLEMS_TOLD], f"And {more} more lines like these."]
    return LabelList(labels, lesions, tuple(problems))


def _no_list(problem: str) -> LabelList:
    return LabelList(problems=(problem,))


def _first(heads: dict[str, str], wanted: Iterable[str]) -> str | None:
    return next((heads[name] for name in wanted if name in heads), None)


def _look_up(values: dict[str, str], name: str) -> str | None:
    return next((values[key] for key in names_of(name) if key in values), None)
