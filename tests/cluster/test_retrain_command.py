"""`dermserve retrain`: a run started, followed to its end, stopped and listed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from data.catalogue.database import Database
from data.catalogue.runs import Runs
from tests.cluster.command_line import Shell
from tests.conftest import free_port
from tests.serve_app.trainer import InProcessTrainer
from tests.waiting import wait_until


@pytest.fixture
def runs(trainer: InProcessTrainer) -> Runs:
    return trainer.runs


@contextmanager
def _meanwhile(work: Callable[[], object]) -> Iterator[None]:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(30)
    assert not thread.is_alive()


def _carry_out(runs: Runs, state: str, reason: str | None) -> Callable[[], None]:
    """What the trainer does once there is a run."""

    def work() -> None:
        wait_until(runs.active, "no run begins", timeout_s=20)
        run = runs.active()
        assert run is not None
        runs.claim(run.id, "trainer", 60)
        runs.report(run.id, "trainer", phase="training", progress=0.5, epoch=1, epochs=2)
        runs.finish(run.id, "trainer", state, reason)  # type: ignore[arg-type]

    return work


@pytest.mark.usefixtures("api_url")
@pytest.mark.parametrize(
    ("state", "code"), [("promoted", 0), ("refused", 1), ("failed", 1), ("cancelled", 1)]
)
def test_it_is_followed_to_its_end(shell: Shell, runs: Runs, state: str, code: int) -> None:
    with _meanwhile(_carry_out(runs, state, "Because [red] \x1b[31mof it.")):
        ended = shell("retrain", "--mode", "head", "--follow")
    assert ended.code == code
    assert "Run 1 is queued" in ended.out
    assert state in ended.out
    assert "Because [red] \\x1b[31mof it." in ended.out
    assert "\x1b" not in ended.err + ended.out


@pytest.mark.usefixtures("api_url")
def test_it_is_only_started(shell: Shell, runs: Runs) -> None:
    assert shell("retrain").code == 0
    assert runs.active() is not None
    again = shell("retrain")
    assert again.code == 5
    assert "run_active" in again.err
    assert "Run 1" in shell("retrain", "status").out
    assert shell("retrain", "cancel").code == 0
    followed = shell("retrain", "follow", 1)
    assert followed.code == 1
    assert "Run 1 was cancelled" in followed.out
    assert shell("retrain", "follow").code == 5
    assert shell("retrain", "cancel").code == 5
    listed = shell("retrain", "history")
    assert "cancelled" in listed.out
    assert "1 of 1 runs" in listed.err
    assert json.loads(shell("retrain", "history", "--json").out)["total"] == 1
    status = shell("retrain", "status")
    assert "0 new labelled images of 10: 10 more" in status.out
    assert "The last one: Run 1 was cancelled" in status.out
    assert json.loads(shell("retrain", "status", "--json").out)["state"] == "idle"


@pytest.mark.usefixtures("api_url")
def test_an_unknown_run(shell: Shell) -> None:
    ended = shell("retrain", "follow", 99)
    assert ended.code == 5
    assert "no run 99" in ended.err


@pytest.mark.parametrize(
    "arguments", [("--follow", "status"), ("--mode", "head", "cancel"), ("--url", "x", "status")]
)
def test_options_of_the_one_do_not_go_with_the_other(
    shell: Shell, arguments: tuple[str, ...]
) -> None:
    ended = shell("retrain", *arguments)
    assert ended.code == 2
    assert "do not go with" in ended.err


def test_no_server(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMSERVE_URL", f"http://127.0.0.1:{free_port()}")
    for command in ((), ("status",), ("cancel",), ("history",), ("follow",)):
        ended = shell("retrain", *command)
        assert ended.code == 3
        assert "dermserve up" in ended.err


def test_the_interrupted_follower_leaves_the_run(
    shell: Shell,
    api_url: str,
    runs: Runs,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import cluster.retrain_command as module

    def interrupted(told: Iterator[object]) -> Iterator[object]:
        yield next(told)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_shown", interrupted)
    ended = shell("retrain", "--follow")
    assert ended.code == 130
    assert "Run 1 goes on. `dermserve retrain follow 1`" in ended.err
    run = runs.active()
    assert run is not None
    assert not run.cancel_requested
