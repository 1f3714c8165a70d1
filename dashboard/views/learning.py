"""The page of learning: uploads with labels, the retraining they lead to, and its versions."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboard import frame
from dashboard.connection import client, failures_shown
from dashboard.image_files import TooMany, count_files, image_files, is_archive
from dashboard.labelled_upload import Labelled, Told, names_given_twice, upload_all
from dashboard.lesion_classes import CODES, NAMES
from dashboard.upload_sentences import SOURCES, upload_finding, verdict_rows
from dashboard.views import retraining, versions
from dashboard.wording import count, listing, plain
from dermserve_client.label_list import LabelList, read_labels
from dermserve_client.uploads import LabelSource

_TOLD = "uploaded"
_ROUND = "upload_round"
_EACH_MOST = 50
_HOW = {
    "one": "One label for all",
    "each": "A label for each file",
    "csv": "A CSV file of labels",
    "none": "None; they are to be reviewed",
}


def show() -> None:
    """The page."""
    frame.title(
        "Upload and retraining",
        "Teach the model: labelled pictures in, a better version out, if the gate lets it pass.",
    )
    _upload()
    retraining.show()
    versions.show()


def _upload() -> None:
    st.header("Upload", anchor=False)
    turn = st.session_state.setdefault(_ROUND, 0)
    left, right = st.columns([3, 2], gap="large")
    with left:
        files = st.file_uploader(
            "Pictures to learn from, or zip archives of them",
            accept_multiple_files=True,
            key=f"upload_files_{turn}",
            help="Metadata are removed and names are not kept. Pictures that the server has "
            "already, or that it is tested on, are not stored.",
        )
    with right:
        how = st.radio("Their labels", list(_HOW), format_func=_HOW.__getitem__, key=f"how_{turn}")
        labels = _labels(how or "none", list(files), turn)
        source = st.selectbox(
            "How the labels are known",
            list(SOURCES),
            index=len(SOURCES) - 1,
            format_func=SOURCES.__getitem__,
            disabled=how == "none",
        )
    ready = bool(files) and labels is not None
    number = count_files(files)
    text = f"Upload {count(number, 'picture')}" if files else "Upload"
    if st.button(text, type="primary", disabled=not ready) and labels is not None:
        _send(list(files), labels, source or "user")
    told: list[Told] = st.session_state.get(_TOLD, [])
    if told:
        st.markdown(plain(upload_finding([each.result for each in told])))
        st.dataframe(
            verdict_rows(
                [each.sent.file.name for each in told],
                [each.sent.label for each in told],
                [each.result for each in told],
            ),
            hide_index=True,
            height=min(420, 40 + 36 * len(told)),
            column_config={"In words": st.column_config.TextColumn(width="large")},
            alt="Table of the uploaded files and what became of each",
        )


def _labels(how: str, files: list[Any], turn: int) -> dict[str, str | None] | LabelList | None:
    """Labels by file name, a list of them, or None if there is none yet that could be sent."""
    if how == "none":
        return {}
    if how == "one":
        code = st.selectbox(
            "They all show",
            CODES,
            index=None,
            format_func=NAMES.__getitem__,
            placeholder="Choose a class",
            key=f"one_{turn}",
        )
        return None if code is None else {"": code}
    if how == "csv":
        given = st.file_uploader(
            "Labels (CSV)",
            type=["csv", "tsv", "txt"],
            max_upload_size=4,
            key=f"csv_{turn}",
            help="A first line `file,label` or `file,label,lesion_id`, then a line for each "
            "picture. Files without a line wait in the review queue.",
        )
        if given is None:
            return None
        found = read_labels(given.getvalue())
        for problem in found.problems:
            st.error(plain(problem))
        if not found.problems and found.labels:
            missing = sum(found.label_of(file.name) is None for file in files)
            if missing and not any(is_archive(file.name) for file in files):
                st.caption(f"{count(missing, 'file')} without a label will wait for review.")
        return None if found.problems else found
    return _each(files, turn)


def _each(files: list[Any], turn: int) -> dict[str, str | None] | None:
    if not files:
        st.caption("Choose the pictures first.")
        return None
    if len(files) > _EACH_MOST or any(is_archive(file.name) for file in files):
        st.warning(
            f"For more than {_EACH_MOST} files, or for an archive, give the labels as a CSV file."
        )
        return None
    twice = names_given_twice(file.name for file in files)
    if twice:
        st.warning(
            plain(
                f"More than one file is called {listing(twice)}. Rename them, or upload them one "
                "after the other."
            )
        )
        return None
    table = st.data_editor(
        [{"Picture": file.name, "Label": None} for file in files],
        hide_index=True,
        disabled=["Picture"],
        column_config={
            "Label": st.column_config.SelectboxColumn(options=[NAMES[code] for code in CODES])
        },
        # Streamlit keeps what was edited under a key by row, whatever stands in the row by then.
        key=f"each_{turn}_{'_'.join(file.file_id for file in files)}",
    )
    codes = {name: code for code, name in NAMES.items()}
    return {row["Picture"]: codes.get(row["Label"] or "") for row in table}


def _send(files: list[Any], labels: dict[str, str | None] | LabelList, source: LabelSource) -> None:
    def labelled() -> Any:
        for file in image_files(files):
            if isinstance(labels, LabelList):
                yield Labelled(file, labels.label_of(file.name), labels.lesion_of(file.name))
            else:
                yield Labelled(file, labels.get(file.name, labels.get("")))

    total = count_files(files)
    told: list[Told] = []
    bar = st.progress(0.0, text=f"Sending {count(total, 'picture')}")

    try:
        with failures_shown():
            for each in upload_all(client(), labelled(), source):
                told.append(each)
                bar.progress(len(told) / max(1, total), text=f"{len(told):,} of {total:,} sent")
    except TooMany as error:
        st.error(plain(str(error)))
    bar.empty()
    st.session_state[_TOLD] = told
    if len(told) == total:
        st.session_state[_ROUND] += 1  # an empty field, so that nothing is sent twice
        st.rerun()
