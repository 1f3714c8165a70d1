"""The page of data and model: what it learned from, what it is worth, and how fast it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import streamlit as st

from dashboard import charts, findings, frame, line_charts
from dashboard.confusion import confusion_sentences
from dashboard.connection import client, evaluation, failures_shown, surroundings
from dashboard.drift_sentences import drift_sentences
from dashboard.failure_text import failure_text
from dashboard.gate_report import version_label
from dashboard.lesion_classes import CODES, name_of
from dashboard.live_metrics import latency_rows, latency_sentence
from dashboard.tables import table_html
from dashboard.wording import interval, plain
from dermserve_client import Client, DataSummary, DermServeError, ModelCard, ModelList

_SPLITS = {"train": "training", "validation": "validation", "test": "test", "uploads": "uploads"}


def show() -> None:
    """The page."""
    frame.title(
        "Data and model",
        "What the model has learned from and what it is worth, from the server's own numbers.",
    )
    with failures_shown():
        known = client().models()
        version = _choose(known)
        _model(version, known)
    st.header("Data", anchor=False)
    with failures_shown():
        summary = client().data_summary()
        _drift(summary)
        _classes(summary)
        _sizes(summary)
        _latency(summary)


def _choose(known: ModelList) -> str:
    by_name = {model.version: model for model in known.models}
    names = list(reversed(by_name))
    chosen = st.selectbox(
        "Version",
        names,
        index=names.index(known.champion) if known.champion in by_name else 0,
        format_func=lambda name: version_label(by_name[name]),
    )
    return str(chosen)


def _model(version: str, known: ModelList) -> None:
    st.header("Model", anchor=False)
    card = client().model(version)
    by_class = card.manifest["metrics"].get("test", {}).get("by_class", {})
    report = _report(card)
    found = report.get("evaluation", {})
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Performance by class", anchor=False)
        sentence = findings.performance_finding(by_class)
        st.markdown(plain(sentence))
        if by_class:
            st.altair_chart(charts.performance_heatmap(by_class), alt=sentence)
    with right:
        _reliability(found)
    left, right = st.columns(2, gap="large")
    with left:
        _confusion(found)
    with right:
        _versions(known)
    _curves(report)
    _subgroups(found)
    _documents(version, card.card, card.report)


def _report(card: ModelCard) -> dict[str, Any]:
    """Numbers of a version's report; nothing if it came without one."""
    if not card.report:
        st.info("This version came without an evaluation report.")
        return {}
    return evaluation(card.version, card.package_hash)


def _reliability(evaluation: Mapping[str, Any]) -> None:
    st.subheader("Do its probabilities mean what they say?", anchor=False)
    bins = evaluation.get("reliability", [])
    sentence = findings.reliability_finding(bins, evaluation.get("expected_calibration_error"))
    st.markdown(plain(sentence))
    if bins:
        st.altair_chart(line_charts.reliability_diagram(bins), alt=sentence)


def _confusion(evaluation: Mapping[str, Any]) -> None:
    st.subheader("What it confuses", anchor=False)
    confusion = evaluation.get("confusion")
    if confusion is None or list(confusion["classes"]) != list(CODES):
        st.caption("This version came without a confusion matrix.")
        return
    sentences = confusion_sentences(confusion["counts"])
    st.markdown(plain(" ".join(sentences)))
    st.altair_chart(charts.confusion_heatmap(confusion["counts"]), alt=" ".join(sentences))


def _versions(known: ModelList) -> None:
    st.subheader("Over the versions", anchor=False)
    scores = [
        (model.version, model.metrics["balanced_accuracy"])
        for model in known.models
        if "balanced_accuracy" in model.metrics
    ]
    sentence = findings.versions_finding(scores, known.champion)
    st.markdown(plain(sentence))
    if len(scores) > 1:
        st.altair_chart(line_charts.versions_line(scores, known.champion), alt=sentence)
        st.caption("On the frozen test images, the same for all. A diamond marks what serves.")


def _curves(report: Mapping[str, Any]) -> None:
    st.subheader("Training", anchor=False)
    history = report.get("history", [])
    sentence = findings.history_finding(history)
    st.markdown(plain(sentence))
    if not history:
        return
    left, right = st.columns(2, gap="large")
    for column, key, title in (
        (left, "balanced_accuracy", "balanced accuracy"),
        (right, "loss", "training loss"),
    ):
        chart = line_charts.training_curve(history, key, title)
        column.altair_chart(chart, alt=f"Curve of {title}. {sentence}")


