"""The load report: its numbers are those of the server that was loaded, and nothing is hidden."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.locust_load.overview import DATA_FILE, FIGURE_FILE, PAGE_FILE, read_overview
from benchmarks.locust_load.results import LoadResults
from benchmarks.locust_load.seed import SEED
from benchmarks.locust_load.step import REFUSED, Marks, Request, step_of
from benchmarks.locust_load.tables import (
    BEGIN,
    END,
    check_markers,
    markdown,
    users_table,
    verdict,
    write_markdown,
)
from benchmarks.wrk import LoadFailed
from tests.conftest import PROJECT, free_port
from tests.http_server import serving

MARKS = Marks(spawned_s=100, stopping_s=110, generator_cpu_s=2, generator_lag_p99_s=0.001)
DOCUMENT = f"# Load\n\nBefore.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n"


class SomeServer(ThreadingHTTPServer):
    """Answers like DermServe, and of the predictions some wrongly, as it is told to."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.ready = True
        self.asked: Counter[str] = Counter()
        self.given: Counter[str] = Counter()
        self.images = 0
        self.lock = threading.Lock()

    def answer(self, path: str, body: bytes) -> tuple[int, object, dict[str, str]]:
        """Status, document and headers; status 0 stands for hanging up."""
        if path in ("/", "/health/ready"):
            return self._looked_at(path)
        with self.lock:
            count = self.asked[path]
            self.asked[path] += 1
            self.images += path.startswith("/predict") * body.count(b'name="file')
        if path in ("/health", "/models", "/retrain/status"):
            return self._looked_at(path)
        if path == "/predict":
            kind = ("refused", "classless", "broken", "none", "right", "right")[count % 6]
        else:
            kind = ("partial", "short", "right")[count % 3]
        with self.lock:
            self.given[kind] += 1
        right = {"prediction": {"predicted_class": "nv"}}
        results = [right] * body.count(b'name="files"')
        return {
            "refused": (503, {"error": {"code": "overloaded"}}, {"Retry-After": "1"}),
            "classless": (200, {"predicted_class": None}, {}),
            "broken": (500, "no object", {}),
            "none": (0, None, {}),
            "right": (200, {"predicted_class": "mel", "results": results}, {}),
            "partial": (200, {"results": [{"error": {"code": "deadline"}}, *results[1:]]}, {}),
            "short": (200, {"results": results[1:]}, {}),
        }[kind]

    def _looked_at(self, path: str) -> tuple[int, object, dict[str, str]]:
        health = {
            "status": "ok" if self.ready else "not_ready",
            "model": {"version": "7"},
            "engine": {"name": "openvino", "precision": "bf16"},
            "data_path": {"proxy": "none"},
        }
        documents: dict[str, object] = {
            "/": {"version": "0.0.1"},
            "/health": health,
            "/health/ready": health,
            "/models": {"champion": "7", "models": [{"version": "7"}]},
            "/retrain/status": {"waiting": {"threshold": 10}},
        }
        return 200 if self.ready else 503, documents[path], {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SomeServer

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["content-length"])))

    def _answer(self, body: bytes) -> None:
        status, document, headers = self.server.answer(self.path, body)
        if not status:
            self.close_connection = True
            return
        content = json.dumps(document).encode()
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def some_server() -> Iterator[SomeServer]:
    server = SomeServer()
    with serving(server):
        yield server


