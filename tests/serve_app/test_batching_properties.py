"""Late binding under any order of arrivals, departures, deadlines, failures and finished runs."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from hypothesis import event, given, settings
from hypothesis import strategies as st

from models.errors import DeadlineExceeded
from serve_app.batching import LateBatcher
from serve_app.work import Priority, Work
from tests.serve_app.virtual_time import clock, pass_s, run, settle

Fault = Literal["none", "result", "raise", "short", "cancel", "panic"]

FAULTS: tuple[Fault, ...] = ("none", "none", "none", "result", "raise", "short", "cancel", "panic")
ENDS_ITS_LANE = ("cancel", "panic")
"""Every item of such a run has an error, because nobody knows what became of it."""


class Item(NamedTuple):
    caller: int
    index: int
    weight: int
    fault: Fault


class Answer(NamedTuple):
    item: Item


class Broken(Exception):
    """The error of one item, or of a whole run."""


class Panic(BaseException):
    """What is no `Exception`, as an extension in Rust raises it."""


@dataclass(frozen=True)
class Arrival:
    """One item of a call, and how long its caller waits; None waits for ever."""

    weight: int
    fault: Fault
    priority: Priority
    patience_s: int | None


@dataclass(frozen=True)
class Submit:
    """A caller comes with some items."""

    items: tuple[Arrival, ...]


@dataclass(frozen=True)
class Finish:
    """One of the runs in progress ends."""

    which: int


@dataclass(frozen=True)
class Leave:
    """One of the callers so far is cancelled."""

    which: int


@dataclass(frozen=True)
class Pass:
    """Time passes."""

    seconds: int


Step = Submit | Finish | Leave | Pass

PATIENCE_S = st.none() | st.integers(-1, 6)


@st.composite
def submits(draw: st.DrawFn) -> Submit:
    """Calls whose items mostly have the same terms, as those of a request do."""
    patience = draw(st.sampled_from([st.none(), st.integers(0, 6), PATIENCE_S]))
    priority = draw(st.sampled_from([*map(st.just, Priority), st.sampled_from(Priority)]))
    item = st.builds(Arrival, st.integers(0, 9), st.sampled_from(FAULTS), priority, patience)
    return Submit(tuple(draw(st.lists(item, max_size=6))))


STEPS = st.lists(
    st.one_of(
        submits(),
        submits(),
        st.builds(Finish, st.integers(0, 9)),
        st.builds(Leave, st.integers(0, 9)),
        st.builds(Pass, st.integers(1, 3)),
    ),
    max_size=30,
)


class Run(NamedTuple):
    """A batch as the next stage saw it."""

    items: list[Item]
    started_s: float
    wanted_before: set[Item]
    """What somebody waited for when it began, and no run had had."""


@dataclass
class Stage:
    """Keeps every run going until it is told to finish, and knows what each caller may expect."""

    runs: list[Run] = field(default_factory=list)
    gates: list[asyncio.Future[None]] = field(default_factory=list)
    most_at_once: int = 0
    works: dict[Item, Work[Item]] = field(default_factory=dict)
    since_s: dict[Item, float] = field(default_factory=dict)
    calls: list[asyncio.Task[list[Answer | Exception]]] = field(default_factory=list)
    left: set[int] = field(default_factory=set)
    unwanted: list[Item] = field(default_factory=list)
    changed: list[Work[Item]] = field(default_factory=list)

    @property
    def seen(self) -> set[Item]:
        return {item for run in self.runs for item in run.items}

    def is_wanted(self, item: Item) -> bool:
        deadline = self.works[item].deadline
        return item.caller not in self.left and (deadline is None or deadline > clock().now)

    async def run(self, works: list[Work[Item]]) -> list[Answer | Exception]:
        items = [work.payload for work in works]
        # Not asserted here: what a run raises is the batcher's to handle.
        self.unwanted += [item for item in items if not self.is_wanted(item)]
        self.changed += [work for work in works if work is not self.works[work.payload]]
        wanted = {item for item in self.works if self.is_wanted(item)}
        self.runs.append(Run(items, clock().now, wanted - self.seen))
        gate = asyncio.get_running_loop().create_future()
        self.gates.append(gate)
        self.most_at_once = max(self.most_at_once, len(self.gates))
        await gate
        self.gates.remove(gate)
        faults = {item.fault for item in items}
        if "raise" in faults:
            raise Broken(items)
        if "cancel" in faults:
            raise asyncio.CancelledError
        if "panic" in faults:
            raise Panic
        answers = [Broken(item) if item.fault == "result" else Answer(item) for item in items]
        return answers[1:] if "short" in faults else answers

    def finish(self, which: int) -> None:
        open_gates = [gate for gate in self.gates if not gate.done()]
        if open_gates:
            open_gates[which % len(open_gates)].set_result(None)

    def submit(self, batcher: LateBatcher[Item, Answer], arrivals: tuple[Arrival, ...]) -> None:
        works = []
        for index, one in enumerate(arrivals):
            item = Item(len(self.calls), index, one.weight, one.fault)
            deadline = None if one.patience_s is None else clock().now + one.patience_s
            self.works[item] = Work(item, one.priority, deadline)
            self.since_s[item] = clock().now
            works.append(self.works[item])
        self.calls.append(asyncio.create_task(batcher.submit(works)))

    def leave(self, which: int) -> None:
        caller = which % len(self.calls)
        if not self.calls[caller].done():
            self.calls[caller].cancel()
            self.left.add(caller)


@given(
    steps=STEPS,
    max_batch=st.integers(1, 5),
    lanes=st.integers(1, 3),
    max_weight=st.integers(0, 20),
    mixed=st.booleans(),
)
@settings(max_examples=400)
def test_every_caller_gets_its_own_answers_and_no_limit_is_broken(
    steps: list[Step], max_batch: int, lanes: int, max_weight: int, mixed: bool
) -> None:
    bulk_lanes = lanes if mixed else max(1, lanes - 1)

    async def scenario() -> None:
        stage = Stage()
        batcher: LateBatcher[Item, Answer] = LateBatcher(
            stage.run,
            max_batch=max_batch,
            lanes=lanes,
            weigh=lambda item: item.weight,
            max_weight=max_weight,
            mixed=mixed,
        )
        for step in steps:
            await _take(step, stage, batcher)
            _check_between_steps(stage, batcher, lanes, bulk_lanes)
        for _ in range(1000):
            if not stage.gates:
                break
            stage.finish(0)
            await settle()
            _check_between_steps(stage, batcher, lanes, bulk_lanes)

        assert all(call.done() for call in stage.calls)
        assert (batcher.waiting, len(batcher._tasks)) == (0, 0)
        assert all(isinstance(each["exception"], Panic) for each in clock().unhandled)
        _check_batches(stage, max_batch, lanes, max_weight, mixed)
        _check_order(stage)
        _check_answers(stage)
        _check_counts(stage, batcher)
        # Whatever has happened, all lanes are there for the next.
        for lane in range(lanes):
            priority = Priority.BULK if lane < bulk_lanes else Priority.INTERACTIVE
            stage.submit(batcher, (Arrival(0, "none", priority, None),))
        await settle()
        assert len(stage.gates) == lanes
        for _ in range(lanes):
            stage.finish(0)
        await settle()
        assert all(call.done() for call in stage.calls)

    run(scenario())


async def _take(step: Step, stage: Stage, batcher: LateBatcher[Item, Answer]) -> None:
    if isinstance(step, Submit):
        stage.submit(batcher, step.items)
    elif isinstance(step, Finish):
        stage.finish(step.which)
    elif isinstance(step, Pass):
        await pass_s(step.seconds)
    elif stage.calls:
        stage.leave(step.which)
    await settle()


def _check_between_steps(
    stage: Stage, batcher: LateBatcher[Item, Answer], lanes: int, bulk_lanes: int
) -> None:
    waiting = {item for item in stage.works if stage.is_wanted(item)} - stage.seen
    assert (stage.unwanted, stage.changed) == ([], [])
    only_bulk = all(stage.works[item].priority is Priority.BULK for item in waiting)
    assert len(stage.gates) >= (bulk_lanes if only_bulk else lanes) or not waiting
    # Beside those only items that expired before the rest of their call did.
    open_calls = {caller for caller, call in enumerate(stage.calls) if not call.done()}
    late = {item for item in stage.works if item.caller in open_calls} - stage.seen - waiting
    assert len(waiting) <= batcher.waiting <= len(waiting | late)
    counts = batcher.counts
    assert counts.taken + counts.expired + counts.cancelled + batcher.waiting == len(stage.works)
    # Who has only deadlines that have passed has an answer, whatever the lanes do.
    for caller, call in enumerate(stage.calls):
        deadlines = [work.deadline for item, work in stage.works.items() if item.caller == caller]
        if all(deadline is not None and deadline <= clock().now for deadline in deadlines):
            assert call.done()


def _first_runs(stage: Stage) -> list[tuple[Run, bool]]:
    """Every run, and whether it was the first of its items."""
    seen: set[Item] = set()
    runs = []
    for one in stage.runs:
        runs.append((one, not seen & set(one.items)))
        seen |= set(one.items)
    return runs


def _check_batches(stage: Stage, max_batch: int, lanes: int, max_weight: int, mixed: bool) -> None:
    assert stage.most_at_once <= lanes
    for items, _, _ in stage.runs:
        assert 1 <= len(items) <= max_batch
        assert len(items) == 1 or sum(item.weight for item in items) <= max_weight
        priorities = [stage.works[item].priority for item in items]
        assert priorities == sorted(priorities)
        assert mixed or len(set(priorities)) == 1
    for one, is_first in _first_runs(stage):
        if is_first and Priority.BULK in {stage.works[item].priority for item in one.items}:
            behind = one.wanted_before - set(one.items)
            event("bulk with others waiting" if behind else "bulk alone")
            assert all(stage.works[item].priority is Priority.BULK for item in behind)
    for item in stage.seen:
        shared = [one.items for one in stage.runs if item in one.items and len(one.items) > 1]
        alone = [one.items for one in stage.runs if one.items == [item]]
        # Once; and a second time, alone, if a neighbour made the first run fail.
        assert len(shared) + len(alone) == 1 or (
            len(shared) == len(alone) == 1 and any(i.fault in ("raise", "short") for i in shared[0])
        )


def _check_order(stage: Stage) -> None:
    """No caller is overtaken by another of the same priority."""
    runs = dict.fromkeys(item for one in stage.runs for item in one.items)
    for priority in Priority:
        of_one = [item for item in runs if stage.works[item].priority is priority]
        assert of_one == [item for item in stage.works if item in set(of_one)]


def _check_answers(stage: Stage) -> None:
    for caller, call in enumerate(stage.calls):
        items = [item for item in stage.works if item.caller == caller]
        assert call.cancelled() == (caller in stage.left)
        if call.cancelled():
            continue
        for item, result in zip(items, call.result(), strict=True):
            event(type(result).__name__)
            runs = [one.items for one in stage.runs if item in one.items]
            last = {other.fault for other in runs[-1]} if runs else set()
            if isinstance(result, DeadlineExceeded):
                deadline = stage.works[item].deadline
                assert deadline is not None
                assert deadline <= clock().now
            elif isinstance(result, RuntimeError):
                assert (
                    item.fault == "short"
                    or last & set(ENDS_ITS_LANE)
                    # The rest of a batch whose second tries were cut short.
                    or any(other.fault in ENDS_ITS_LANE for batch in runs for other in batch)
                )
            elif item.fault == "none":
                assert result == Answer(item)
            else:
                assert item.fault in ("result", "raise")
                assert isinstance(result, Broken)
                assert result.args[0] in (item, [item])
        unanswered = set(items) - stage.seen
        assert all(
            isinstance(call.result()[item.index], DeadlineExceeded | RuntimeError)
            for item in unanswered
        )


def _check_counts(stage: Stage, batcher: LateBatcher[Item, Answer]) -> None:
    counts = batcher.counts
    firsts = [one for one, is_first in _first_runs(stage) if is_first]
    assert counts.taken + counts.expired + counts.cancelled == len(stage.works)
    assert counts.taken == len(stage.seen)
    assert counts.batches == len(firsts)
    assert counts.waited_s == sum(
        one.started_s - stage.since_s[item] for one in firsts for item in one.items
    )
    dropped = Counter(item.caller in stage.left for item in stage.works.keys() - stage.seen)
    # An item of a caller who left may have expired before that.
    assert counts.cancelled <= dropped[True]
    assert counts.expired >= dropped[False]
