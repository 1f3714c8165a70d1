"""Labels of an upload: which diagnosis and which lesion each file is said to show."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.exit_code import usage_error
from cluster.image_paths import UnreadableFile, read_image_file
from dermserve_client.label_list import LabelList, names_of, read_labels


@dataclass(frozen=True)
class Labels:
    """By file."""

    labels: dict[str, str | None]
    lesions: dict[str, str | None]

    @property
    def without(self) -> int:
        """Files that nobody has labelled."""
        return sum(label is None for label in self.labels.values())


def labels_of(
    files: Sequence[str], label: str | None, table: Path | None, lesion: str | None
) -> Labels:
    """Find the label and the lesion of each file.

    Args:
        files: that are to be uploaded.
        label: of all of them.
        table: a CSV file with the columns `file`, `label` and perhaps `lesion_id`.
        lesion: that all of them show.

    Raises:
        CommandFailed: if two of these contradict each other, if the table cannot be read or has a
            mistake, or if a line of it may mean either of two files. A wrong label does more harm
            than none, so that nothing is guessed and nothing is sent.
    """
    if table is None:
        return Labels(dict.fromkeys(files, label), dict.fromkeys(files, lesion))
    if label is not None or lesion is not None:
        raise usage_error("With --labels, the table says labels and lesions. Leave out the others.")
    listed = _read(table)
    _require_clear(files, listed)
    found = Labels(
        {file: listed.label_of(file) for file in files},
        {file: listed.lesion_of(file) for file in files},
    )
    if found.without == len(files):
        raise usage_error(
            f"{table} names none of these files. Its column `file` has to hold their names, such "
            f"as {os.path.basename(files[0])}."
        )
    return found


def _read(table: Path) -> LabelList:
    try:
        listed = read_labels(read_image_file(os.fspath(table)))
    except UnreadableFile as error:
        raise usage_error(f"{table}: {error.message}") from error
    if listed.problems:
        raise usage_error(f"Nothing was sent. {table}: {' '.join(listed.problems)}")
    return listed


def _require_clear(files: Sequence[str], listed: LabelList) -> None:
    """Refuse names that stand for several files, unless the table has each file's whole path."""
    called = Counter(name for file in files for name in set(names_of(file)))
    for values in (listed.labels, listed.lesions):
        for file in files:
            name = next((name for name in names_of(file) if name in values), file)
            if name != file and called[name] > 1:
                raise usage_error(
                    f"Nothing was sent. The table names {name}, and {called[name]} files are "
                    f"called so. Write their paths into it, as in {file}."
                )
