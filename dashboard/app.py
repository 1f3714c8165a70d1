"""The app that Streamlit runs: the list of pages, and the frame around the one that is open."""

from __future__ import annotations

import logging

import streamlit as st
from streamlit.navigation.page import StreamlitPage as Page

from dashboard import frame
from dashboard.failure_text import MISTAKE
from dashboard.views import batch, data_and_model, learning, prediction, review, status

logger = logging.getLogger(__name__)


def _pages() -> list[Page]:
    return [
        st.Page(show, title=title, icon=f":material/{icon}:", url_path=path, default=default)
        for show, title, icon, path, default in (
            (prediction.show, "Single prediction", "dermatology", "prediction", True),
            (batch.show, "Batch prediction", "grid_view", "batch", False),
            (review.show, "Review queue", "rate_review", "review", False),
            (learning.show, "Upload and retraining", "model_training", "learning", False),
            (data_and_model.show, "Data and model", "query_stats", "model", False),
            (status.show, "Status", "monitor_heart", "status", False),
        )
    ]


def main() -> None:
    """One run of the script."""
    st.set_page_config(page_title="DermServe", page_icon=str(frame.ICON), layout="wide")
    frame.style()
    page = st.navigation(_pages())
    frame.sidebar()
    frame.watch()
    try:
        page.run()
    except Exception:
        logger.exception("The page %r failed", page.title)
        st.error(MISTAKE)
    frame.footer()


main()
