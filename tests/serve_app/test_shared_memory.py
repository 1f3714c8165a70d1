"""Shared memory: between two real processes, and when one of them is gone."""

from __future__ import annotations

import dataclasses
import errno
import gc
import os
import random
import resource
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import serve_app.shared_memory
from serve_app.shared_memory import (
    KEPT_BYTES,
    NotShared,
    Place,
    SharedFile,
    SharedFiles,
    SharedReader,
    host,
)
from tests.serve_app.sender_process import SenderProcess

MIB = 1024 * 1024

pytestmark = pytest.mark.skipif(host() is None, reason="this system has no such memory")


@pytest.fixture(scope="module")
def sender() -> Iterator[SenderProcess]:
    sender = SenderProcess()
    yield sender
    sender.end()


@pytest.fixture
def mortal() -> Iterator[SenderProcess]:
    """A sender that the test may harm."""
    sender = SenderProcess()
    yield sender
    sender.end()


@pytest.fixture
def reader() -> Iterator[SharedReader]:
    reader = SharedReader()
    yield reader
    for descriptor in reader._open.values():
        os.close(descriptor)


def _descriptors() -> int:
    """Of this process, on memory of ours."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += "memfd:dermserve" in os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the listing's own
            continue
    return count


@pytest.fixture
def open_files() -> Callable[[], int]:
    """Descriptors of the test; whatever ran before may hold some."""
    gc.collect()
    before = _descriptors()
    return lambda: _descriptors() - before


SIZES = st.lists(st.integers(0, 300_000) | st.integers(0, 3), max_size=8)


@given(sizes=SIZES, seed=st.integers(0, 2**32))
@example(sizes=[9 * MIB, 1], seed=0)
@example(sizes=[1, 9 * MIB], seed=1)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_another_process_reads_what_was_written(
    sender: SenderProcess, reader: SharedReader, sizes: list[int], seed: int
) -> None:
    payloads = [random.Random(seed + i).randbytes(size) for i, size in enumerate(sizes)]
    place = sender.write(payloads)  # over what the example before left there
    assert reader.read(place, sizes) == payloads
    whole = bytearray(sum(sizes))
    reader.read_into(place, whole)
    assert whole == b"".join(payloads)
    assert place.pid != os.getpid()
    assert len(reader._open) == 1  # the same file all along


def test_arrays_travel_as_their_bytes(reader: SharedReader) -> None:
    images = [np.full((2, 3, 3), value, np.uint8) for value in (7, 9)]
    file = SharedFile()
    place = file.write(images)
    into = np.empty((2, 2, 3, 3), np.uint8)
    reader.read_into(place, into)
    assert (into == np.stack(images)).all()
    assert reader.read(place, [18, 18]) == [bytes([7] * 18), bytes([9] * 18)]


def test_a_sender_that_was_killed_is_gone(
    mortal: SenderProcess, reader: SharedReader, open_files: Callable[[], int]
) -> None:
    place = mortal.write([b"payload"])
    mortal.kill()
    with pytest.raises(NotShared, match="gone"):
        reader.read(place, [7])
    assert open_files() == 0


def test_what_is_open_can_be_read_after_its_senders_end(
    mortal: SenderProcess, reader: SharedReader
) -> None:
    place = mortal.write([b"payload"])
    assert reader.read(place, [7]) == [b"payload"]
    mortal.kill()
    assert reader.read(place, [7]) == [b"payload"]


def test_the_memory_of_an_ended_sender_is_let_go(
    sender: SenderProcess,
    mortal: SenderProcess,
    reader: SharedReader,
    open_files: Callable[[], int],
) -> None:
    place = mortal.write([b"payload"])
    reader.read(place, [7])
    mortal.kill()  # nobody has waited for it: the system still lists the process
    assert os.path.exists(f"/proc/{place.pid}")
    other = sender.write([b"other"])
    assert reader.read(other, [5]) == [b"other"]
    assert list(reader._open) == [other]
    assert open_files() == 1


def test_a_file_that_its_sender_closed_is_let_go(
    mortal: SenderProcess, reader: SharedReader, open_files: Callable[[], int]
) -> None:
    """As after every failed call, and such a file may be large."""
    first = mortal.write([b"first"])
    reader.read(first, [5])
    second = mortal.replace([b"second"])
    assert (first.pid, first.descriptor) == (second.pid, second.descriptor)
    assert reader.read(second, [6]) == [b"second"]
    assert list(reader._open) == [second]
    assert open_files() == 1


def test_another_file_of_the_same_numbers_is_not_read(
    mortal: SenderProcess, reader: SharedReader, open_files: Callable[[], int]
) -> None:
    first = mortal.write([b"first"])
    mortal.replace([b"second"])
    with pytest.raises(NotShared, match="another file"):
        reader.read(first, [5])
    assert open_files() == 0


def test_a_place_on_another_machine_is_not_looked_for(reader: SharedReader) -> None:
    file = SharedFile()
    place = dataclasses.replace(file.write([b"payload"]), host="elsewhere")
    with pytest.raises(NotShared, match="another machine"):
        reader.read(place, [7])
    with pytest.raises(NotShared, match="another machine"):
        reader.read_into(place, bytearray(7))
    assert reader._open == {}


def test_fewer_bytes_than_the_message_says(reader: SharedReader) -> None:
    file = SharedFile()
    place = file.write([b"1234"])
    with pytest.raises(NotShared, match="fewer than 5 bytes"):
        reader.read(place, [2, 3])
    with pytest.raises(NotShared, match="fewer than 5 bytes"):
        reader.read_into(place, bytearray(5))
    assert reader.read(place, [4]) == [b"1234"]


@pytest.mark.parametrize(("size", "kept"), [(10, 10), (KEPT_BYTES + 5, KEPT_BYTES)])
def test_a_large_batch_does_not_hold_its_memory(size: int, kept: int) -> None:
    files = SharedFiles()
    with files.lend() as file:
        file.write([bytes(size)])
    assert os.fstat(file._descriptor).st_size == kept


def test_a_file_is_lent_again_only_after_an_answer(open_files: Callable[[], int]) -> None:
    files = SharedFiles()
    with files.lend() as first, files.lend() as second:
        assert first is not second
    with files.lend() as again, files.lend() as other:
        assert {id(again), id(other)} == {id(first), id(second)}
    assert open_files() == 2


@pytest.mark.parametrize("error", [RuntimeError, NotShared, KeyboardInterrupt, GeneratorExit])
def test_a_file_whose_call_failed_is_never_lent_again(
    error: type[BaseException], open_files: Callable[[], int]
) -> None:
    files = SharedFiles()
    with pytest.raises(error), files.lend() as first:
        raise error
    assert open_files() == 0
    with files.lend() as second:
        assert second is not first
    first.close()  # twice does no harm: its descriptor is the second one's by now
    assert open_files() == 1


def test_files_that_nobody_has_any_more_are_closed(open_files: Callable[[], int]) -> None:
    files = SharedFiles()
    with files.lend(), files.lend():
        pass
    assert open_files() == 2
    del files
    assert open_files() == 0


def test_a_reader_has_so_many_files_open_at_most(
    reader: SharedReader, monkeypatch: pytest.MonkeyPatch, open_files: Callable[[], int]
) -> None:
    monkeypatch.setattr(serve_app.shared_memory, "_MAX_OPEN", 3)
    files = [SharedFile() for _ in range(5)]
    places = [file.write([bytes([number])]) for number, file in enumerate(files)]
    for number in (0, 1, 2, 0, 3):  # the one that was used longest ago goes
        assert reader.read(places[number], [1]) == [bytes([number])]
    assert list(reader._open) == [places[2], places[0], places[3]]
    assert open_files() == 5 + 3
    for number in range(5):
        assert reader.read(places[number], [1]) == [bytes([number])]
    assert open_files() == 5 + 3


def test_a_system_that_takes_no_more_bytes(mortal: SenderProcess, reader: SharedReader) -> None:
    mortal.limit(resource.RLIMIT_FSIZE, 1000)
    assert reader.read(mortal.write([b"small"]), [5]) == [b"small"]
    with pytest.raises(NotShared, match="part of the batch"):
        mortal.lend([bytes(600), bytes(600)])
    mortal.limit(resource.RLIMIT_FSIZE, 0)
    with pytest.raises(NotShared, match="cannot be written"):
        mortal.write([b"x"])


def test_a_system_that_grants_no_file(mortal: SenderProcess) -> None:
    mortal.write([b"x"])
    mortal.limit(resource.RLIMIT_NOFILE, 3)
    with pytest.raises(NotShared, match="grants no memory"):
        mortal.lend([b"x"])


def test_a_full_memory_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    file = SharedFile()
    monkeypatch.setattr(os, "pwritev", refuse)
    with pytest.raises(NotShared, match="No space left"):
        file.write([b"x"])


def test_what_tells_machines_apart(monkeypatch: pytest.MonkeyPatch, sender: SenderProcess) -> None:
    assert host() == sender.write([b"x"]).host
    monkeypatch.delattr(os, "memfd_create")
    assert host.__wrapped__() is None


def test_a_system_without_proc_has_no_such_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "readlink", refuse)
    assert host.__wrapped__() is None


def test_a_place_is_of_this_process() -> None:
    place = SharedFile().write([])
    assert (place.host, place.pid) == (host(), os.getpid())
    assert isinstance(place, Place)
