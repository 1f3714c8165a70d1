"""The review desk: what comes next, and the way back."""

from __future__ import annotations

from dashboard.review_desk import ReviewDesk, disputed
from tests.dashboard.answers import upload


def test_the_first_that_was_not_skipped() -> None:
    desk = ReviewDesk()
    waiting = [upload("a"), upload("b")]
    assert desk.next_of(waiting) == waiting[0]
    desk.skip(waiting[0])
    assert desk.next_of(waiting) == waiting[1]
    desk.skip(waiting[1])
    assert desk.next_of(waiting) is None
    assert desk.next_of([]) is None


def test_undo_of_a_first_label() -> None:
    desk = ReviewDesk()
    first, second = upload("a"), upload("b")
    desk.labelled(first, "mel")
    done = desk.done[-1]
    assert done.way_back() == {"label": None}
    assert desk.undone() == done
    assert desk.done == []
    # What was taken back is looked at again, wherever it now stands.
    assert desk.next_of([second, first]) == first
    desk.labelled(first, "nv")
    assert desk.next_of([second, first]) == second


def test_undo_of_a_corrected_label() -> None:
    desk = ReviewDesk()
    desk.labelled(upload("a", "nv", held=0.01), "mel")
    assert desk.done[-1].way_back() == {"label": "nv", "label_source": "expert"}


def test_what_is_disputed() -> None:
    uploads = [
        upload("sure", "nv", held=0.9),
        upload("doubtful", "mel", held=0.04),
        upload("unknown", "mel"),
        upload("unlabelled"),
        upload("worst", "bcc", held=0.001),
    ]
    assert [each.id for each in disputed(uploads)] == ["worst", "doubtful"]


def test_a_disputed_label_that_was_looked_at_comes_no_more() -> None:
    desk = ReviewDesk()
    uploads = [upload("a", "mel", held=0.01), upload("b", "mel", held=0.02)]
    desk.labelled(uploads[0], "mel")  # confirmed, and as improbable as before
    assert [each.id for each in desk.without_labelled(disputed(uploads))] == ["b"]
    desk.undone()
    assert desk.without_labelled(uploads) == uploads
