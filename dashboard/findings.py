"""Findings: what the numbers of data and model say, computed from the numbers that are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.lesion_classes import name_of
from dashboard.wording import count, interval, listing, percent


def class_finding(by_class: Mapping[str, int], what: str) -> str:
    """How evenly images are spread over the classes.

    Args:
        by_class: images by class code.
        what: they are, such as `training images`.
    """
    total = sum(by_class.values())
    if not total:
        return f"There are no {what} yet."
    most = max(by_class, key=lambda code: by_class[code])
    present = {code: number for code, number in by_class.items() if number}
    least = min(present, key=lambda code: present[code])
    said = f"{total:,} {what}: {percent(by_class[most] / total)} show {name_of(most)}"
    ratio = by_class[most] / present[least]
    if ratio > 1:
        times = f"{ratio:.3g}" if ratio < 100 else f"{ratio:,.0f}"
        said += f", {times} times as many as {name_of(least)} ({present[least]:,})"
    missing = [name_of(code) for code, number in by_class.items() if not number]
    return f"{said}." + (f" None show {listing(missing, 'or')}." if missing else "")


def size_finding(sizes: Sequence[tuple[int, int, int]], stored: int) -> str:
    """How large the stored images are.

    Args:
        sizes: width and height in pixels, and how many images have them; the most frequent.
        stored: images of whatever size; more, if not every size is listed.
    """
    listed = sum(number for _, _, number in sizes)
    if not listed:
        return "Nothing has been uploaded yet, so that there are no sizes to show."
    width, height, most = max(sizes, key=lambda each: each[2])
    small = sum(number for w, h, number in sizes if min(w, h) < 224)
    said = (
        f"{count(listed, 'stored image')}{f' of {stored:,}' if listed < stored else ''} in "
        f"{count(len(sizes), 'size')}; the most frequent is {width} x {height} pixels "
        f"({percent(most / max(listed, stored))})."
    )
    if small:
        return (
            f"{said} {'At least ' if listed < stored else ''}{count(small, 'image')} "
            f"{'is' if small == 1 else 'are'} smaller than the 224 pixels that the model sees, "
            "and had to be enlarged."
        )
    return f"{said} None of these is smaller than the 224 pixels that the model sees."


def performance_finding(by_class: Mapping[str, Mapping[str, float | None]]) -> str:
    """Which classes the model finds best and worst, and which of its answers to trust least."""
    recalls = {code: m["recall"] for code, m in by_class.items() if m.get("recall") is not None}
    precisions = {
        code: m["precision"] for code, m in by_class.items() if m.get("precision") is not None
    }
    if not recalls or not precisions:
        return "The model came without results by class."
    best = max(recalls, key=lambda code: recalls[code] or 0)
    worst = min(recalls, key=lambda code: recalls[code] or 0)
    doubtful = min(precisions, key=lambda code: precisions[code] or 0)
    images = int(by_class[worst].get("images") or 0)
    return (
        f"It finds {name_of(best)} best ({percent(recalls[best] or 0)} of the images) and "
        f"{name_of(worst)} worst ({percent(recalls[worst] or 0)} of {count(images, 'image')}). "
        f"Of its answers, {name_of(doubtful)} is right least often: "
        f"{percent(precisions[doubtful] or 0)} of the time."
    )


def reliability_finding(bins: Sequence[Mapping[str, Any]], error: Mapping[str, Any] | None) -> str:
    """Whether probabilities mean what they say.

    Args:
        bins: `images`, `correct` and mean `confidence` of each.
        error: expected calibration error with its interval.
    """
    filled = [each for each in bins if each["images"] and each["confidence"] is not None]
    images = sum(each["images"] for each in filled)
    if not images:
        return "The model came without a reliability diagram."
    said = sum(each["confidence"] * each["images"] for each in filled) / images
    right = sum(each["correct"] for each in filled) / images
    side = "too sure of itself" if said > right else "too modest"
    if abs(said - right) < 0.01:
        side = "about as sure as it is right"
    text = (
        f"Over {images:,} test images it says {percent(said)} on average and is right in "
        f"{percent(right)}: {side}."
    )
    if error is None:
        return text
    figure = interval(error["value"], error.get("low"), error.get("high"))
    return f"{text} The expected calibration error is {figure}."


def subgroup_finding(subgroups: Sequence[Mapping[str, Any]], overall: float | None) -> str:
    """Which group of images the model does worst on, and whether that may be chance."""
    judged = [each for each in subgroups if each["balanced_accuracy"] is not None]
    unjudged = len(subgroups) - len(judged)
    if not judged:
        return "No subgroup has enough images to be judged."
    worst = min(judged, key=lambda each: each["balanced_accuracy"]["value"])
    estimate = worst["balanced_accuracy"]
    figure = interval(estimate["value"], estimate["low"], estimate["high"])
    said = (
        f"Of {len(judged)} groups with enough images, it does worst on {worst['kind']} "
        f"{worst['name']}: balanced accuracy {figure}, {count(worst['images'], 'image')}."
    )
    if overall is not None and estimate["high"] is not None:
        inside = estimate["low"] <= overall <= estimate["high"]
        said += (
            f" The overall figure of {overall:.3f} lies {'inside' if inside else 'outside'} that "
            "interval, so that "
            + ("the difference may be chance." if inside else "it is hardly chance.")
        )
    if unjudged:
        verb = "has" if unjudged == 1 else "have"
        said += f" {count(unjudged, 'group')} {verb} too few images to tell."
    return said


def history_finding(history: Sequence[Mapping[str, Any]]) -> str:
    """How training went."""
    scored = [each for each in history if each.get("balanced_accuracy") is not None]
    if not scored:
        return "This version came without training curves."
    best = max(scored, key=lambda each: each["balanced_accuracy"])
    last = scored[-1]
    said = (
        f"{count(len(history), 'epoch')}; validation was best after epoch {best['epoch']} "
        f"(balanced accuracy {best['balanced_accuracy']:.3f})"
    )
    if best is last:
        return f"{said}, the last one: longer training might still have helped."
    fallen = best["balanced_accuracy"] - last["balanced_accuracy"]
    return f"{said}, and {fallen:.3f} lower at the end."


def versions_finding(versions: Sequence[tuple[str, float]], champion: str) -> str:
    """How performance moved from version to version.

    Args:
        versions: names and balanced accuracy on the test split, in the order of registration.
        champion: name of the version that serves.
    """
    if not versions:
        return "No version has a balanced accuracy on record."
    best = max(versions, key=lambda each: each[1])
    scores = dict(versions)
    if len(versions) == 1:
        return f"One version has a balanced accuracy on record: {best[0]} ({best[1]:.3f})."
    said = f"{len(versions)} versions; the best on the test images is {best[0]} ({best[1]:.3f})"
    if champion not in scores:
        return f"{said}."
    if champion == best[0]:
        return f"{said}, and it serves."
    return f"{said}; version {champion} serves ({scores[champion]:.3f})."
