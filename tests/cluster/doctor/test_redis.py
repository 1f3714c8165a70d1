"""Redis, for real where Debian's package is installed."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.doctor.redis import RedisFacts, check, gather, ping
from tests.cluster.doctor.conftest import Place
from tests.cluster.doctor.found import one, verdicts
from tests.conftest import free_port

GOOD = RedisFacts("redis:6379", "PONG", 3)


def test_a_good_one() -> None:
    assert verdicts(check(GOOD)) == ["ok"]


def test_none() -> None:
    assert verdicts(check(RedisFacts(None, "", 1))) == ["ok"]
    assert "RAY_REDIS_ADDRESS" in str(one(check(RedisFacts(None, "", 3)), "warning").mend)


def test_one_that_refuses() -> None:
    facts = replace(GOOD, answer="NOAUTH Authentication required.")
    assert "NOAUTH" in one(check(facts), "wrong").message


def test_one_that_is_away(place: Place) -> None:
    address = f"127.0.0.1:{free_port()}"
    facts = gather(place(RAY_REDIS_ADDRESS=address))
    assert address in one(check(facts), "wrong").message


@contextmanager
def _redis(folder: Path, *options: str) -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("Redis is not installed; on Debian, `apt install redis-server` does it")
    port = free_port()
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", *options],
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                ping("127.0.0.1", port, tls=False, login=())
                break
            except OSError:
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_one_that_answers(place: Place, tmp_path: Path) -> None:
    with _redis(tmp_path) as address:
        assert verdicts(check(gather(place(RAY_REDIS_ADDRESS=address)))) == ["ok"]
        assert verdicts(check(gather(place(RAY_REDIS_ADDRESS=f"redis://{address}")))) == ["ok"]


def test_one_with_a_password(place: Place, tmp_path: Path) -> None:
    with _redis(tmp_path, "--requirepass", "secret") as address:
        bare = place(RAY_REDIS_ADDRESS=address)
        assert "NOAUTH" in one(check(gather(bare)), "wrong").message
        wrong = place(RAY_REDIS_ADDRESS=address, RAY_REDIS_PASSWORD="another")
        found = one(check(gather(wrong)), "wrong")
        assert "WRONGPASS" in found.message
        assert "another" not in found.message
        right = place(RAY_REDIS_ADDRESS=address, RAY_REDIS_PASSWORD="secret")
        assert verdicts(check(gather(right))) == ["ok"]
