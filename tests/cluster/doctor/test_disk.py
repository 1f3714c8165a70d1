"""Room on disk and in shared memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cluster.doctor.disk import GIB, DiskFacts, Space, check, spaces_of
from tests.cluster.doctor.found import one, verdicts

ROOMY = DiskFacts(
    spaces=(Space("/srv", ("images",), 100 * GIB, 50 * GIB),),
    elsewhere=(),
    shared=Space("/dev/shm", (), 8 * GIB, 8 * GIB),
    plasma="/dev/shm",
)


def _free(gib: float, holds: str = "images") -> DiskFacts:
    return replace(ROOMY, spaces=(Space("/srv", (holds,), 1000 * GIB, int(gib * GIB)),))


def test_roomy() -> None:
    assert verdicts(check(ROOMY)) == ["ok", "ok"]


def test_little_room() -> None:
    found = one(check(_free(3)), "warning")
    assert "3.0 of 1000.0 GiB" in found.message
    assert "images" in found.message


def test_no_room() -> None:
    assert "DERMSERVE_" in str(one(check(_free(0.5)), "wrong").mend)


def test_where_ray_writes_no_more_objects() -> None:
    found = one(check(_free(40, "Ray's spilled objects")), "wrong")
    assert "5%" in found.message
    assert verdicts(check(_free(40)))[0] == "ok"


def test_object_storage() -> None:
    assert "images" in one(check(replace(ROOMY, elsewhere=("images",))), "not checked").message


def test_shared_memory_of_a_container() -> None:
    small = replace(ROOMY, shared=Space("/dev/shm", (), 64 * 2**20, 64 * 2**20))
    assert "--shm-size" in str(one(check(small), "warning").mend)


def test_objects_on_disk() -> None:
    assert "/tmp/ray" in one(check(replace(ROOMY, plasma="/tmp/ray")), "warning").message


def test_no_shared_memory() -> None:
    assert one(check(replace(ROOMY, shared=None, plasma=None)), "not checked")


def test_a_file_system_counts_once(tmp_path: Path) -> None:
    (space,) = spaces_of({"images": tmp_path, "runs": tmp_path / "not" / "yet"})
    assert space.holds == ("images", "runs")
    assert 0 < space.free_bytes <= space.total_bytes
