"""The connection of a page: a client of the server, its key, and failures as sentences."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import streamlit as st

from dashboard.failure_text import AWAY, failure_text, health_problem
from dashboard.live_metrics import Readings
from dashboard.surroundings import Surroundings
from dashboard.training_feed import TrainingFeed
from dashboard.wording import plain
from dermserve_client import Client, DermServeError, Health, Retries, Unreachable

logger = logging.getLogger(__name__)

KEY = "api_key"
"""Where the session keeps the key: in the memory of this process, until the tab is closed."""

_TIMEOUT_S = 60.0
_HEALTH_TIMEOUT_S = 6.0
_HASTY = Retries(total_s=0)
_PATIENT = Retries(total_s=6)


@st.cache_resource
def surroundings() -> Surroundings:
    """Addresses, as the process found them when it started."""
    return Surroundings.of()


@st.cache_resource(max_entries=64, show_spinner=False, on_release=Client.close)
def _client(url: str, key: str) -> Client:
    return Client(url, api_key=key or None, timeout_s=_TIMEOUT_S, retries=_PATIENT)


@st.cache_resource(max_entries=64, show_spinner=False, on_release=Client.close)
def _health_client(url: str) -> Client:
    return Client(url, timeout_s=_HEALTH_TIMEOUT_S, retries=_HASTY)


@st.cache_resource(max_entries=64, show_spinner=False)
def _readings(url: str, key: str) -> Readings:
    return Readings()


@st.cache_resource(max_entries=64, show_spinner=False)
def _feed(url: str, key: str) -> TrainingFeed:
    return TrainingFeed(_client(url, key))


def _address() -> tuple[str, str]:
    return surroundings().url, st.session_state.get(KEY, "")


def client() -> Client:
    """The client of this session.

    Raises:
        Unreachable: at once, if the server was away a moment ago; a page asks for many things,
            and would wait for each.
    """
    _, problem = health()
    if problem == AWAY:
        raise Unreachable(AWAY)
    return _client(*_address())


@st.cache_data(ttl=300, max_entries=32, show_spinner=False)
def _evaluation(url: str, version: str, package_hash: str, _client: Client) -> dict[str, Any]:
    return _client.model_evaluation(version)


def evaluation(version: str, package_hash: str) -> dict[str, Any]:
    """Numbers of a version's report, kept for all sessions: they belong to the package.

    Args:
        version: its name.
        package_hash: as the server has just told it to this session.

    Raises:
        NotFound: if there is no report of it.
    """
    return _evaluation(surroundings().url, version, package_hash, client())


def readings() -> Readings:
    """Readings of the server's metrics, shared by all sessions with the same key."""
    return _readings(*_address())


def feed() -> TrainingFeed:
    """The training feed, shared likewise."""
    return _feed(*_address())


@st.cache_data(ttl=1.5, show_spinner=False)
def _health(url: str) -> tuple[Health | None, str | None]:
    try:
        return _health_client(url).health(), None
    except DermServeError as error:
        return None, health_problem(error)


def health() -> tuple[Health | None, str | None]:
    """How the server is, or in words why that cannot be told; not older than 1.5 s."""
    return _health(surroundings().url)


@contextmanager
def failures_shown() -> Iterator[None]:
    """Show a failure of the server as a sentence in place of what would have stood there."""
    try:
        yield
    except Unreachable:
        # Said once, at the head of the page, which also notices when it is over.
        st.caption("Waiting for the server.")
    except DermServeError as error:
        st.error(plain(failure_text(error)))
