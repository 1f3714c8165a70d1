"""The review page: pictures without a label, or with one that the model doubts."""

from __future__ import annotations

import streamlit as st

from dashboard import frame
from dashboard.connection import client, failures_shown
from dashboard.lesion_classes import CLASSES, name_of
from dashboard.probability_bars import probability_bars
from dashboard.review_desk import DOUBT_BELOW, ReviewDesk, disputed
from dashboard.upload_sentences import SOURCES, source_name
from dashboard.wording import at, count, megabytes, percent, plain
from dermserve_client import NotFound, Upload
from dermserve_client.review_queue import UploadChange

_DESK = "review_desk"
_SAID = "review_said"
_OPINION = "opinion_of"
_FETCHED = 100
_LOOKED_THROUGH = 200
_QUEUES = {"unlabelled": "Without a label", "disputed": "Disputed labels"}


def show() -> None:
    """The page."""
    frame.title(
        "Review queue",
        "Pictures that need a reader: the model was least certain of the first ones.",
    )
    desk: ReviewDesk = st.session_state.setdefault(_DESK, ReviewDesk())
    queue = st.segmented_control(
        "Queue", list(_QUEUES), format_func=_QUEUES.__getitem__, default="unlabelled", required=True
    )
    if said := st.session_state.pop(_SAID, None):
        st.toast(said)
    with failures_shown():
        waiting, total = _waiting(desk, queue or "unlabelled")
        upload = desk.next_of(waiting)
        _head(desk, queue or "unlabelled", total)
        if upload is None:
            _empty(desk, bool(waiting))
            return
        left, right = st.columns([5, 6], gap="large")
        with left:
            _picture(upload)
        with right:
            _labels(desk, upload)


def _waiting(desk: ReviewDesk, queue: str) -> tuple[list[Upload], int]:
    """Pictures of a queue, and how many there are in all."""
    if queue == "unlabelled":
        page = client().list_uploads(status="needs_label", order="uncertainty", limit=_FETCHED)
        return list(page.uploads), page.total
    page = client().list_uploads(status="labelled", order="newest", limit=_LOOKED_THROUGH)
    found = desk.without_labelled(disputed(page.uploads))
    return found, len(found)


def _head(desk: ReviewDesk, queue: str, total: int) -> None:
    if queue == "unlabelled":
        said = f"{count(total, 'picture')} {'waits' if total == 1 else 'wait'} for a label."
    else:
        said = (
            f"{count(total, 'label')} among the newest {_LOOKED_THROUGH} that the model held for "
            f"less than {percent(DOUBT_BELOW, 0)} probable. It may be the model that is wrong."
        )
    st.markdown(plain(f"{said} You have labelled {len(desk.done)} in this session."))


def _empty(desk: ReviewDesk, skipped: bool) -> None:
    if skipped:
        st.info("All that is left was skipped.")
        if st.button("Look at the skipped ones"):
            desk.skipped.clear()
            st.rerun()
    else:
        st.success("Nothing waits here.")
    _undo(desk)


def _picture(upload: Upload) -> None:
    try:
        image = client().upload_image(upload.id)
    except NotFound:
        st.warning("This picture has been removed. Reload the page.")
        return
    st.image(image, width="stretch", alt="The picture to label")
    facts = [
        f"{upload.width} x {upload.height} pixels, {megabytes(upload.size_bytes)}",
        f"uploaded {at(upload.created)} UTC",
    ]
    if upload.lesion_id:
        facts.append(f"lesion {upload.lesion_id}")
    st.caption(plain("; ".join(facts)))


def _labels(desk: ReviewDesk, upload: Upload) -> None:
    st.subheader("What does it show?", anchor=False)
    if upload.label is not None:
        known = source_name(upload.label_source).lower()
        st.markdown(plain(f"Labelled {name_of(upload.label)} ({known})."))
    for number, each in enumerate(CLASSES, start=1):
        st.button(
            each.label,
            key=f"label_{each.code}",
            shortcut=str(number),
            on_click=_label,
            args=(desk, upload, each.code),
            width="stretch",
        )
    st.selectbox(
        "How that is known",
        list(SOURCES),
        index=len(SOURCES) - 1,
        format_func=SOURCES.__getitem__,
        key="review_source",
    )
    row = st.container(horizontal=True)
    row.button("Skip", shortcut="s", on_click=desk.skip, args=(upload,))
    with row:
        _undo(desk)
    row.button("Remove ...", on_click=_remove, args=(upload,))
    _opinion(upload)
    st.caption("Keys: 1 to 7 label, S skips, U takes the last label back, M asks the model.")


def _label(desk: ReviewDesk, upload: Upload, code: str) -> None:
    change: UploadChange = {"label": code, "label_source": st.session_state["review_source"]}
    with failures_shown():
        client().change_upload(upload.id, change)
        desk.labelled(upload, code)
        st.session_state[_SAID] = f"Labelled {name_of(code)}. U takes it back."


def _undo(desk: ReviewDesk) -> None:
    text = f"Undo ({name_of(desk.done[-1].label)})" if desk.done else "Undo"
    st.button(text, shortcut="u", disabled=not desk.done, on_click=_take_back, args=(desk,))


def _take_back(desk: ReviewDesk) -> None:
    if not desk.done:
        return
    last = desk.done[-1]
    with failures_shown():
        client().change_upload(last.upload_id, last.way_back())
        desk.undone()
        st.session_state[_SAID] = f"{name_of(last.label)} was taken back."


@st.dialog("Remove a picture")
def _remove(upload: Upload) -> None:
    st.markdown("The picture and all that is known of it are deleted. That cannot be undone.")
    if st.button("Remove", type="primary"):
        with failures_shown():
            client().delete_upload(upload.id)
            st.session_state[_SAID] = "Removed."
            st.rerun()


def _opinion(upload: Upload) -> None:
    """Hidden until asked for, because whoever knows it sees what it says."""
    if upload.prediction is None:
        st.caption("The model was not asked when this picture came.")
        return
    if st.session_state.get(_OPINION) != upload.id:
        st.button("What does the model say?", shortcut="m", on_click=_ask, args=(upload.id,))
        return
    probabilities = upload.prediction.probabilities
    st.html(probability_bars(probabilities))
    st.caption(
        plain(
            f"Version {upload.prediction.model_version}, when the picture came; uncertainty "
            f"{percent(upload.prediction.uncertainty, 0)}."
        )
    )


def _ask(upload_id: str) -> None:
    st.session_state[_OPINION] = upload_id