def _report(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return _run("benchmarks.load_report", *arguments)


def _run(module: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def folder(some_server: SomeServer, jpeg: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a report on a few seconds of real load, with the document it was written into."""
    place = tmp_path_factory.mktemp("load")
    (place / "images").mkdir()
    (place / "images" / "a.jpg").write_bytes(jpeg)
    (place / "LOAD.md").write_text(DOCUMENT)
    result = _report(
        *("--url", some_server.url, "--users", "8,10", "--run-time", "3", "--spawn-rate", "50"),
        *("--images", place / "images", "--output", place / "report"),
        *("--write", place / "LOAD.md"),
    )
    assert result.returncode == 0, result.stderr
    assert "status 500 with a body that is none of the server's" in result.stdout
    return place / "report"


@pytest.fixture(scope="module")
def results(folder: Path) -> LoadResults:
    return read_overview(folder)


def test_every_request_that_the_server_saw_is_reported(
    results: LoadResults, some_server: SomeServer
) -> None:
    reported: Counter[str] = Counter()
    for step in results.steps:
        reported.update({route: traffic.requests for route, traffic in step.routes.items()})
        assert sum(t.requests for t in step.routes.values()) == step.total.requests
    del reported["/health/ready"]  # which the report asks itself, too
    assert reported == some_server.asked
    assert {"/predict", "/predict/batch", "/health"} <= reported.keys()


def test_wrong_answers_are_failures_and_refusals_stand_apart(
    results: LoadResults, some_server: SomeServer
) -> None:
    given, problems = some_server.given, Counter[str]()
    for step in results.steps:
        problems.update(step.problems)
    assert problems == {
        "/predict: status 503: overloaded": given["refused"],
        "/predict: no class is predicted": given["classless"],
        "/predict: status 500 with a body that is none of the server's": given["broken"],
        "/predict: no answer: HTTPConnectionClosed": given["none"],
        "/predict/batch: images without an answer: deadline": given["partial"],
        "/predict/batch: another number of results than of images": given["short"],
    }
    totals = [step.total for step in results.steps]
    assert sum(total.refused for total in totals) == given["refused"] > 0
    wrong = given.total() - given["right"] - given["refused"]
    assert sum(total.failed for total in totals) == wrong > 0


def test_the_people_send_real_images_in_batches_of_their_size(
    folder: Path, some_server: SomeServer
) -> None:
    rows = [
        line.split(",")
        for path in folder.glob("users-*/requests.csv")
        for line in path.read_text().splitlines()[1:]
    ]
    assert sum(int(images) for _, _, _, images, *_ in rows) == some_server.images
    assert {int(row[3]) for row in rows if row[1] == "/predict/batch"} <= set(range(5, 11))
    assert {int(row[3]) for row in rows if row[1] == "/predict"} == {1}


def test_the_results_say_what_was_measured(results: LoadResults) -> None:
    assert (results.server.version, results.server.model_version) == ("0.0.1", "7")
    assert results.generator.images == 1
    assert not results.generator.synthetic
    assert results.generator.same_machine
    assert [step.users for step in results.steps] == [8, 10]
    assert all(step.window_s >= 3 for step in results.steps)
    assert all(step.generator_cores > 0 for step in results.steps)


def test_the_page_holds_the_figure_and_leads_to_locusts_own(folder: Path) -> None:
    page = (folder / PAGE_FILE).read_text()
    links = re.findall(r'href="([^"]+)"', page)
    assert len(links) == 2
    for link in links:
        assert "<html" in (folder / link).read_text()
    (picture,) = re.findall(r"data:image/png;base64,([^\"]+)", page)
    assert base64.b64decode(picture) == (folder / FIGURE_FILE).read_bytes()
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        assert image.convert("L").getextrema()[0] < 60  # something is drawn


def test_the_document_gets_the_tables_between_its_markers(
    folder: Path, results: LoadResults
) -> None:
    document = folder.parent / "LOAD.md"
    text = document.read_text()
    assert text.startswith(f"# Load\n\nBefore.\n\n{BEGIN}\n")
    assert text.endswith(f"{END}\n\nAfter.\n")
    assert "old" not in text
    assert markdown(results) in text
    write_markdown(document, results)
    assert document.read_text() == text


def test_the_projects_own_document_has_its_markers() -> None:
    check_markers(PROJECT / "LOAD_TESTING.md")


def test_an_earlier_report_is_written_again_without_load(
    folder: Path, results: LoadResults, some_server: SomeServer, tmp_path: Path
) -> None:
    document = tmp_path / "LOAD.md"
    document.write_text(DOCUMENT)
    asked = some_server.asked.copy()
    result = _report("--from", folder, "--write", document)
    assert result.returncode == 0, result.stderr
    assert markdown(results) in document.read_text()
    assert some_server.asked == asked
    assert _report("--from", tmp_path).stderr.startswith(f"Error: {tmp_path / DATA_FILE} is no ")


def test_the_seeds_numbers_stand_below_ours(results: LoadResults) -> None:
    eight, ten, seed = users_table(results).rows
    assert eight[:2] == ("8", "DermServe")
    assert ten[:2] == ("10", "DermServe")
    assert seed[1:3] == ("seed", "10.5")
    assert seed[4] == f"{1000 * (SEED[10].mean_s or 0):.0f}" == "173"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--url", "http://127.0.0.1:{free}"), "No server answers at"),
        (("--write", "{tmp}/none.md"), "none.md cannot be read"),
        (("--write", "{tmp}/bare.md"), "bare.md lacks the lines between which results go"),
        (("--url", "{url}", "--output", "{tmp}"), "holds something already"),
    ],
)
def test_it_refuses_with_a_sentence(
    arguments: tuple[str, ...], sentence: str, some_server: SomeServer, tmp_path: Path
) -> None:
    (tmp_path / "bare.md").write_text("# Load\n")
    values = {"free": free_port(), "tmp": tmp_path, "url": some_server.url}
    result = _report(*(argument.format(**values) for argument in arguments))
    assert result.returncode == 1
    assert result.stderr.startswith("Error: ")
    assert sentence in result.stderr


def test_a_server_that_is_not_ready_is_not_loaded(tmp_path: Path) -> None:
    server = SomeServer()
    server.ready = False
    with serving(server):
        result = _report("--url", server.url, "--output", tmp_path / "report")
    assert result.returncode == 1
    assert f"The server at {server.url} is not ready" in result.stderr
    assert not server.asked
    assert not (tmp_path / "report").exists()


def _request(
    begun_s: float, response_s: float = 0.1, problem: str = "", images: int = 1
) -> Request:
    route = "/predict" + (REFUSED if problem.startswith("status 503") else "")
    return Request(
        begun_s=begun_s, route=route, response_s=response_s, images=images, problem=problem
    )


def test_a_bug_of_the_locustfile_is_no_silence(tmp_path: Path) -> None:
    """Locust itself counts a user's exception as nothing."""
    (tmp_path / "broken.py").write_text(
        "from locust import User, constant, task\n\n\n"
        "class Broken(User):\n"
        "    wait_time = constant(60)\n\n"
        "    @task\n"
        "    def work(self):\n"
        "        raise LookupError('no such\\nthing')\n"
    )
    recorder = PROJECT / "benchmarks" / "locust_load" / "recorder.py"
    _run(
        "locust",
        *("-f", f"{tmp_path / 'broken.py'},{recorder}", "--record", tmp_path, "--headless"),
        *("--host", "http://127.0.0.1:1", "--run-time", "1s"),
    )
    with (tmp_path / "requests.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["route"], row["problem"]) == ("locustfile", "LookupError: no such thing")


def test_times_are_of_what_began_while_all_were_there() -> None:
    requests = [_request(99.0, 5.0), *(_request(100 + i / 20, i / 1000) for i in range(200))]
    requests.append(_request(109.99, 30.0))  # its answer comes long after the end
    times = step_of(requests, MARKS, 10).total.latencies
    assert times is not None
    assert times.requests == 201
    assert (times.p50_s, times.p95_s, times.p99_s) == (0.1, 0.19, 0.198)
    assert times.max_s == 30.0


def test_rates_are_of_right_answers_that_came_while_all_were_there() -> None:
    requests = [
        _request(99.95, images=7),  # ends within
        _request(99.0),  # ended before
        _request(109.95),  # ends after
        _request(105, problem="status 500: internal_error"),
        _request(105, problem="status 503: overloaded"),
    ]
    total = step_of(requests, MARKS, 10).total
    assert (total.requests_per_s, total.images_per_s) == (0.1, 0.7)


def test_failures_count_from_the_first_user_on_and_refusals_do_not_flatter() -> None:
    requests = [
        _request(98, problem="no answer: ConnectionResetError"),
        _request(104, 0.3, "status 504: deadline_exceeded"),
        *(_request(105, 0.001, "status 503: overloaded") for _ in range(8)),
    ]
    step = step_of(requests, MARKS, 10)
    assert (step.total.requests, step.total.refused, step.total.failed) == (10, 8, 2)
    assert step.total.latencies is not None
    assert step.total.latencies.p50_s == 0.3
    assert step.problems["/predict: status 503: overloaded"] == 8
    assert step.routes.keys() == {"/predict"}
    assert verdict(step).endswith("8 refused and 2 failed of 10")


def test_a_step_without_answers_is_none() -> None:
    with pytest.raises(LoadFailed, match="Raise --run-time"):
        step_of([_request(50)], MARKS, 10)
