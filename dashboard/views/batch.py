"""The page of a batch: many pictures, a table of answers, and a file of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from dashboard import charts, frame
from dashboard.batch_job import BatchJob
from dashboard.batch_table import (
    KINDS,
    BatchRow,
    batch_confusion,
    batch_csv,
    batch_sentences,
)
from dashboard.connection import client, failures_shown
from dashboard.image_files import MAX_FILES, count_files, image_files
from dashboard.lesion_classes import CODES, NAMES
from dashboard.wording import count, plain
from dermserve_client.label_list import LabelList, read_labels

_JOB = "batch_job"
_EVERY_S = 0.6
_TABLE_PIXELS = 560


def show() -> None:
    """The page."""
    frame.title(
        "Batch prediction",
        "Many pictures at once: drop files or a zip, read the table, take it along as CSV.",
    )
    files, labels = _choose()
    job: BatchJob | None = st.session_state.get(_JOB)
    _buttons(files, labels, job)
    if job is None:
        if not files:
            st.info("Drop pictures above; 500 take a minute or two. This tab may stay open on it.")
        return
    if job.running:
        _progress(job)
    else:
        _results(job)


def _choose() -> tuple[list[Any], LabelList]:
    left, right = st.columns([3, 2], gap="large")
    with left:
        files = st.file_uploader(
            "Pictures, or zip archives of them",
            accept_multiple_files=True,
            help=f"Up to {MAX_FILES:,} pictures. They are not kept.",
        )
    with right:
        given = st.file_uploader(
            "Labels, if they are known (CSV)",
            type=["csv", "tsv", "txt"],
            max_upload_size=4,
            help="A first line `file,label`, then a line for each picture. With labels, a "
            "confusion matrix is shown.",
        )
        labels = LabelList() if given is None else read_labels(given.getvalue())
        for problem in labels.problems:
            st.error(plain(problem))
        if labels.labels:
            st.caption(f"{count(len(labels.labels), 'label')} read.")
    return list(files), labels


def _buttons(files: list[Any], labels: LabelList, job: BatchJob | None) -> None:
    running = job is not None and job.running
    row = st.container(horizontal=True)
    number = count_files(files) if files else 0
    text = f"Classify {count(number, 'picture')}" if files else "Classify"
    if row.button(text, type="primary", disabled=not files or running):
        with failures_shown():
            job = BatchJob(client(), image_files(files), number, labels)
            job.start()
            st.session_state[_JOB] = job
            st.rerun()
    if running and job is not None and row.button("Stop", disabled=job.stopped):
        job.stop()
        st.rerun()


@st.fragment(run_every=_EVERY_S)
def _progress(job: BatchJob) -> None:
    if not job.running:
        st.rerun()
    done = len(job.rows())
    st.progress(
        min(1.0, done / max(1, job.total)),
        text=f"{done:,} of {job.total:,} done{'; stopping' if job.stopped else ''}",
    )


def _results(job: BatchJob) -> None:
    rows = job.rows()
    if job.failure is not None:
        st.error(plain(job.failure))
        st.caption(f"{len(rows):,} of {job.total:,} were done before that.")
    elif job.stopped:
        st.info(f"Stopped after {len(rows):,} of {job.total:,}.")
    if not rows:
        return
    st.markdown(plain(" ".join(batch_sentences(rows))))
    kept = _filtered(rows)
    _table(kept)
    st.download_button(
        f"Download {count(len(kept), 'row')} as CSV",
        batch_csv(kept),
        "dermserve-predictions.csv",
        "text/csv",
        on_click="ignore",
        icon=":material/download:",
    )
    _confusion(rows)


def _filtered(rows: Sequence[BatchRow]) -> list[BatchRow]:
    classes, others = st.columns([2, 3], gap="large")
    with classes:
        codes = st.multiselect(
            "Only these diagnoses", CODES, format_func=NAMES.__getitem__, placeholder="All"
        )
    with others:
        kind = st.segmented_control("Show", list(KINDS), default="All files", required=True)
    return [
        row
        for row in rows
        if KINDS[kind or "All files"](row)
        and (not codes or (row.prediction is not None and row.prediction.predicted_class in codes))
    ]


def _table(rows: Sequence[BatchRow]) -> None:
    if not rows:
        st.caption("No file matches.")
        return
    share = st.column_config.ProgressColumn(format="%.1f %%", min_value=0, max_value=100)
    columns = [name for name in rows[0].shown() if name != "Label" or _labelled(rows)]
    st.dataframe(
        [row.shown() for row in rows],
        hide_index=True,
        column_order=columns,
        row_height=64,
        height=min(_TABLE_PIXELS, 40 + 64 * len(rows)),
        column_config={
            "Picture": st.column_config.ImageColumn(width="small"),
            "Probability": share,
            "Malignant score": share,
            "Note": st.column_config.TextColumn(width="large"),
        },
        alt=f"Table of {count(len(rows), 'file')} with their predictions; the CSV file below has "
        "the same rows.",
    )


def _labelled(rows: Sequence[BatchRow]) -> bool:
    return any(row.label is not None for row in rows)


def _confusion(rows: Sequence[BatchRow]) -> None:
    if not _labelled(rows):
        return
    st.header("Confusion matrix", anchor=False)
    matrix = batch_confusion(rows)
    sentences = matrix.sentences()
    st.markdown(plain(" ".join(sentences)))
    if matrix.images:
        st.altair_chart(charts.confusion_heatmap(matrix.counts), alt=" ".join(sentences))
        unlabelled = sum(row.label is None for row in rows)
        if unlabelled:
            st.caption(f"{count(unlabelled, 'file')} without a label {_is(unlabelled)} left out.")


def _is(number: int) -> str:
    return "is" if number == 1 else "are"
