"""The versions part of the learning page: promote one, or go back, after a question."""

from __future__ import annotations

import streamlit as st

from dashboard.connection import client, failures_shown
from dashboard.gate_report import version_label
from dashboard.run_sentences import rollout_sentence
from dashboard.tables import table_html
from dashboard.wording import at, plain
from dermserve_client import ModelSummary

_SAID = "rollout_said"


def show() -> None:
    """All versions, and what can be done with them."""
    st.header("Versions", anchor=False)
    if said := st.session_state.pop(_SAID, None):
        st.success(plain(said))
    with failures_shown():
        known = client().models()
        st.html(
            table_html(
                [_row(model) for model in reversed(known.models)], "Versions, the newest first"
            )
        )
        others = [model for model in reversed(known.models) if not model.champion]
        row = st.container(horizontal=True, vertical_alignment="bottom")
        if others:
            with row:
                by_name = {model.version: model for model in others}
                chosen = st.selectbox(
                    "Another version",
                    list(by_name),
                    format_func=lambda name: version_label(by_name[name]),
                    width=320,
                )
                if st.button("Promote it ..."):
                    _promote(by_name[chosen], known.champion)
        if known.previous is not None and row.button(f"Roll back to {known.previous} ..."):
            _roll_back(known.previous, known.champion)


def _row(model: ModelSummary) -> dict[str, str]:
    score = model.metrics.get("balanced_accuracy")
    verdicts = {"passed": "✓ passed", "refused": "✗ refused", None: ""}
    return {
        "Version": f"{model.version} (serves)" if model.champion else model.version,
        "Registered (UTC)": at(model.registered),
        "Balanced accuracy": "" if score is None else f"{score:.3f}",
        "Gate": verdicts.get(model.verdict, model.verdict or ""),
        "Replicas": str(model.replicas),
        "Why": model.reason or "",
    }


@st.dialog("Promote a version")
def _promote(model: ModelSummary, champion: str) -> None:
    st.markdown(plain(f"Version {model.version} is to serve instead of version {champion}."))
    force = False
    if model.verdict == "refused":
        st.warning(plain(f"The gate refused it. {model.reason or ''}"))
        force = st.checkbox("Promote it all the same; the audit log will say so")
    sure = model.verdict != "refused" or force
    if st.button("Promote", type="primary", disabled=not sure):
        with failures_shown():
            st.session_state[_SAID] = rollout_sentence(client().promote(model.version, force=force))
            st.rerun()


@st.dialog("Roll back")
def _roll_back(previous: str, champion: str) -> None:
    st.markdown(plain(f"Version {previous} is to serve again instead of version {champion}."))
    if st.button("Roll back", type="primary"):
        with failures_shown():
            st.session_state[_SAID] = rollout_sentence(client().rollback())
            st.rerun()
