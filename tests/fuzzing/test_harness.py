"""Fuzzing finds faults that are planted, and says of each what it takes to see it again."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzzing import corpus, worker
from tests.fuzzing.campaign import Tally, WorkerFailed, findings_of, work
from tests.fuzzing.minimise import minimise
from tests.fuzzing.mutation import MAX_BYTES, mend, mutate, split
from tests.fuzzing.oracle import judge
from tests.fuzzing.planted import SEED
from tests.fuzzing.targets import TARGETS


@pytest.mark.parametrize(
    ("target", "finding", "left"),
    [
        ("raises", "exception: ValueError", b"X"),
        ("kills", "crash: SIGSEGV", None),
        ("never ends", "hang: SIGPROF", None),
        ("is slow", "slow: slow", None),
        ("takes memory", "memory: memory", None),
        ("blames us", "message: message: AssertionError('the root of the tree was raised", b""),
        ("quotes", "message: message: AssertionError('a message of", None),
    ],
)
def test_a_planted_fault_is_found(
    target: str, finding: str, left: bytes | None, tmp_path: Path
) -> None:
    tally = Tally()
    work(target, tmp_path, 3, tally=tally, cases=2, module="tests.fuzzing.planted")
    assert any(each.startswith(finding) for each in findings_of([tally])), tally.findings
    saved = sorted(tmp_path.glob("*.bin"))
    assert saved
    assert all(path.name.startswith(target.replace(" ", "-")) for path in saved)
    if left is not None:
        assert left in [path.read_bytes() for path in saved]
    if target in ("raises", "kills", "never ends", "is slow"):
        assert all(b"X" in path.read_bytes() for path in saved)
    if target == "is slow":  # each try takes long, so that few are made
        assert min(len(path.read_bytes()) for path in saved) < len(SEED)
    said = json.loads(saved[0].with_suffix(".json").read_text())
    assert (said["target"], said["seed"]) == (target, 3)


def test_a_worker_that_cannot_start_is_no_silent_success(tmp_path: Path) -> None:
    with pytest.raises(WorkerFailed, match="invalid choice"):
        work("nothing", tmp_path, 1, tally=Tally(), cases=1)


def test_the_input_at_which_a_worker_died_is_read_back(tmp_path: Path) -> None:
    target = TARGETS["manifest"]
    fuzzing = worker.Worker(target, "manifest", tmp_path, seed=1)
    for data in (b"file,label\na.jpg,mel\n" * 3, b"short"):
        fuzzing.give(data)
        assert worker.read_current(tmp_path) == data
    assert fuzzing.report()["cases"] == 2
    assert not fuzzing.findings


def test_an_error_of_the_tree_is_no_finding() -> None:
    outcome = judge(TARGETS["decode"].run, b"no image")
    assert (outcome.code, outcome.finding) == ("unsupported_image", None)


def test_a_fault_is_left_alone_in_the_smallest_file() -> None:
    data = bytes(range(256)) * 8
    assert minimise(data, lambda one: b"\x07" in one and b"\xf0" in one) in (
        b"\x07\xf0",
        b"\xf0\x07",
    )


@pytest.mark.parametrize("name", corpus.images())
def test_the_pieces_of_a_file_are_the_file(name: str) -> None:
    data = corpus.images()[name]
    pieces = split(data)
    assert b"".join(pieces) == data
    if name in ("png", "animated png", "16-bit png", "webp", "animated webp", "bmp", "jpeg"):
        assert mend(pieces, mended=True) == data
        assert len(pieces) > 3


@settings(max_examples=200)
@given(st.randoms(use_true_random=False), st.binary(max_size=200), st.binary(max_size=200))
def test_any_two_files_can_be_mutated(random: Random, data: bytes, other: bytes) -> None:
    assert len(mutate(data, other, random)) <= MAX_BYTES


def test_a_seed_makes_the_same_files() -> None:
    seeds = list(corpus.images().values())

    def files(seed: int) -> list[bytes]:
        random = Random(seed)
        return [mutate(random.choice(seeds), random.choice(seeds), random) for _ in range(50)]

    assert files(1) == files(1)
    assert files(1) != files(2)
    assert len(set(files(1))) > 40
