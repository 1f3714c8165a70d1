"""The status page: how the server is now, and what the last minutes were like."""

from __future__ import annotations

from datetime import datetime

import streamlit as st

from dashboard import frame, line_charts
from dashboard.connection import client, failures_shown, health, readings, surroundings
from dashboard.live_metrics import window_sentence
from dashboard.tables import Figure, figures_html, table_html
from dashboard.wording import ago, at, count, duration, plain
from dermserve_client import DermServeError, Health, Metrics, Rollout
from dermserve_client.traffic import Window

_EVERY_S = 2.0
_FRESH_S = 1.5
"""Less, or a browser that asks a little early would miss every other reading."""

_WINDOW_S = 300.0

STAGES = {
    "ingress": "Ingress (HTTP)",
    "preprocessor": "Preprocessing",
    "classifier": "Classifier",
    "explainer": "Grad-CAM",
    "archive": "Uploads",
    "trainer": "Trainer",
}
_KINDS = {
    "promotion": "promoted",
    "rollback": "rolled back to",
    "automatic_rollback": "went back by itself to",
}


def show() -> None:
    """The page."""
    frame.title("Status", "How the server is, what it runs on, and how fast it has been lately.")
    _now()
    st.header("The last minutes", anchor=False)
    _live()
    st.header("Versions over time", anchor=False)
    _timeline()
    st.header("Elsewhere", anchor=False)
    _links()


def _now() -> None:
    found, _ = health()
    if found is None:
        st.caption("Waiting for the server.")
        return
    model, engine, path = found.model or {}, found.engine or {}, found.data_path
    figures = [
        Figure(
            "Server",
            "Ready" if found.status == "ok" else "Not ready",
            f"Up for {duration(found.uptime_s)}",
        ),
        Figure("Model version", str(model.get("version", "none")), _age(model.get("created"))),
        Figure("Engine", str(engine.get("name", "none")), _engine(engine)),
        Figure(
            "In progress",
            count(found.waiting, "image"),
            f"Proxy: {path.get('proxy', 'unknown')}; handles: {path.get('handles', 'unknown')}",
        ),
    ]
    st.html(figures_html(figures))
    _notes(found)


def _age(created: object) -> str:
    if not isinstance(created, str):
        return "No model is loaded"
    return f"Made {ago(datetime.fromisoformat(created))}"


def _engine(engine: dict[str, object]) -> str:
    if not engine:
        return "No engine runs"
    return f"{engine.get('precision', '')} on {engine.get('device', 'an unknown device')}"


def _notes(found: Health) -> None:
    if found.load_error:
        st.warning(plain(f"The last change of the model failed. {found.load_error}"))
    if found.standby:
        st.info(
            plain(f"Version {found.standby} is kept warm: a change to it would take no loading.")
        )
    if found.standby_error:
        st.warning(plain(f"No version is kept warm. {found.standby_error}"))


@st.fragment(run_every=_EVERY_S)
def _live() -> None:
    with failures_shown():
        kept = readings()
        if kept.due(_FRESH_S):
            try:
                kept.add(client().metrics())
            except DermServeError:
                kept.missed()
                raise
        window, latest = kept.window(_WINDOW_S), kept.latest()
        if latest is None:
            return
        _figures(window, latest)
        st.markdown(plain(window_sentence(window)))
        rates = kept.rates(_WINDOW_S)
        if len(rates) > 1:
            st.altair_chart(
                line_charts.rate_line(rates),
                alt=f"Line of requests per second. {window_sentence(window)}",
            )
        _replicas(latest)


def _figures(window: Window | None, latest: Metrics) -> None:
    figures = [Figure("Requests/s", "..." if window is None else f"{window.rate:.1f}")]
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        seconds = None if window is None else window.quantile(share)
        figures.append(Figure(name, "none" if seconds is None else duration(seconds)))
    ingress = latest.stages.get("ingress")
    figures.append(Figure("Queue now", "unknown" if ingress is None else f"{ingress.waiting}"))
    st.html(figures_html(figures))


def _replicas(latest: Metrics) -> None:
    if not latest.replicas:
        st.caption("Ray Serve does not say which replicas run.")
        return
    known = list(STAGES)
    names = sorted(
        latest.replicas, key=lambda name: known.index(name) if name in known else len(known)
    )
    rows = [_replica_row(name, latest) for name in names]
    st.html(table_html(rows, "Replicas of each stage, and what they have done since they started"))


def _replica_row(name: str, latest: Metrics) -> dict[str, str]:
    replicas = latest.replicas[name]
    others = [
        f"{number} {state.lower()}"
        for state, number in replicas.states.items()
        if state != "RUNNING" and number
    ]
    counts = latest.stages.get(name)
    images = {} if counts is None else counts.images
    return {
        "Stage": STAGES.get(name, name),
        "Replicas": str(replicas.states.get("RUNNING", 0)),
        "Other states": ", ".join(others),
        "State": replicas.status.capitalize().replace("_", " "),
        # A stage that counts nothing has an empty cell, which is not the same as none.
        "Images taken": "" if counts is None else f"{images.get('taken', 0):,}",
        "Refused": "" if counts is None else f"{images.get('rejected', 0):,}",
        "Too late": "" if counts is None else f"{images.get('expired', 0):,}",
    }


def _timeline() -> None:
    with failures_shown():
        known = client().models()
        st.markdown(
            f"Version **{plain(known.champion)}** serves"
            + (f"; before it, version {plain(known.previous)} did." if known.previous else ".")
        )
        if not known.rollouts:
            st.caption("No version has been rolled out yet: it is the one the server began with.")
            return
        rows = [_rollout(each) for each in known.rollouts]
        st.html(table_html(rows, "Versions as they came and went, the newest first"))


def _rollout(rollout: Rollout) -> dict[str, str]:
    return {
        "When (UTC)": at(rollout.created),
        "What": f"{_KINDS.get(rollout.kind, rollout.kind)} {rollout.to_version}",
        "Before": rollout.from_version,
        "State": rollout.state.capitalize(),
        "By": rollout.actor,
        "Why": rollout.reason or "",
    }


def _links() -> None:
    places = surroundings()
    links = {"API documentation": f"{places.public_url}/docs", **places.links}
    st.markdown(" · ".join(f"[{name}]({address})" for name, address in links.items()))
    missing = [name for name in ("Grafana", "Load report (Locust)") if name not in places.links]
    if missing:
        st.caption(
            "Not linked, because this dashboard was not told where they are: "
            f"{', '.join(missing)} (DERMSERVE_GRAFANA_URL, DERMSERVE_LOAD_REPORT_URL)."
        )
