"""What a prediction says, in sentences that follow from its numbers."""

from __future__ import annotations

from dashboard.lesion_classes import name_of
from dashboard.wording import duration, listing, percent
from dermserve_client.predictions import ActionPoint, Prediction


def class_sentence(prediction: Prediction) -> str:
    """What the class is, how probable it is, and whether another one is more probable."""
    code = prediction.predicted_class
    likeliest = max(prediction.probabilities, key=lambda each: prediction.probabilities[each])
    chosen = prediction.probabilities[code]
    if likeliest == code:
        return f"The model holds this class for {percent(chosen)} probable, more than any other."
    return (
        f"The picture speaks for this class more than for any other if all seven are taken as "
        f"equally frequent. {name_of(likeliest)} is so common that it is still more probable: "
        f"{percent(prediction.probabilities[likeliest])} against {percent(chosen)}."
    )


def set_sentence(prediction: Prediction) -> str:
    """What cannot be ruled out."""
    names = [name_of(code) for code in prediction.prediction_set]
    if len(names) == 1:
        return f"Only {names[0]} is left; the other six can be ruled out."
    return f"{len(names)} classes cannot be ruled out: {listing(names)}."


def score_sentence(what: str, score: float, point: ActionPoint) -> str:
    """A score against its operating point, and what that point was worth on test images.

    Args:
        what: is scored, such as `Malignant score`.
        score: in [0, 1].
        point: its operating point.
    """
    side = "at or above" if point.exceeded else "below"
    call = "which calls for a closer look" if point.exceeded else "so it raises no alarm"
    return (
        f"{what}: {percent(score)}, {side} the operating point of {percent(point.threshold)}, "
        f"{call}. On test images that point found {percent(point.test_sensitivity)} of those "
        f"that were, and left {percent(point.test_specificity)} of the others alone."
    )


def alarm_sentence(prediction: Prediction) -> str | None:
    """That a score calls for a closer look although the class itself is harmless; or None."""
    if prediction.diagnosis.risk_level == "high":
        return None
    raised = []
    if prediction.operating_point.exceeded:
        raised.append(f"the malignant score ({percent(prediction.malignant_score)})")
    if prediction.melanoma_operating_point.exceeded:
        raised.append(f"the probability of melanoma ({percent(prediction.probabilities['mel'])})")
    if not raised:
        return None
    lies = "lies above its operating point" if len(raised) == 1 else "lie above their points"
    return (
        f"Look closer all the same: {listing(raised)} {lies}. Do not go by the class and its risk "
        "alone."
    )


def abstain_sentence(prediction: Prediction) -> str | None:
    """Why the model should not be relied on for this picture; None if it may be."""
    if not prediction.abstain.abstain:
        return None
    novelty = prediction.novelty
    if prediction.abstain.reason == "out_of_distribution":
        return (
            f"The model abstains. The picture looks unlike those it has learned from (novelty "
            f"{novelty.score:.2f}, limit {novelty.threshold:.2f}): perhaps it is no dermatoscopic "
            "image, or shows something else. Do not rely on the class below; check the picture."
        )
    if prediction.abstain.reason == "too_uncertain":
        return (
            f"The model abstains. {len(prediction.prediction_set)} classes cannot be ruled out, "
            "which is too many for an answer. Do not rely on the class below; ask somebody who "
            "can examine the lesion."
        )
    return f"The model abstains ({prediction.abstain.reason}). Do not rely on the class below."


def timing_rows(prediction: Prediction) -> list[tuple[str, str]]:
    """Stages and what each took; the last is the whole."""
    timings = prediction.timings
    return [
        ("Decoding and cropping", duration(timings.preprocessing)),
        ("Waiting and travelling", duration(timings.queue)),
        ("Neural network", duration(timings.forward)),
        ("In all, inside the server", duration(timings.total)),
    ]
