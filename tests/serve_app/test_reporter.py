"""The reporter without Ray: when it reports, and that no trouble ends it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from ray.serve.exceptions import RayServeException

from models.replica_report import ReplicaReport
from serve_app import reporter as module
from serve_app.generation import Generation
from serve_app.reporter import Reporter, Send
from tests.waiting import until

PATIENCE_S = 30.0


class Trainer:
    """Takes reports; as long as it is `gone` it cannot be found, and `trouble` is raised."""

    def __init__(self) -> None:
        self.reports: asyncio.Queue[ReplicaReport] = asyncio.Queue()
        self.number = 0
        self.gone = False
        self.trouble: BaseException | None = None
        self.silent = False
        self.searches = 0
        self.cancelled = 0

    async def connect(self) -> Send:
        self.searches += 1
        if self.gone:
            raise RayServeException("Application 'trainer' does not exist.")
        return self.report

    async def report(self, report: ReplicaReport) -> None:
        if self.silent:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled += 1
        await self.reports.put(report)
        if self.trouble is not None:
            raise self.trouble

    def say(self) -> ReplicaReport:
        self.number += 1
        return Generation(number=self.number).report("replica")

    async def next(self) -> int:
        return (await asyncio.wait_for(self.reports.get(), PATIENCE_S)).generation


@pytest.fixture
def trainer() -> Trainer:
    return Trainer()


@pytest.fixture
async def reporter(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reporter]:
    """One that reports only when it is told to."""
    monkeypatch.setattr(module, "PERIOD_S", 3600.0)
    reporter = Reporter(trainer.say, trainer.connect)
    yield reporter
    reporter.close()


async def test_it_reports_at_once_and_after_each_change(
    reporter: Reporter, trainer: Trainer
) -> None:
    assert await trainer.next() == 1
    reporter.report_soon()
    assert await trainer.next() == 2
    reporter.report_soon()
    reporter.report_soon()
    assert await trainer.next() == 3
    assert trainer.reports.empty()
    assert trainer.searches == 1


async def test_it_reports_by_itself(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PERIOD_S", 0.001)
    reporter = Reporter(trainer.say, trainer.connect)
    assert [await trainer.next() for _ in range(5)] == [1, 2, 3, 4, 5]
    reporter.close()


async def test_a_change_during_a_report_is_reported_after_it(
    reporter: Reporter, trainer: Trainer
) -> None:
    assert await trainer.next() == 1
    before = trainer.report

    async def report(report: ReplicaReport) -> None:
        if report.generation == 2:
            reporter.report_soon()
        await before(report)

    reporter._send = report
    reporter.report_soon()
    assert [await trainer.next(), await trainer.next()] == [2, 3]


async def test_without_a_trainer_it_tries_again_and_says_so_once(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "PERIOD_S", 0.001)
    trainer.gone = True
    with caplog.at_level(logging.INFO, "ray.serve"):
        reporter = Reporter(trainer.say, trainer.connect)
        await until(lambda: trainer.searches >= 20, "it does not try again", PATIENCE_S)
        trainer.gone = False
        await trainer.next()
        await trainer.next()
    reporter.close()
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "Application 'trainer' does not exist" in messages[0]
    assert messages[1] == "The trainer takes this replica's reports"


@pytest.mark.parametrize(
    "trouble",
    [
        RayServeException("it is restarting"),
        ConnectionResetError(),
        ValueError("a bug of the trainer"),
        asyncio.CancelledError(),
    ],
    ids=repr,
)
async def test_a_trainer_in_trouble_is_told_again(
    reporter: Reporter, trainer: Trainer, trouble: BaseException
) -> None:
    trainer.trouble = trouble
    assert await trainer.next() == 1
    reporter.report_soon()
    assert await trainer.next() == 2
    trainer.trouble = None
    reporter.report_soon()
    assert await trainer.next() == 3
    assert trainer.searches == 1  # a handle follows its replicas


async def test_a_silent_trainer_is_given_up(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PERIOD_S", 3600.0)
    monkeypatch.setattr(module, "TIMEOUT_S", 0.001)
    trainer.silent = True
    reporter = Reporter(trainer.say, trainer.connect)
    await until(lambda: trainer.cancelled, "it waits for ever", PATIENCE_S)
    trainer.silent = False
    monkeypatch.setattr(module, "TIMEOUT_S", PATIENCE_S)
    reporter.report_soon()
    assert await trainer.next() == 2
    reporter.close()


async def test_closing_ends_it(reporter: Reporter, trainer: Trainer) -> None:
    await trainer.next()
    reporter.close()
    await asyncio.wait([reporter._task])
    assert reporter._task.cancelled()
