"""Labels of an upload: which of its files is said to show what, in any of three forms.

They come as one label per file in the order of the files, as a JSON map by file name, or as a
CSV manifest. What does not match the files is refused as a whole, because a shifted list would
mislabel them all; what is wrong with one file's label concerns that file alone.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from data.catalogue.values import checked_text
from models.errors import DermServeError, InvalidField, LabelsMismatch
from serve_app.explanation import check_class
from serve_app.upload import DEFAULT_SOURCE, Label
from serve_app.upload_schemas import LABEL_SOURCES


@dataclass(frozen=True, slots=True)
class GivenLabel:
    """A label as it was sent; empty text counts as nothing."""

    label: str | None = None
    lesion_id: str | None = None
    label_source: str | None = None


_KEYS = tuple(field.name for field in fields(GivenLabel))
_COLUMNS = ("file", *_KEYS)


def in_order(labels: Sequence[str], files: int) -> list[GivenLabel]:
    """One label per file, in the order of the files.

    Raises:
        LabelsMismatch: if there are more or fewer labels than files.
    """
    if len(labels) != files:
        raise LabelsMismatch(
            f"There are {len(labels)} fields `labels` for {files} files. Send one for each file in "
            "the same order, empty where there is no label. Nothing was stored."
        )
    return [GivenLabel(label) for label in labels]


def from_json(text: str) -> dict[str, GivenLabel]:
    """Labels by file name, from a JSON object of codes or of objects with a code.

    Raises:
        LabelsMismatch: if it names a file twice.
        InvalidField: if it is anything else than such an object.
    """
    try:
        document = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise InvalidField(f"labels is no JSON: {error}.") from error
    if not isinstance(document, dict):
        raise InvalidField("labels must be a JSON object of file names and labels.")
    return {name: _given(name, value) for name, value in document.items()}


def from_csv(data: bytes) -> dict[str, GivenLabel]:
    """Labels by file name, from a table with the columns file, label, lesion_id, label_source.

    Args:
        data: CSV in UTF-8, separated by commas; the last two columns may be missing.

    Raises:
        LabelsMismatch: if it names a file twice.
        InvalidField: if it is anything else than such a table.
    """
    try:
        text = data.decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        columns = list(reader.fieldnames or ())
        rows = list(reader)
    except (ValueError, csv.Error) as error:
        raise InvalidField(f"The manifest is no CSV in UTF-8: {error}.") from error
    if not {"file", "label"} <= set(columns) <= set(_COLUMNS) or len(set(columns)) < len(columns):
        raise InvalidField(
            "The manifest must begin with the line file,label or file,label,lesion_id,label_source."
        )
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():  # how csv reports too many and too few
            raise InvalidField(f"Row {number} of the manifest has not {len(columns)} fields.")
    _refuse_repeated([row["file"] for row in rows], "the manifest")
    return {
        row["file"]: GivenLabel(**{key: row[key] for key in _KEYS if key in row}) for row in rows
    }


def by_name(given: Mapping[str, GivenLabel], files: Sequence[str]) -> list[GivenLabel]:
    """The labels of files in their order; a file that none is given for has none.

    Raises:
        LabelsMismatch: if a label is given for no file, or if two files have one name.
    """
    _refuse_repeated(files, "the form")
    if unknown := sorted(given.keys() - set(files)):
        raise LabelsMismatch(
            f"There are labels for {len(unknown)} files that were not sent, such as "
            f"{unknown[0]!r:.100}. Nothing was stored."
        )
    return [given.get(name, GivenLabel()) for name in files]


def checked(given: GivenLabel, defaults: GivenLabel) -> Label | DermServeError:
    """One file's label, or what is wrong with it.

    Args:
        given: for the file.
        defaults: for all files; what is given for the file goes first.
    """
    code, lesion_id, source = (
        _text(getattr(given, key)) or _text(getattr(defaults, key)) for key in _KEYS
    )
    try:
        check_class(code)
        check_source(source)
        checked_text("lesion_id", lesion_id)
    except DermServeError as error:
        return error
    return Label(code, (source or DEFAULT_SOURCE) if code else None, lesion_id)


def check_source(source: str | None) -> None:
    """Raise `InvalidField` unless a label source is known or None."""
    if source is not None and source not in LABEL_SOURCES:
        raise InvalidField(
            f"There is no label source {source!r:.30}. Use one of {', '.join(LABEL_SOURCES)}."
        )


def _text(value: str | None) -> str | None:
    return (value or "").strip() or None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _refuse_repeated([key for key, _ in pairs], "the JSON in labels")
    return dict(pairs)


def _refuse_repeated(names: Iterable[str], where: str) -> None:
    name, times = next(iter(Counter(names).most_common(1)), ("", 1))
    if times > 1:
        raise LabelsMismatch(
            f"{name!r:.100} is {times} times in {where}, so that labels by name are ambiguous. "
            "Name each file once. Nothing was stored."
        )


def _given(name: str, value: Any) -> GivenLabel:
    entry = value if isinstance(value, dict) else {"label": value}
    if not entry.keys() <= set(_KEYS) or not all(
        one is None or isinstance(one, str) for one in entry.values()
    ):
        raise InvalidField(
            f"The label of {name!r:.100} must be a class code, or an object of {', '.join(_KEYS)}."
        )
    return GivenLabel(**entry)
