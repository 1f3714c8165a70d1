"""Findings: what the numbers of an evaluation say, in sentences computed from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from training.results import Calibration, Estimate, Evaluation, OperatingPointResult, Subgroup


def with_interval(estimate: Estimate | None, digits: int = 3) -> str:
    """`0.734 (0.690 to 0.775)`, without the bracket where there is no interval."""
    if estimate is None:
        return "\N{EN DASH}"
    value = f"{estimate.value:.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} ({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"


def headline(evaluation: Evaluation) -> str:
    """Balanced accuracy and accuracy, beside what always answering nv gets."""
    present = sum(result.images > 0 for result in evaluation.by_class.values())
    gain = evaluation.accuracy.value - evaluation.accuracy_always_nv
    beside = (
        f"{100 * gain:.1f} points more than"
        if gain > 0.0005
        else f"{-100 * gain:.1f} points less than"
        if gain < -0.0005
        else "as much as"
    )
    share = evaluation.balanced_accuracy.value
    return (
        f"Averaged over the {present} classes present, {_per_100(share)} images get the right "
        f"class: balanced accuracy "
        f"{with_interval(evaluation.balanced_accuracy)}; always answering nv would reach "
        f"{1 / present if evaluation.by_class['nv'].images else 0:.3f}. Plain accuracy is "
        f"{with_interval(evaluation.accuracy)}, {beside} always answering nv "
        f"({evaluation.accuracy_always_nv:.3f})."
    )


def malignant_finding(evaluation: Evaluation) -> str | None:
    """What the threshold on the malignant score finds and what it costs."""
    rates = evaluation.malignant
    if rates is None or rates.sensitivity is None or rates.specificity is None:
        return None
    return (
        f"At the malignant threshold {evaluation.malignant_threshold:.4f} the model flags "
        f"{_per_100(rates.sensitivity.value)} mel, bcc and akiec images and "
        f"{_per_100(1 - rates.specificity.value)} others: sensitivity "
        f"{with_interval(rates.sensitivity)}, specificity {with_interval(rates.specificity)}."
    )


def confusion_finding(evaluation: Evaluation) -> str:
    """The most frequent mistake, as a share of its true class."""
    matrix = evaluation.confusion
    mistakes = [
        (count / sum(row), count, sum(row), code, other)
        for code, row in zip(matrix.classes, matrix.counts, strict=True)
        for other, count in zip(matrix.classes, row, strict=True)
        if other != code and count
    ]
    if not mistakes:
        return "No image is taken for another class"
    _, count, total, code, other = max(mistakes)
    return (
        f"The largest confusion of a class: {count} of {total:,} {code} images are called {other}"
    )


def roc_finding(evaluation: Evaluation) -> str:
    """The classes that are told from the rest best and worst."""
    aucs = sorted((r.auc.value, code) for code, r in evaluation.by_class.items() if r.auc)
    if not aucs:
        return "One class alone cannot be told from others"
    (low, worst), (high, best) = aucs[0], aucs[-1]
    if low == high:
        return f"Every class is told from the rest with an AUC of {low:.3f}"
    return f"{best} is told from the rest best (AUC {high:.3f}), {worst} worst ({low:.3f})"


def calibration_finding(evaluation: Evaluation) -> str:
    """Whether the decision's confidence is too high or too low on average."""
    total = sum(item.images for item in evaluation.reliability)
    stated = sum(item.images * (item.confidence or 0) for item in evaluation.reliability) / total
    right = sum(item.correct for item in evaluation.reliability) / total
    gap = 100 * (stated - right)
    if abs(gap) < 1:
        mean = (
            f"On average confidence and accuracy agree within a point ({stated:.2f}, {right:.2f})"
        )
    else:
        mean = (
            f"Confidence is {abs(gap):.1f} points too {'high' if gap > 0 else 'low'} on average "
            f"({stated:.2f} stated, {right:.2f} right)"
        )
    return f"{mean}; calibration error {evaluation.expected_calibration_error.value:.3f}"


def heatmap_finding(evaluation: Evaluation) -> str:
    """The classes that are found most rarely and called wrongly most often."""
    results = evaluation.by_class
    recalls = [(r.recall.value, code) for code, r in results.items() if r.recall]
    precisions = [(r.precision.value, code) for code, r in results.items() if r.precision]
    recall, missed = min(recalls)
    found = f"{missed} is found least often (recall {recall:.2f})"
    if not precisions:
        return found
    precision, overcalled = min(precisions)
    return f"{found}; of 100 images called {overcalled}, {100 * precision:.0f} are {overcalled}"


def counts_finding(evaluation: Evaluation) -> str:
    """The most frequent and the rarest class."""
    counts = sorted((r.images, code) for code, r in evaluation.by_class.items())
    (least, rare), (most, common) = counts[0], counts[-1]
    return (
        f"{most / evaluation.images:.0%} of the {evaluation.images:,} images are {common}; "
        f"{rare} has {least:,}"
    ).replace("%", " %")


