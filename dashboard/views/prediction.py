"""The page of a single prediction: a picture, what the model says of it, and why."""

from __future__ import annotations

import hashlib
from html import escape

import streamlit as st

from dashboard import frame
from dashboard.connection import client, failures_shown
from dashboard.lesion_classes import CODES, NAMES, RISK_COLOURS, name_of, risk_text
from dashboard.prediction_sentences import (
    abstain_sentence,
    alarm_sentence,
    class_sentence,
    score_sentence,
    set_sentence,
    timing_rows,
)
from dashboard.probability_bars import probability_bars
from dashboard.sample_images import NOTE, samples
from dashboard.tables import table_html
from dashboard.thumbnail import thumbnail
from dashboard.upload_sentences import SOURCES, verdict_sentence
from dashboard.wording import megabytes, plain
from dermserve_client import Prediction

_FORMATS = ["jpg", "jpeg", "png", "bmp", "gif", "webp", "tif", "tiff"]
_MAX_MB = 64
"""More than any server takes, so that it is the server that says what is too much."""
_SHOWN_PIXELS = 900
_ANSWERS = "answers"
_TOLD = "told_of_corrections"
_ANSWERS_KEPT = 16


def show() -> None:
    """The page."""
    frame.title("Single prediction", "One dermatoscopic picture, and what the model makes of it.")
    chosen = _choose()
    if chosen is None:
        st.info("Choose a picture above, or one of the samples, and the answer appears here.")
        return
    data, sample = chosen
    left, right = st.columns([5, 6], gap="large")
    with right, failures_shown():
        answer = _predict(data)
        _result(answer)
    answered = _answer_of(data)
    if answered is None:
        return
    with left:
        # Only what the server could read is decoded here as well.
        picture = thumbnail(data, _SHOWN_PIXELS)
        if picture is None:
            st.warning("This picture cannot be shown here.")
        else:
            st.image(picture, width="stretch", alt="The picture that was chosen")
        if sample:
            st.caption(NOTE)
        _grad_cam(data, answered)
    _details(answered)
    _correct(data, sample)


def _choose() -> tuple[bytes, bool] | None:
    """The picture, and whether it is a sample; None if there is none."""
    upload, pick = st.columns([3, 2], gap="large")
    with upload:
        file = st.file_uploader(
            "A picture from your disk",
            type=_FORMATS,
            max_upload_size=_MAX_MB,
            help="JPEG, PNG, BMP, GIF, WebP or TIFF. It is not kept, unless you send it to the "
            "review queue below.",
        )
    if file is not None:
        with pick:
            st.caption("Remove the file to look at a computed sample instead.")
        return file.getvalue(), False
    with pick:
        code = st.selectbox(
            "Or a computed sample",
            [sample.code for sample in samples()],
            index=None,
            format_func=name_of,
            placeholder="Choose a class",
        )
    found = next((sample for sample in samples() if sample.code == code), None)
    return None if found is None else (found.read(), True)


def _predict(data: bytes) -> Prediction:
    """The answer, asked for once for as long as this picture is open.

    Raises:
        DermServeError: the server's.
    """
    known = _answer_of(data)
    if known is None:
        with st.spinner(f"Asking the server ({megabytes(len(data))})"):
            known = client().predict(data)
        answers = st.session_state.setdefault(_ANSWERS, {})
        answers[_digest(data)] = known
        while len(answers) > _ANSWERS_KEPT:
            del answers[next(iter(answers))]
    return known


def _answer_of(data: bytes) -> Prediction | None:
    answer: Prediction | None = st.session_state.get(_ANSWERS, {}).get(_digest(data))
    return answer


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _result(answer: Prediction) -> None:
    risk = answer.diagnosis.risk_level
    sentence = abstain_sentence(answer)
    if sentence is not None:
        st.warning(plain(sentence), icon=":material/help:")
    st.html(
        f'<div class="verdict" style="--risk:{RISK_COLOURS.get(risk, "#1B2733")}">'
        f'<h2 class="name">{escape(answer.class_name)}</h2>'
        f'<p class="risk">{escape(risk_text(risk))}</p>'
        f'<p class="advice">{escape(answer.diagnosis.recommendation)}</p></div>'
    )
    alarm = alarm_sentence(answer)
    if alarm is not None:
        st.warning(plain(alarm), icon=":material/priority_high:")
    st.markdown(plain(answer.diagnosis.description))
    st.markdown(plain(class_sentence(answer)))
    st.html(probability_bars(answer.probabilities, answer.predicted_class, answer.prediction_set))
    st.markdown(plain(set_sentence(answer)))


def _grad_cam(data: bytes, answer: Prediction) -> None:
    if not st.toggle("Show where the evidence lay (Grad-CAM)"):
        return
    code = st.selectbox(
        "Evidence for",
        CODES,
        index=CODES.index(answer.predicted_class),
        format_func=name_of,
    )
    with failures_shown(), st.spinner("Drawing; the first time takes a few seconds"):
        explanation = client().explain(data, explained_class=code)
        st.image(
            explanation.png,
            width="stretch",
            alt=f"The picture under a Grad-CAM map for {name_of(explanation.explained_class)}",
        )
        st.caption(
            f"Where in the picture the model found its evidence for "
            f"{name_of(explanation.explained_class)}: none where it is uncoloured, over purple "
            "and green to the most in yellow. Coarse; no outline of the lesion, and no reason."
        )


def _details(answer: Prediction) -> None:
    st.header("How sure, and how fast", anchor=False)
    score, times = st.columns([6, 5], gap="large")
    with score:
        st.markdown(
            plain(score_sentence("Malignant score", answer.malignant_score, answer.operating_point))
        )
        st.caption(
            "The malignant score is the probability of melanoma, basal cell carcinoma and actinic "
            "keratosis / intraepithelial carcinoma together."
        )
        melanoma = answer.probabilities["mel"]
        st.markdown(plain(score_sentence("Melanoma", melanoma, answer.melanoma_operating_point)))
    with times:
        st.html(
            table_html(
                [{"Stage": name, "Time": time} for name, time in timing_rows(answer)],
                "Time per stage",
            )
        )
        request = f"; request {answer.request_id}" if answer.request_id else ""
        st.caption(plain(f"Model version {answer.model_version}{request}"))


def _correct(data: bytes, sample: bool) -> None:
    with st.expander("This is wrong: send the picture to the review queue"):
        if sample:
            st.caption(
                "A computed sample is nothing to learn from. Choose a picture of your own first."
            )
            return
        with st.form("correct", border=False):
            code = st.selectbox(
                "What it shows",
                [None, *CODES],
                format_func=lambda code: (
                    "I do not know; let somebody review it" if code is None else NAMES[code]
                ),
            )
            source = st.selectbox(
                "How that is known",
                list(SOURCES),
                index=len(SOURCES) - 1,
                format_func=SOURCES.__getitem__,
            )
            st.caption(
                "The server keeps the picture, without its metadata and its name, and learns from "
                "it once it has a label."
            )
            sent = st.form_submit_button("Send", type="primary")
        told = st.session_state.setdefault(_TOLD, {})
        if sent:
            with failures_shown():
                answer = client().upload(
                    [data], [code], label_source=None if code is None else source
                )
                told[_digest(data)] = answer.results[0]
        # It stays for as long as the picture does, whatever else is pressed.
        result = told.get(_digest(data))
        if result is not None:
            good = result.verdict in ("accepted", "needs_label")
            (st.success if good else st.warning)(plain(verdict_sentence(result)))
