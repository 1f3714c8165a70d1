"""Progress: what a worker writes reaches the listeners once, in order, and nothing else does."""

from __future__ import annotations

from pathlib import Path

from training.progress import (
    EpochRecord,
    Event,
    ImagesDecoded,
    Progress,
    ProgressFile,
    Step,
    Warned,
)

EVENTS: list[Event] = [
    ImagesDecoded("train", 3, 10),
    Warned("1 image cannot be read: \u201cISIC\u201d.\n"),
    Step(1, 4, 0, 1.5, seconds=0.1, images_per_s=80.0),
    EpochRecord(1, 1.5, 0.4, 80.0, {"balanced_accuracy": 0.5, "by_class": {"nv": {"auc": 1.0}}}),
]


def test_events_arrive_once_and_in_order(tmp_path: Path) -> None:
    reader = ProgressFile(tmp_path / "events.jsonl")
    assert list(reader.new()) == []
    writer = ProgressFile(tmp_path / "events.jsonl")
    for event in EVENTS[:2]:
        writer.append(event)
    assert list(reader.new()) == EVENTS[:2]
    for event in EVENTS[2:]:
        writer.append(event)
    assert list(reader.new()) == EVENTS[2:]
    assert list(reader.new()) == []


def test_what_an_earlier_attempt_wrote_is_not_told_again(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    ProgressFile(path).append(EVENTS[0])
    reader = ProgressFile(path)
    ProgressFile(path).append(EVENTS[1])
    assert list(reader.new()) == [EVENTS[1]]


def test_a_line_that_is_being_written_waits_and_a_broken_one_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    reader = ProgressFile(path)
    for broken in ("[]", "null", '{"Step": {"step": 1}}', '{"Other": {}}', '{"Warned": 3}', "\x00"):
        path.write_text(f"{broken}\n", encoding="utf-8")
        reader = ProgressFile(tmp_path / "none.jsonl")
        reader._path = path
        ProgressFile(path).append(EVENTS[2])
        with path.open("a") as file:
            file.write('{"Warned": {"sent')
        assert list(reader.new()) == [EVENTS[2]]
    with path.open("a") as file:
        file.write('ence": "late"}}\n')
    assert list(reader.new()) == [Warned("late")]


def test_each_listener_hears_its_own_events() -> None:
    heard: list[object] = []
    progress = Progress(
        on_images=heard.append,
        on_step=heard.append,
        on_epoch=heard.append,
        on_warning=heard.append,
    )
    for event in EVENTS:
        progress.tell(event)
        Progress().tell(event)
    assert heard == [EVENTS[0], "1 image cannot be read: \u201cISIC\u201d.\n", *EVENTS[2:]]
