"""The lines of the log, as Ray's own handlers write them: ids, traces, one line each, and ends."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

import pytest
import ray.serve.context
from ray.serve._private.logging_utils import configure_component_logger
from ray.serve.schema import LoggingConfig

from models.log_records import (
    LOGGER,
    REQUEST_FIELDS,
    RecordFilter,
    batch_fields,
    printable,
    write_log_records,
)
from tests.waiting import wait_until

COMPONENT = {"component_name": "replica", "deployment": "ingress", "replica": "abc"}
FORGED = "mine\r\nERROR 2026-01-01 forged \x1b[31m\u2028\u0085x"


class Log:
    """A replica's log as Serve opens it.

    Args:
        folder: of its files.
        encoding: TEXT or JSON.
        max_bytes: of one file.
    """

    def __init__(self, folder: Path, encoding: str, max_bytes: int = 1_000_000) -> None:
        self.folder = folder
        configure_component_logger(
            component_name="ingress",
            component_id="abc",
            logging_config=LoggingConfig(
                encoding=encoding, enable_access_log=False, logs_dir=str(folder)
            ),
            max_bytes=max_bytes,
            backup_count=2,
        )
        self.logger = logging.getLogger(LOGGER)

    def files(self) -> list[Path]:
        for handler in self.logger.handlers:
            handler.flush()
        return sorted(self.folder.iterdir())

    def lines(self) -> list[str]:
        return [line for path in self.files() for line in path.read_text().split("\n") if line]


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """Serve's logger, given back as it was."""
    logger = logging.getLogger(LOGGER)
    before = logger.handlers[:], logger.filters[:], logger.propagate, logger.level
    complete = RecordFilter(COMPONENT)
    logger.addFilter(complete)
    yield logger
    for handler in logger.handlers:
        if handler not in before[0]:
            if isinstance(handler, MemoryHandler) and handler.target is not None:
                handler.target.close()
            handler.close()
    logger.handlers[:], logger.filters[:], logger.propagate = before[0], before[1], before[2]
    logger.setLevel(before[3])


@pytest.fixture(params=["TEXT", "JSON"])
def log(request: pytest.FixtureRequest, tmp_path: Path, logger: logging.Logger) -> Log:
    return Log(tmp_path / "logs", request.param)


@pytest.fixture
def json_log(tmp_path: Path, logger: logging.Logger) -> Log:
    return Log(tmp_path / "logs", "JSON")


async def test_a_line_says_the_request_and_its_trace(json_log: Log) -> None:
    async def answer(request_id: str, trace_id: str) -> None:
        REQUEST_FIELDS.set({"request_id": request_id, "trace_id": trace_id})
        await asyncio.sleep(0)
        json_log.logger.warning("Something of %s", request_id)

    await asyncio.gather(*(answer(f"request-{i}", f"trace-{i}") for i in range(5)))
    json_log.logger.info("Of nobody")
    *ours, nobody = map(json.loads, json_log.lines())
    for i, line in enumerate(ours):
        assert (line["request_id"], line["trace_id"]) == (f"request-{i}", f"trace-{i}")
        assert line["message"] == f"Something of request-{i}"
        assert COMPONENT.items() <= line.items()
        assert (line["levelname"], line["filename"]) == ("WARNING", "test_log_records.py")
    assert "request_id" not in nobody


def test_a_wrong_line_is_written_and_harms_nobody(json_log: Log) -> None:
    json_log.logger.error("%d of %d", "one")
    (line,) = map(json.loads, json_log.lines())
    assert line["message"] == "%d of %d ('one',)"


def test_a_line_in_text_says_the_request_too(tmp_path: Path, logger: logging.Logger) -> None:
    log = Log(tmp_path / "logs", "TEXT")
    log.logger.error("Something failed", extra={"request_id": "mine-1"})
    (line,) = log.lines()
    assert " mine-1 -- Something failed" in line