def _subgroups(evaluation: Mapping[str, Any]) -> None:
    st.subheader("Subgroups", anchor=False)
    groups = evaluation.get("subgroups", [])
    overall = evaluation.get("balanced_accuracy", {}).get("value")
    st.markdown(plain(findings.subgroup_finding(groups, overall)))
    if not groups:
        return
    with st.expander(f"All {len(groups)} groups"):
        st.dataframe(
            [
                {
                    "Attribute": group["kind"],
                    "Group": group["name"],
                    "Images": group["images"],
                    "Lesions": group["lesions"],
                    "Balanced accuracy": _estimate(group["balanced_accuracy"]),
                    "Sensitivity": _estimate(group["sensitivity"]),
                    "Specificity": _estimate(group["specificity"]),
                }
                for group in groups
            ],
            hide_index=True,
            alt="Table of subgroups with 95 % intervals",
        )
        st.caption(
            "Sensitivity and specificity: malignant against benign, at the operating point. "
            "In brackets, 95 % intervals. Empty: too few images to tell."
        )


def _estimate(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None:
        return ""
    return interval(estimate["value"], estimate["low"], estimate["high"], 2)


def _report_of(asked: Client, version: str) -> Callable[[], bytes]:
    """Fetches the report once somebody wants the file; what goes wrong stands in it."""

    def fetch() -> bytes:
        try:
            return asked.model_report(version).encode()
        except DermServeError as error:
            return f"<!doctype html><p>{escape(failure_text(error))}</p>".encode()

    return fetch


def _documents(version: str, card: str | None, report: bool) -> None:
    row = st.container(horizontal=True)
    if report:
        with row:
            st.download_button(
                "Evaluation report (HTML)",
                _report_of(client(), version),
                f"dermserve-{version}-report.html",
                "text/html",
                on_click="ignore",
                icon=":material/download:",
            )
            st.link_button(
                "Open it on the server",
                f"{surroundings().public_url}/models/{version}/report",
                icon=":material/open_in_new:",
            )
    if card is not None:
        with st.expander("Model card"):
            # Text and tables; a picture would be fetched from wherever the card says.
            st.markdown(card.replace("![", "!\\["))


def _drift(summary: DataSummary) -> None:
    st.subheader("Live images beside the validation images", anchor=False)
    sentences = " ".join(drift_sentences(summary.drift))
    st.markdown(plain(sentences))
    if summary.drift is None or summary.drift.class_mix is None:
        return
    mix = summary.drift.class_mix
    shares = {
        "answers to validation images": mix.expected,
        "answers to live images": mix.predicted,
        "live images, estimated": mix.estimated,
    }
    st.altair_chart(charts.share_bars(shares), alt=sentences)
    st.caption(
        "Of live images the server keeps numbers for a while and no pixels. A difference is "
        "called one if chance alone would show as much less than 1 % of the time."
    )


def _classes(summary: DataSummary) -> None:
    st.subheader("Classes", anchor=False)
    splits: dict[str, dict[str, int]] = {}
    if summary.model is not None:
        splits = {
            _SPLITS[name]: counts
            for name, counts in summary.model.splits.items()
            if name in _SPLITS
        }
    if summary.uploads is not None and any(summary.uploads.labelled.values()):
        splits["uploads"] = summary.uploads.labelled
    if not splits:
        st.caption("The server does not say at the moment what the model learned from.")
        return
    total = {code: sum(each.get(code, 0) for each in splits.values()) for code in CODES}
    sentence = findings.class_finding(total, "images")
    st.markdown(plain(sentence))
    st.altair_chart(charts.class_bars(splits), alt=sentence)
    st.caption("The axis is logarithmic, so that rare classes show; the numbers are exact.")
    with st.expander("As a table"):
        rows = [
            {"Class": name_of(code)}
            | {name: f"{counts.get(code, 0):,}" for name, counts in splits.items()}
            for code in CODES
        ]
        st.html(table_html(rows, "Images by class"))


def _sizes(summary: DataSummary) -> None:
    st.subheader("Sizes of uploaded images", anchor=False)
    if summary.uploads is None:
        st.caption("The server does not say at the moment what has been uploaded.")
        return
    sizes = [(size.width, size.height, size.images) for size in summary.uploads.sizes]
    stored = sum(summary.uploads.labelled.values()) + summary.uploads.needs_label
    sentence = findings.size_finding(sizes, stored)
    st.markdown(plain(sentence))
    if sizes:
        st.altair_chart(charts.size_bars(sizes), alt=sentence)


def _latency(summary: DataSummary) -> None:
    st.subheader("How long answers take", anchor=False)
    if summary.latency is None:
        st.caption("The server does not say at the moment how long answers take.")
        return
    sentence = latency_sentence(summary.latency)
    st.markdown(plain(sentence))
    rows = latency_rows(summary.latency)
    if rows:
        st.altair_chart(
            charts.bars(rows, "seconds", "requests", "time inside the server"), alt=sentence
        )
