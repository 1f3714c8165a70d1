"""The frame around each page: title, state of the server, key, and what this is for."""

from __future__ import annotations

from html import escape
from pathlib import Path

import streamlit as st

from dashboard.connection import KEY, health, surroundings
from dashboard.failure_text import SLOW
from dashboard.wording import plain

RESEARCH_USE = (
    "For research and education only: decision support, not a diagnosis and not a medical device."
)

_STYLE = Path(__file__).with_name("style.css")
ICON = Path(__file__).with_name("icon.png")
_LOOK_EVERY_S = 2.0
_WAS_AWAY = "server_was_away"


def style() -> None:
    """Rules that hold for all pages."""
    st.html(_STYLE)


def title(text: str, lead: str) -> None:
    """Head of a page.

    Args:
        text: its name.
        lead: a sentence that says what it is for.
    """
    st.title(text, anchor=False)
    st.html(f'<p class="lead">{escape(lead)}</p>')


def footer() -> None:
    """What all of this is for."""
    st.html(f'<p class="use" role="note">{escape(RESEARCH_USE)}</p>')


@st.fragment(run_every=_LOOK_EVERY_S)
def watch() -> None:
    """Say so when the server is away, and show the page anew when it is back."""
    found, problem = health()
    if problem == SLOW:
        st.warning(SLOW, icon=":material/hourglass_top:")
    elif found is None or found.status == "unreachable":
        st.session_state[_WAS_AWAY] = True
        reason = problem or (found.reason if found is not None else None) or ""
        st.error(plain(reason), icon=":material/cloud_off:")
        st.caption(f"Address: `{surroundings().url}` (DERMSERVE_URL)")
    elif st.session_state.pop(_WAS_AWAY, False):
        st.rerun()
    elif found is not None and found.status != "ok":
        st.warning(plain(found.reason or "The model is not ready yet."), icon=":material/pending:")


def sidebar() -> None:
    """The key, below the list of pages."""
    with st.sidebar, st.expander("API key", icon=":material/key:"):
        st.text_input(
            "API key",
            type="password",
            key="_key_input",
            label_visibility="collapsed",
            placeholder="Paste a key",
            on_change=_keep_key,
            autocomplete="off",
        )
        if st.session_state.get(KEY):
            st.caption("A key is in use until this tab is closed.")
            st.button("Forget the key", on_click=_forget_key)
        else:
            st.caption(
                "Only a server with keys asks for one: to predict, upload, review or retrain, as "
                "the roles of the key allow."
            )


def _keep_key() -> None:
    key = st.session_state["_key_input"].strip()
    if key.isascii() and key.isprintable():
        st.session_state[KEY] = key
    else:
        st.toast("This is no API key: it holds characters that no key has. Copy it anew.")
    st.session_state["_key_input"] = ""


def _forget_key() -> None:
    st.session_state.pop(KEY, None)
