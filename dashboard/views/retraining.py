"""The retraining part of the learning page: how far it is, live, and what it came to."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboard import line_charts
from dashboard.connection import client, evaluation, failures_shown, feed
from dashboard.gate_report import decision_sentence, rule_rows, side_by_side
from dashboard.run_sentences import (
    history_rows,
    rollout_sentence,
    run_sentence,
)
from dashboard.tables import table_html
from dashboard.upload_sentences import missing_sentence
from dashboard.wording import plain
from dermserve_client import Missing, NotFound, RetrainStatus, Run

_EVERY_S = 1.0
_SEEN = "run_seen"
_WHOLE = "whole_page_drawn"
_MEASURES = {"balanced_accuracy": "balanced accuracy", "loss": "loss"}


def show() -> None:
    """Progress, the last run's report, and all runs."""
    st.header("Retraining", anchor=False)
    st.session_state[_WHOLE] = True
    _live()
    with failures_shown():
        runs = client().retrain_history(limit=20).runs
        judged = [run for run in runs if run.decision is not None]
        if judged:
            _report(judged)
        with st.expander(f"All retrainings ({len(runs)})", expanded=False):
            if runs:
                st.html(table_html(history_rows(runs), "Retrainings, the newest first"))
            else:
                st.caption("There has been none yet.")


@st.fragment(run_every=_EVERY_S)
def _live() -> None:
    whole = st.session_state.pop(_WHOLE, False)
    status, problem = feed().look()
    if problem is not None:
        st.error(plain(problem))
    if status is None:
        if problem is None:
            st.caption("Listening to the trainer.")
        return
    _threshold(status.waiting)
    if status.run is not None:
        _running(status.run)
    elif status.last is not None:
        st.markdown(plain(f"The last run, {status.last.id}: {run_sentence(status.last)}"))
    if status.rollout is not None and status.rollout.state not in ("completed",):
        st.info(plain(rollout_sentence(status.rollout)))
    _start_and_cancel(status)
    _renew(status, whole)


def _threshold(waiting: Missing) -> None:
    share = min(1.0, waiting.new_images / max(1, waiting.threshold))
    st.progress(share, text=plain(missing_sentence(waiting)))


def _running(run: Run) -> None:
    st.progress(min(1.0, run.progress), text=plain(f"Run {run.id}: {run_sentence(run)}"))
    curves = feed().curve(run.id)
    drawn = [name for name in _MEASURES if len(curves.get(name, [])) > 1]
    if drawn:
        name = drawn[0]
        (_, first), (_, last) = curves[name][0], curves[name][-1]
        st.altair_chart(
            line_charts.run_curve(curves[name], _MEASURES[name]),
            alt=f"The {_MEASURES[name]} of run {run.id}, from {first:.3f} to {last:.3f}",
        )


def _start_and_cancel(status: RetrainStatus) -> None:
    row = st.container(horizontal=True)
    if status.run is None:
        start = row.button("Retrain now", help="Without waiting for more images")
        if start:
            with failures_shown():
                run = client().retrain()
                st.toast(f"Run {run.id} is queued.")
    elif not status.run.cancel_requested:
        stop = row.button("Stop the retraining", help="It stops after the step it is in")
        if stop:
            with failures_shown():
                client().cancel_retrain()
                st.toast("Asked to stop; it does so after the step it is in.")


def _renew(status: RetrainStatus, whole: bool) -> None:
    """Show the rest of the page anew when a run or a rollout has ended.

    Not while the whole page is being drawn: the rest is new then anyway, and to begin again would
    lose the button that somebody pressed below.
    """
    rollout = status.rollout
    now = (
        status.last.id if status.last is not None else None,
        (rollout.id, rollout.state) if rollout is not None else None,
    )
    before = st.session_state.get(_SEEN)
    st.session_state[_SEEN] = now
    if before is not None and before != now and not whole:
        st.rerun()


def _report(judged: list[Run]) -> None:
    st.subheader("Gate report", anchor=False)
    by_id = {run.id: run for run in judged}
    chosen = st.selectbox(
        "Run",
        list(by_id),
        format_func=lambda number: (
            f"Run {number}: version {by_id[number].challenger_version}, {by_id[number].state}"
        ),
    )
    run = by_id[chosen]
    decision: dict[str, Any] = run.decision or {}
    passed = bool(decision.get("passed"))
    (st.success if passed else st.warning)(plain(decision_sentence(decision)))
    _side_by_side(run)
    st.html(table_html(rule_rows(decision), "Rules of the gate"))


def _side_by_side(run: Run) -> None:
    if run.champion_version is None or run.challenger_version is None:
        return
    names = (run.champion_version, run.challenger_version)
    hashes = {model.version: model.package_hash for model in client().models().models}
    try:
        champion, challenger = (evaluation(name, hashes[name]) for name in names)
    except (KeyError, NotFound):
        st.caption("One of the two versions is not in the registry, or came without a report.")
        return
    rows = side_by_side(champion["evaluation"], challenger["evaluation"], names)
    if rows:
        st.html(table_html(rows, "Champion and challenger"))
        st.caption("On the frozen test images, the same for both. In brackets, 95 % intervals.")