def test_a_line_about_a_batch_says_every_request_once(json_log: Log) -> None:
    json_log.logger.error("A batch failed", extra=batch_fields(["b", "a", "b", "", FORGED]))
    (line,) = map(json.loads, json_log.lines())
    assert line["request_ids"] == ["b", "a", printable(FORGED)]
    assert line["message"] == f"A batch failed (requests: b, a, {printable(FORGED)})"
    assert "request_id" not in line


def test_the_id_that_serve_knows_counts_where_somebody_outside_has_asked(json_log: Log) -> None:
    context: Any = ray.serve.context
    known = context._serve_request_context
    for route in ("/predict", ""):
        token = known.set(context._RequestContext(route=route, request_id="of-serve"))
        json_log.logger.warning("A line")
        known.reset(token)
    first, second = map(json.loads, json_log.lines())
    assert (first["request_id"], first["route"]) == ("of-serve", "/predict")
    assert "request_id" not in second  # made up for a batch of many


@pytest.mark.parametrize("where", ["id", "context", "argument", "message"])
def test_a_client_cannot_forge_a_line(log: Log, where: str) -> None:
    token = None
    if where == "id":
        log.logger.error("A line", extra={"request_id": FORGED})
    elif where == "context":
        token = REQUEST_FIELDS.set({"request_id": FORGED})
        log.logger.error("A line")
    elif where == "argument":
        log.logger.error("A line about %s", FORGED)
    else:
        log.logger.error("A line about " + FORGED)
    if token is not None:
        REQUEST_FIELDS.reset(token)
    (path,) = log.files()
    text = path.read_text()
    assert len(text.splitlines()) == 1  # which ends lines at U+2028 and U+0085 too
    assert text[:-1].isprintable()
    assert "mine" in text


def test_an_error_has_its_traceback(json_log: Log) -> None:
    try:
        raise ValueError("a bug\nof two lines")
    except ValueError:
        json_log.logger.exception("It failed")
    (line,) = map(json.loads, json_log.lines())
    assert line["message"] == "It failed"
    assert line["exc_text"].startswith("Traceback")
    assert line["exc_text"].endswith("ValueError: a bug\nof two lines")


def test_files_are_put_aside_and_every_line_stays_whole(
    tmp_path: Path, logger: logging.Logger
) -> None:
    log = Log(tmp_path / "logs", "JSON", max_bytes=20_000)
    for i in range(400):
        log.logger.info("A line", extra={"number": i})
    files = log.files()
    assert len(files) == 3  # the one in use and two put aside; older ones are gone
    assert all(path.stat().st_size <= 20_000 for path in files)
    numbers = sorted(json.loads(line)["number"] for line in log.lines())
    assert numbers == list(range(numbers[0], 400))
    assert numbers[0] > 0


def test_outside_serve_nothing_changes() -> None:
    logger = logging.getLogger(LOGGER)
    before = logger.filters[:], logger.handlers[:]
    write_log_records()
    assert (logger.filters, logger.handlers) == before


def test_what_waits_in_memory_is_written_in_a_moment(
    tmp_path: Path, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger.filters[:] = [each for each in logger.filters if not isinstance(each, RecordFilter)]
    monkeypatch.setattr("models.log_records._component", lambda: COMPONENT)
    log = Log(tmp_path / "logs", "JSON")
    (handler,) = [each for each in logger.handlers if isinstance(each, MemoryHandler)]
    handler.capacity = 1000
    write_log_records()
    write_log_records()  # of several stages in one replica
    assert sum(isinstance(each, RecordFilter) for each in logger.filters) == 1
    log.logger.info("A line")
    (path,) = log.folder.iterdir()
    wait_until(path.read_text, "the line is not written")
    assert json.loads(path.read_text())["deployment"] == "ingress"


def test_an_id_is_visible_ascii() -> None:
    assert printable("mine-1.A/ü\n\x00 x") == "mine-1.A/????x"
    assert len(printable("x" * 1000)) == 128
    assert printable("") == ""