def subgroup_finding(evaluation: Evaluation) -> str:
    """Subgroups whose rates lie outside the interval of all images."""
    apart = departures(evaluation)
    if not apart:
        return "No subgroup's interval lies apart from that of all images"
    lowest: dict[str, tuple[float, str]] = {}
    for group, name, estimate, below in apart:
        entry = (estimate.value, f"{group.kind} {group.name}")
        if below and (name not in lowest or entry < lowest[name]):
            lowest[name] = entry
    if not lowest:
        return "No subgroup does worse than all images by more than chance explains"
    parts = []
    for name, (value, who) in lowest.items():
        whole: Estimate = getattr(evaluation.malignant, name)
        parts.append(f"{name} is {value:.2f} for {who}, {whole.value:.2f} for all")
    return "The malignant score's " + "; its ".join(parts)


def departures(evaluation: Evaluation) -> list[tuple[Subgroup, str, Estimate, bool]]:
    """Subgroup, measure, estimate and whether it is below, where intervals do not overlap."""
    found = []
    for group in evaluation.subgroups:
        for name in ("sensitivity", "specificity"):
            estimate: Estimate | None = getattr(group, name)
            whole: Estimate | None = getattr(evaluation.malignant, name, None)
            if estimate is None or whole is None or None in (estimate.low, whole.low):
                continue
            below = (estimate.high or 0) < (whole.low or 0)
            if below or (estimate.low or 0) > (whole.high or 0):
                found.append((group, name, estimate, below))
    return found


def subgroup_sentences(evaluation: Evaluation) -> list[str]:
    """The subgroups that stand apart, and how many were too small to tell."""
    sentences = []
    for name in ("sensitivity", "specificity"):
        for below, word in ((True, "lower"), (False, "higher")):
            apart = [
                f"{group.kind} {group.name} {with_interval(estimate, 2)}"
                for group, measure, estimate, is_below in departures(evaluation)
                if measure == name and is_below is below
            ]
            if apart:
                whole = with_interval(getattr(evaluation.malignant, name), 2)
                sentences.append(
                    f"The {name} is {word} than that of all images, {whole}, beyond both "
                    f"intervals: {', '.join(apart)}."
                )
    if not sentences and any(g.sensitivity or g.specificity for g in evaluation.subgroups):
        sentences.append("No subgroup's interval lies apart from that of all images.")
    few = [f"{g.kind} {g.name}" for g in evaluation.subgroups if g.too_few]
    if few:
        sentences.append(
            f"Too few to tell (under {evaluation.minimum_images} images): {', '.join(few)}."
        )
    return sentences


def calibration_sentence(steps: Mapping[str, Calibration]) -> str | None:
    """What the steps of calibration changed, from the first to the last."""
    if len(steps) < 2:
        return None
    (first_name, first), *_, (last_name, last) = steps.items()
    before, after = first.expected_calibration_error, last.expected_calibration_error
    verb = "lowers" if after < before else "raises" if after > before else "leaves"
    likelihood = (
        "lower" if last.negative_log_likelihood < first.negative_log_likelihood else "no lower"
    )
    change = f"at {after:.3f}" if verb == "leaves" else f"from {before:.3f} to {after:.3f}"
    return (
        f"Going from “{first_name}” to “{last_name}” {verb} the calibration error {change}; the "
        f"negative log-likelihood is {likelihood} ({first.negative_log_likelihood:.3f} before, "
        f"{last.negative_log_likelihood:.3f} after)."
    )


def operating_point_sentence(points: Sequence[OperatingPointResult]) -> str | None:
    """Whether the thresholds hold on images that did not choose them."""
    pairs = [
        (p, p.validation.sensitivity.value - p.test.sensitivity.value)
        for p in points
        if p.validation.sensitivity and p.test.sensitivity
    ]
    if not pairs:
        return None
    point, drop = max(pairs, key=lambda pair: pair[1])
    if drop <= 0:
        return "Every threshold keeps the sensitivity on test that it had on validation."
    return (
        f"The largest loss of sensitivity from validation to test is {100 * drop:.1f} points, at "
        f"the {point.target} threshold {point.threshold:.4f} ({point.name})."
    )


def history_finding(history: Sequence[Mapping[str, object]]) -> str:
    """The best epoch on validation, and whether the last one kept it."""
    scores = [
        (float(str(e["balanced_accuracy"])), int(str(e["epoch"])))
        for e in history
        if e.get("balanced_accuracy") is not None
    ]
    if not scores:
        return f"{len(history)} epoch{'' if len(history) == 1 else 's'} of training"
    best, epoch = max(scores, key=lambda score: (score[0], -score[1]))
    last, final = scores[-1]
    if epoch == final:
        return f"Balanced accuracy on validation is best in the last epoch, {final}: {best:.3f}"
    return (
        f"Balanced accuracy on validation was best in epoch {epoch} ({best:.3f}); the last, "
        f"{final}, has {last:.3f}"
    )


def _per_100(share: float) -> str:
    """`97 of 100`; one decimal where rounding would claim all or none."""
    hundredths = 100 * share
    if hundredths in (0, 100) or 0.5 <= hundredths < 99.5:
        return f"{hundredths:.0f} of 100"
    return f"{hundredths:.1f} of 100"
