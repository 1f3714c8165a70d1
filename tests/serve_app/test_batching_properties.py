"""Late binding under any order of arrivals, departures, failures and finished runs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.batching import LateBatcher

Fault = Literal["none", "result", "raise"]


class Item(NamedTuple):
    caller: int
    index: int
    weight: int
    fault: Fault


class Answer(NamedTuple):
    item: Item


class Broken(Exception):
    """The error of one item, or of a whole run."""


@dataclass(frozen=True)
class Submit:
    """A caller comes with some items, each a weight and a fault."""

    items: tuple[tuple[int, Fault], ...]


@dataclass(frozen=True)
class Finish:
    """One of the runs in progress ends."""

    which: int


@dataclass(frozen=True)
class Leave:
    """One of the callers so far is cancelled."""

    which: int


ITEMS = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from(["none", "none", "none", "result", "raise"])),
    max_size=6,
).map(tuple)
STEPS = st.lists(
    st.one_of(
        st.builds(Submit, ITEMS),
        st.builds(Finish, st.integers(0, 9)),
        st.builds(Leave, st.integers(0, 9)),
    ),
    max_size=30,
)


@dataclass
class Device:
    """Records runs and keeps each going until it is told to finish."""

    started: list[list[Item]] = field(default_factory=list)
    gates: list[asyncio.Future[None]] = field(default_factory=list)
    most_at_once: int = 0

    async def run(self, batch: list[Item]) -> list[Answer | Exception]:
        gate = asyncio.get_running_loop().create_future()
        self.started.append(batch)
        self.gates.append(gate)
        self.most_at_once = max(self.most_at_once, len(self.gates))
        await gate
        self.gates.remove(gate)
        if any(item.fault == "raise" for item in batch):
            raise Broken(batch)
        return [Broken(item) if item.fault == "result" else Answer(item) for item in batch]

    def finish(self, which: int) -> None:
        open_gates = [gate for gate in self.gates if not gate.done()]
        if open_gates:
            open_gates[which % len(open_gates)].set_result(None)


async def _settle() -> None:
    """Let every task go on as far as it can; the longest chain of wake-ups is far shorter."""
    for _ in range(12):
        await asyncio.sleep(0)


@given(
    steps=STEPS,
    max_batch=st.integers(1, 5),
    lanes=st.integers(1, 3),
    max_weight=st.integers(0, 20),
)
@settings(max_examples=300, deadline=None)
async def test_every_caller_gets_its_own_answers_and_no_limit_is_broken(
    steps: list[Submit | Finish | Leave], max_batch: int, lanes: int, max_weight: int
) -> None:
    device = Device()
    batcher: LateBatcher[Item, Answer] = LateBatcher(
        device.run,
        max_batch=max_batch,
        lanes=lanes,
        weigh=lambda item: item.weight,
        max_weight=max_weight,
    )
    submitted: list[list[Item]] = []
    calls: list[asyncio.Future[list[Answer | Exception]]] = []
    skipped: set[Item] = set()
    for step in steps:
        if isinstance(step, Submit):
            caller = len(calls)
            submitted.append([Item(caller, i, *item) for i, item in enumerate(step.items)])
            calls.append(asyncio.ensure_future(batcher.submit(submitted[-1])))
        elif isinstance(step, Finish):
            device.finish(step.which)
        elif calls:
            caller = step.which % len(calls)
            if not calls[caller].done():
                calls[caller].cancel()
                taken = {item for batch in device.started for item in batch}
                skipped |= set(submitted[caller]) - taken
        await _settle()
        waiting = sum(map(len, submitted)) - len({i for batch in device.started for i in batch})
        assert len(device.gates) == lanes or waiting <= len(skipped)
    for _ in range(1000):
        if not device.gates:
            break
        device.finish(0)
        await _settle()

    assert all(call.done() for call in calls)
    assert batcher.waiting == 0
    assert device.most_at_once <= lanes
    for batch in device.started:
        assert 1 <= len(batch) <= max_batch
        assert len(batch) == 1 or sum(item.weight for item in batch) <= max_weight
    for items, call in zip(submitted, calls, strict=True):
        if call.cancelled():
            continue
        for item, result in zip(items, call.result(), strict=True):
            if item.fault == "none":
                assert result == Answer(item)
            else:
                assert isinstance(result, Broken)
                assert result.args[0] in (item, [item])

    runs = [item for batch in device.started for item in batch]
    for item in set(runs):
        shared = [batch for batch in device.started if item in batch and len(batch) > 1]
        alone = [batch for batch in device.started if batch == [item]]
        # Once; and a second time, alone, if a neighbour made the first run raise.
        assert len(shared) + len(alone) == 1 or (
            len(shared) == len(alone) == 1 and any(i.fault == "raise" for i in shared[0])
        )
    first_runs = list(dict.fromkeys(runs))
    in_order = [item for items in submitted for item in items if item in set(first_runs)]
    assert first_runs == in_order
    assert not skipped & set(runs)
    cancelled = {i for i, call in enumerate(calls) if call.cancelled()}
    everything = {item for items in submitted for item in items}
    assert everything - set(runs) <= skipped
    assert all(item.caller in cancelled for item in skipped)
