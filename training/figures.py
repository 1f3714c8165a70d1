"""Figures of an evaluation: pictures titled with what they show, drawn without global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from models.classes import CLASSES
from training.bootstrap import wilson_interval
from training.figure_style import (
    BLUE,
    COLOURS,
    DASHES,
    GREY,
    INK,
    ORANGE,
    PALE,
    UNDEFINED,
    cell,
    heatmap,
    new_figure,
    plain,
    spread,
)
from training.findings import (
    calibration_finding,
    confusion_finding,
    counts_finding,
    heatmap_finding,
    history_finding,
    roc_finding,
    subgroup_finding,
)
from training.results import Estimate, Evaluation

_COLUMNS = {
    "recall": "recall",
    "precision": "precision",
    "f1": "F1",
    "specificity": "specificity",
    "auc": "AUC",
}
_LOSSES = {"loss": "training", "validation_loss": "validation"}
_METRICS = {
    "macro_auc": "macro AUC",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
}


def confusion_figure(evaluation: Evaluation) -> Figure:
    """What each class is taken for: shares of its images, and their number."""
    figure = new_figure(7.4, confusion_finding(evaluation))
    axes = figure.subplots()
    matrix = evaluation.confusion
    shares = np.array([row or [np.nan] * len(CLASSES) for row in matrix.shares], float)
    heatmap(axes, shares)
    for (row, column), count in np.ndenumerate(np.array(matrix.counts)):
        share = float(shares[row, column])
        percent = UNDEFINED if np.isnan(share) else f"{100 * share:.0f} %"
        cell(axes, row, column, share, (percent, f"{count:,}"))
    totals = [sum(row) for row in matrix.counts]
    axes.set_xticks(range(len(CLASSES)), CLASSES)
    axes.set_yticks(
        range(len(CLASSES)), [f"{c}\n{n:,} images" for c, n in zip(CLASSES, totals, strict=True)]
    )
    axes.set_xlabel("decision of the model", labelpad=8)
    axes.set_ylabel("true class", labelpad=8)
    return figure


def roc_figure(evaluation: Evaluation) -> Figure:
    """ROC curves of the classes against the rest, and of malignant against benign."""
    figure = new_figure(7.6, roc_finding(evaluation))
    axes = figure.subplots()
    plain(axes)
    aucs = {code: result.auc for code, result in evaluation.by_class.items()}
    aucs["malignant"] = evaluation.malignant_auc
    axes.plot([0, 1], [0, 1], c=PALE, lw=1.2)
    axes.text(0.42, 0.45, "chance", c=GREY, size=9, rotation=45, ha="center", va="center")
    drawn = [(auc.value, name) for name, auc in aucs.items() if auc and name in evaluation.roc]
    for value, name in sorted(drawn, reverse=True):
        curve = evaluation.roc[name]
        whole = name == "malignant"
        axes.plot(
            curve.false_positive_rate,
            curve.true_positive_rate,
            color=COLOURS[name],
            linestyle=DASHES.get(name, "-"),
            linewidth=2.6 if whole else 1.7,
            zorder=3 if whole else 2,
            label=f"{'mel, bcc or akiec' if whole else name}  {value:.3f}",
        )
    rates = evaluation.malignant
    if rates and rates.sensitivity and rates.specificity:
        x, y = 1 - rates.specificity.value, rates.sensitivity.value
        axes.plot(x, y, "o", ms=9, mfc="white", mec="black", mew=2, zorder=4)
        axes.annotate(
            f"threshold {evaluation.malignant_threshold:.3f}:\nsensitivity {y:.2f}, "
            f"specificity {1 - x:.2f}",
            (x, y),
            (min(x + 0.06, 0.6), max(y - 0.13, 0.3)),
            arrowprops={"arrowstyle": "-", "color": INK, "shrinkB": 6},
            size=9.5,
            va="top",
        )
    if drawn:
        legend = axes.legend(
            loc="lower right", frameon=False, title="AUC, highest first", handlelength=2.6
        )
        legend.get_title().set_fontsize(9.5)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_xlabel("share of other images that are flagged (1 - specificity)")
    axes.set_ylabel("share of the class that is found (sensitivity)")
    return figure


def reliability_figure(evaluation: Evaluation) -> Figure:
    """Stated confidence against the share that is right; below, how often it is stated."""
    figure = new_figure(7.8, calibration_finding(evaluation))
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    plain(top)
    plain(bottom)
    top.plot([0, 1], [0, 1], c=GREY, lw=1.2, ls="--")
    for item in evaluation.reliability:
        interval = wilson_interval(item.correct, item.images)
        if item.confidence is None or interval is None:
            continue
        right = item.correct / item.images
        few = item.images < evaluation.minimum_images
        top.plot([item.confidence] * 2, interval, c=BLUE, lw=1.4, alpha=0.45 if few else 0.9)
        top.plot(item.confidence, right, "o", ms=7, mec=BLUE, mew=1.5, mfc="w" if few else BLUE)
    bars = evaluation.reliability
    bottom.bar(
        [(b.low + b.high) / 2 for b in bars],
        [b.images for b in bars],
        width=[0.9 * (b.high - b.low) for b in bars],
        color=BLUE,
    )
    for b in bars:
        if b.images:
            bottom.text(
                (b.low + b.high) / 2,
                b.images,
                f"{b.images:,}",
                ha="center",
                va="bottom",
                size=8,
                c=INK,
            )
    bottom.margins(y=0.2)
    top.set(xlim=(0, 1), ylim=(-0.02, 1.02))
    top.set_ylabel("share that is right, with 95 % interval")
    bottom.set_ylabel("images")
    bottom.set_xlabel("confidence in the decision")
    notes = ["dashed: right as often as stated"]
    if any(0 < b.images < evaluation.minimum_images for b in bars):
        notes.append(f"hollow: fewer than {evaluation.minimum_images} images")
    top.text(
        0.99, 0.03, "\n".join(notes), transform=top.transAxes, ha="right", fontsize=9.5, color=GREY
    )
    figure.align_ylabels()
    return figure


def class_heatmap(evaluation: Evaluation) -> Figure:
    """Recall, precision, F1, specificity and AUC of each class."""
    figure = new_figure(5.4, heatmap_finding(evaluation))
    axes = figure.subplots()
    results = evaluation.by_class
    rows = [[getattr(results[code], column) for column in _COLUMNS] for code in CLASSES]
    values = np.array([[e.value if e else np.nan for e in row] for row in rows], float)
    heatmap(axes, values)
    for (row, column), value in np.ndenumerate(values):
        estimate: Estimate | None = rows[row][column]
        interval = ""
        if estimate and estimate.low is not None:
            interval = f"{estimate.low:.2f} to {estimate.high:.2f}"
        cell(axes, row, column, value, (f"{value:.2f}" if estimate else UNDEFINED, interval))
    axes.set_xticks(range(len(_COLUMNS)), list(_COLUMNS.values()))
    axes.set_yticks(range(len(CLASSES)), CLASSES)
    axes.set_aspect("auto")
    return figure


def class_counts_figure(evaluation: Evaluation) -> Figure:
    """How many images and lesions there are of each class."""
    figure = new_figure(4.0, counts_finding(evaluation))
    axes = figure.subplots()
    plain(axes)
    results = sorted(evaluation.by_class.items(), key=lambda item: item[1].images)
    for row, (code, result) in enumerate(results):
        axes.barh(row, result.images, color=COLOURS[code], height=0.7)
        axes.text(
            result.images,
            row,
            f"  {result.images:,} images of {result.lesions:,} lesions",
            va="center",
            size=9.5,
        )
    axes.set_yticks(range(len(results)), [code for code, _ in results])
    axes.set_xlim(0, 1.45 * max(1, *(result.images for _, result in results)))
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def subgroup_figure(evaluation: Evaluation) -> Figure:
    """Sensitivity and specificity of the malignant score in each subgroup."""
    groups = [g for g in evaluation.subgroups if g.sensitivity or g.specificity]
    figure = new_figure(1.9 + 0.29 * len(groups), subgroup_finding(evaluation))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, name, colour in ((left, "sensitivity", BLUE), (right, "specificity", ORANGE)):
        plain(axes)
        whole: Estimate | None = getattr(evaluation.malignant, name, None)
        if whole:
            axes.plot([whole.value] * 2, [-0.6, len(groups) - 0.5], c=GREY, lw=1, ls="--")
            axes.text(whole.value, -0.8, f"all {whole.value:.2f}", c=GREY, size=9.5, ha="center")
        for row, group in enumerate(groups):
            estimate: Estimate | None = getattr(group, name)
            if estimate is None:
                axes.text(0.02, row, "too few to tell", c=GREY, size=9, va="center")
                continue
            if estimate.low is not None and estimate.high is not None:
                axes.plot([estimate.low, estimate.high], [row, row], c=colour, lw=2, alpha=0.6)
            axes.plot(estimate.value, row, "o", c=colour, ms=6)
        for row, (group, above) in enumerate(zip(groups[1:], groups, strict=False), start=1):
            if group.kind != above.kind:
                axes.axhline(row - 0.5, c=PALE, lw=1, zorder=0)
        axes.set(xlim=(0, 1.03), ylim=(len(groups) - 0.5, -1.5))
        axes.set_xlabel(f"{name} for mel, bcc and akiec")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    left.set_yticks(range(len(groups)), [f"{g.kind}: {g.name}  ({g.images:,})" for g in groups])
    return figure


def training_figure(history: Sequence[Mapping[str, object]]) -> Figure:
    """Loss and validation metrics by epoch.

    Args:
        history: of each epoch `epoch`, and any of `loss`, `validation_loss`,
            `balanced_accuracy`, `macro_auc` and `accuracy`; other keys are left out.
    """
    figure = new_figure(6.6, history_finding(history))
    losses, metrics = figure.subplots(2, 1, sharex=True)
    last = max([float(str(epoch["epoch"])) for epoch in history], default=1.0)
    metrics.set_xlim(1 - 0.03 * last, last + max(1.0, 0.36 * last))
    metrics.set_xticks(
        [t for t in MaxNLocator(integer=True).tick_values(1, last) if 1 <= t <= last]
    )
    _lines(losses, history, _LOSSES)
    _lines(metrics, history, _METRICS)
    losses.set_ylabel("loss")
    metrics.set_ylabel("on validation")
    metrics.set_xlabel("epoch")
    figure.align_ylabels()
    return figure


def _lines(axes: Axes, history: Sequence[Mapping[str, object]], names: Mapping[str, str]) -> None:
    plain(axes)
    ends = []
    for (key, name), colour in zip(names.items(), (BLUE, ORANGE, GREY), strict=False):
        points = [(e["epoch"], e[key]) for e in history if e.get(key) is not None]
        if points:
            x, y = np.array(points, float).T
            axes.plot(x, y, "-o", c=colour, ms=3.5, lw=1.8)
            ends.append((x[-1], y[-1], f"{name} {y[-1]:.3f}", colour))
    bottom, top = axes.get_ylim()
    heights = spread([y for _, y, _, _ in ends], 0.08 * (top - bottom))
    for (x_end, y_end, text, colour), height in zip(ends, heights, strict=True):
        axes.annotate(
            text,
            (x_end, y_end),
            (x_end + 0.02 * max(x_end, 1), height),
            c=colour,
            va="center",
            size=9.5,
        )
