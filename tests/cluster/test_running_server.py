"""A running server: found while its process lives, and nothing else is ever ended."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.running_server import NoRunFolder, recorded, run_folder, running_servers
from tests.cluster.command_line import Shell
from tests.conftest import PROJECT

# What leaves word as `up` does, and then ends as it is told.
PROGRAM = """
import signal, sys
from pathlib import Path
from cluster.running_server import recorded

def stop(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGTERM, signal.SIG_IGN if sys.argv[2] == "deaf" else stop)
with recorded(f"http://127.0.0.1:{sys.argv[1]}", "http://127.0.0.1:8265", Path("c.yaml")):
    print("ready", flush=True)
    try:
        signal.pause()
    except KeyboardInterrupt:
        print("drained", flush=True)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Not where the server of whoever runs the tests is."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return run_folder()


@pytest.fixture
def start() -> Iterator[object]:
    started: list[subprocess.Popen[str]] = []

    def make(port: int = 8000, kind: str = "") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(port), kind],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield make
    for process in started:
        process.kill()
        process.communicate()


def test_it_is_ended_and_says_so(shell: Shell, start: object, folder: Path) -> None:
    process = start()  # type: ignore[operator]
    ended = shell("down")
    assert ended.code == 0
    assert f"Stopped http://127.0.0.1:8000 (process {process.pid}" in ended.out
    assert process.wait(30) == 0
    assert process.stdout.read() == "drained\n"
    assert list(folder.iterdir()) == []
    assert shell("down").code == 3


def test_there_is_none(shell: Shell) -> None:
    ended = shell("down")
    assert ended.code == 3
    assert "No server that you have started" in ended.err


def test_one_of_several(shell: Shell, start: object) -> None:
    first, second = start(8000), start(8080)  # type: ignore[operator]
    ended = shell("down")
    assert ended.code == 2
    assert "8000, 8080" in ended.err
    assert shell("down", "--port", 9000).code == 3
    assert shell("down", "--port", 8080).code == 0
    assert second.wait(30) == 0
    assert first.poll() is None


def test_one_that_does_not_end_is_told_and_left(shell: Shell, start: object) -> None:
    process = start(kind="deaf")  # type: ignore[operator]
    ended = shell("down", "--timeout", 0.2)
    assert ended.code == 1
    assert f"process {process.pid}" in ended.err
    assert process.poll() is None


def test_what_a_killed_one_has_left_ends_nobody(shell: Shell, start: object, folder: Path) -> None:
    process = start()  # type: ignore[operator]
    process.kill()
    process.wait(30)
    (path,) = folder.iterdir()
    # As if its number had been given to somebody else meanwhile.
    innocent = start(9999)  # type: ignore[operator]
    text = path.read_text().replace(f'"pid":{process.pid}', f'"pid":{innocent.pid}')
    assert text != path.read_text()
    path.write_text(text)
    assert shell("down", "--port", 8000).code == 3
    assert innocent.poll() is None
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "{}", "[red]\x1b", '{"pid": 1}'])
def test_a_damaged_record_is_no_server(folder: Path, text: str) -> None:
    (folder / "1.json").write_text(text)
    assert running_servers() == []


def test_the_record_of_this_process() -> None:
    with recorded("http://127.0.0.1:1", "http://127.0.0.1:2", Path("serve_config.yaml")):
        (server,) = running_servers()
        assert server.record.pid == os.getpid()
        assert server.record.config == str(Path("serve_config.yaml").absolute())
    assert running_servers() == []


def test_a_folder_that_others_write_to_is_not_believed(folder: Path) -> None:
    folder.chmod(0o777)
    with pytest.raises(NoRunFolder, match="only you"):
        running_servers()
    folder.rmdir()
    folder.symlink_to("/etc")
    with pytest.raises(NoRunFolder, match="only you"):
        running_servers()
