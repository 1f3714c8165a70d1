"""The slot without Ray and without a network: what is wished for, loaded, swapped and freed."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from pathlib import Path

import pytest

from models.errors import InvalidPackage, ModelUnavailable
from models.package import WEIGHTS_FILE, ModelPackage
from serve_app.generation import Generation
from serve_app.loaded_model import LoadedModel
from serve_app.model_slot import ModelSlot
from serve_app.niceness import COMPUTE
from tests.models.packages import write_small_package
from tests.serve_app.models import FixedEngine, loaded

PATIENCE_S = 30.0


class Garage:
    """Loads models, remembers which are alive, and holds a load up where a test wants it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.loads: list[str] = []
        self.alive: dict[str, weakref.ref[LoadedModel]] = {}
        self.beside: dict[str, set[str]] = {}
        """Versions in memory when a version's load began."""
        self.freed_on: list[str] = []
        self.niceness: set[int] = set()
        self.errors: dict[str, Exception] = {}
        self.gates: dict[str, threading.Event] = {}
        self.loading: dict[str, threading.Event] = {}

    def package(self, version: str) -> str:
        """Folder of a package of that version."""
        folder = self._folder / version
        if not folder.exists():
            write_small_package(folder, version)
        return str(folder)

    def hold(self, version: str) -> threading.Event:
        """Stop the load of a version until the event is set."""
        self.loading[version] = threading.Event()
        self.gates[version] = threading.Event()
        return self.gates[version]

    def living(self) -> set[str]:
        return {version for version, model in self.alive.items() if model() is not None}

    def load(self, package: ModelPackage) -> LoadedModel:
        version = package.manifest.version
        self.loads.append(version)
        self.niceness.add(os.getpriority(os.PRIO_PROCESS, 0))
        self.beside[version] = self.living()
        if version in self.gates:
            self.loading[version].set()
            assert self.gates[version].wait(PATIENCE_S)
        if version in self.errors:
            raise self.errors[version]
        model = loaded(package, FixedEngine())
        self.alive[version] = weakref.ref(model)
        weakref.finalize(
            model, lambda: self.freed_on.append(threading.current_thread().name)
        ).atexit = False
        return model


class Watched(ModelSlot):
    """A slot that remembers its generations, as words, and lets a test wait for one."""

    def __init__(self, garage: Garage) -> None:
        self.history: list[str] = []
        self._news = asyncio.Event()
        super().__init__(garage.load, self._note)

    def _note(self) -> None:
        self.history.append(_words(self.generation))
        self._news.set()

    async def until(self, condition: Callable[[Generation], object]) -> Generation:
        while not condition(self.generation):
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), PATIENCE_S)
        return self.generation

    async def freed(self) -> None:
        """Wait until its thread has done everything that was asked of it."""
        await asyncio.wrap_future(self._thread.submit(lambda: None))


def _words(generation: Generation) -> str:
    report = generation.report("replica")
    return f"{report.generation}: {report.version} beside {report.standby}"


@pytest.fixture
def garage(tmp_path: Path) -> Garage:
    return Garage(tmp_path)


@pytest.fixture
async def slot(garage: Garage) -> AsyncIterator[Watched]:
    slot = Watched(garage)
    yield slot
    await slot.close()


async def _serve(slot: Watched, garage: Garage, version: str, **more: object) -> None:
    wish = {"model": garage.package(version), **more}
    if "standby" in more:
        wish["standby"] = garage.package(str(more["standby"]))
    slot.wish(wish)
    standby = more.get("standby")
    await slot.until(lambda now: _words(now).endswith(f" {version} beside {standby}"))


async def test_the_first_model_is_waited_for(slot: Watched, garage: Garage) -> None:
    gate = garage.hold("a")
    slot.wish({"model": garage.package("a")})
    await asyncio.to_thread(garage.loading["a"].wait, PATIENCE_S)
    assert not slot.decided.is_set()
    assert slot.generation.serving is None
    gate.set()
    await asyncio.wait_for(slot.decided.wait(), PATIENCE_S)
    assert _words(slot.generation) == "0: a beside None"


async def test_a_model_that_cannot_be_loaded_is_waited_for_too(
    slot: Watched, garage: Garage, caplog: pytest.LogCaptureFixture
) -> None:
    slot.wish({"model": "/nowhere"})
    await asyncio.wait_for(slot.decided.wait(), PATIENCE_S)
    assert slot.generation.serving is None
    told = slot.generation.load_error or ""
    assert "its package is not there" in told
    assert "dermserve models list" in told
    assert "nowhere" not in told
    assert "There is no model package in /nowhere" in caplog.text
    await _serve(slot, garage, "a")
    assert slot.generation.load_error is None


async def test_the_standby_takes_over_without_loading(slot: Watched, garage: Garage) -> None:
    await _serve(slot, garage, "a", standby="b", generation=1)
    first = slot.generation
    for number in range(2, 12):
        serving, standby = "ab" if number % 2 else "ba"
        await _serve(slot, garage, serving, standby=standby, generation=number)
    await _serve(slot, garage, "a", standby="b", generation=12)
    assert garage.loads == ["a", "b"]
    assert slot.generation.serving is first.serving
    assert slot.generation.standby is first.standby


async def test_the_same_model_may_be_both(slot: Watched, garage: Garage) -> None:
    await _serve(slot, garage, "a", standby="a")
    assert garage.loads == ["a"]
    assert slot.generation.serving is slot.generation.standby


async def test_the_model_serves_while_its_standby_loads(slot: Watched, garage: Garage) -> None:
    gate = garage.hold("b")
    slot.wish({"model": garage.package("a"), "standby": garage.package("b"), "generation": 7})
    now = await slot.until(lambda now: now.number == 7)
    assert _words(now) == "7: a beside None"
    assert now.standby_error is None
    now.counts.live_images += 3
    gate.set()
    now = await slot.until(lambda now: now.standby)
    assert _words(now) == "7: a beside b"
    assert now.counts.live_images == 3


async def test_a_swap_begins_to_count_anew(slot: Watched, garage: Garage) -> None:
    await _serve(slot, garage, "a", generation=1)
    before = slot.generation.counts
    before.live_images = 5
    await _serve(slot, garage, "b", generation=2)
    before.live_images += 1  # a batch that was under way
    assert slot.generation.report("r").live_images == 0


async def test_only_the_newest_wish_counts(slot: Watched, garage: Garage) -> None:
    await _serve(slot, garage, "a", generation=1)
    gate = garage.hold("b")
    slot.wish({"model": garage.package("b"), "generation": 2})
    await asyncio.to_thread(garage.loading["b"].wait, PATIENCE_S)
    for number, version in enumerate("cde", start=3):
        slot.wish({"model": garage.package(version), "generation": number})
    gate.set()
    await slot.until(lambda now: now.number == 5)
    assert slot.history == ["1: a beside None", "5: e beside None"]
    assert garage.loads == ["a", "b", "e"]
    await slot.freed()
    assert garage.living() == {"e"}


async def test_a_wish_taken_back_keeps_what_served(slot: Watched, garage: Garage) -> None:
    await _serve(slot, garage, "a", standby="b", generation=1)
    gate = garage.hold("c")
    slot.wish({"model": garage.package("c"), "standby": garage.package("b"), "generation": 2})
    await asyncio.to_thread(garage.loading["c"].wait, PATIENCE_S)
    slot.wish({"model": garage.package("a"), "standby": garage.package("b"), "generation": 1})
    gate.set()
    await slot.until(lambda now: len(slot.history) == 4)
    assert slot.history[-1] == "1: a beside b"
    assert garage.loads == ["a", "b", "c"]
    await slot.freed()
    assert garage.living() == {"a", "b"}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError("full"), "its load failed"),
        (RuntimeError("a driver in /opt"), "its load failed"),
        (InvalidPackage("/srv/models/b/weights is missing."), "fails its self-test"),
        (ModelUnavailable("postgresql://registry/ is away."), "the model registry does not answer"),
    ],
)
async def test_a_failed_load_keeps_the_old_model_and_says_so(
    slot: Watched, garage: Garage, error: Exception, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    await _serve(slot, garage, "a", generation=1)
    garage.errors["b"] = error
    slot.wish({"model": garage.package("b"), "generation": 2})
    now = await slot.until(lambda now: now.number == 2)
    assert _words(now) == "2: a beside None"
    assert told in (now.load_error or "")
    assert str(error) not in (now.load_error or "")
    assert "/" not in (now.load_error or "")
    assert str(error) in caplog.text
    del garage.errors["b"]
    await _serve(slot, garage, "b", generation=3)
    assert slot.generation.load_error is None


async def test_a_standby_that_fails_has_no_substitute(slot: Watched, garage: Garage) -> None:
    await _serve(slot, garage, "a", standby="b", generation=1)
    Path(garage.package("c"), WEIGHTS_FILE).write_bytes(b"damaged")
    slot.wish({"model": garage.package("a"), "standby": garage.package("c"), "generation": 2})
    now = await slot.until(lambda now: now.standby_error)
    assert _words(now) == "2: a beside None"
    assert "altered or damaged" in (now.standby_error or "")
    assert now.load_error is None
    await slot.freed()
    assert garage.living() == {"a"}
    assert garage.loads == ["a", "b"]  # a damaged package is not even tried


async def test_a_broken_model_beside_a_good_standby(slot: Watched, garage: Garage) -> None:
    """As when the challenger breaks at the moment of the switch."""
    await _serve(slot, garage, "a", standby="b", generation=1)
    slot.wish({"model": "/nowhere", "standby": garage.package("a"), "generation": 2})
    now = await slot.until(lambda now: now.standby and now.number == 2)
    assert _words(now) == "2: a beside a"
    assert now.load_error
    assert now.standby_error is None


async def test_a_version_that_nobody_registered(slot: Watched, garage: Garage) -> None:
    await _serve(slot, garage, "a", generation=1)
    slot.wish({"model": garage.package("a"), "standby": "no-such-version", "generation": 2})
    now = await slot.until(lambda now: now.standby_error)
    assert "Model no-such-version was not loaded: the model registry has no" in (
        now.standby_error or ""
    )


@pytest.mark.parametrize(
    "wish",
    [
        None,
        [],
        7,
        "champion",
        {"modle": "champion"},
        {"model": 7},
        {"model": None},
        {"model": ""},
        {"standby": ""},
        {"standby": ["b"]},
        {"shadow_share": math.nan},
        {"shadow_share": math.inf},
        {"shadow_share": -0.1},
        {"shadow_share": 1.1},
        {"shadow_share": "0.5"},
        {"shadow_share": True},
        {"generation": -1},
        {"generation": 1.5},
        {"generation": True},
    ],
    ids=str,
)
async def test_a_wrong_configuration_changes_nothing(
    slot: Watched, garage: Garage, wish: object
) -> None:
    await _serve(slot, garage, "a", standby="b", generation=1)
    slot.generation.counts.live_images = 5
    slot.wish(wish)
    now = await slot.until(lambda now: now.load_error)
    assert (now.load_error or "").startswith("The user_config of the classifier breaks a rule.")
    assert _words(now) == "1: a beside b"
    assert now.counts.live_images == 5


@pytest.mark.parametrize("name", ["x" * 5000, "nul\x00", "../..", "/etc/passwd", "\ud800"])
async def test_a_hostile_name_is_an_error_like_another(
    slot: Watched, garage: Garage, name: str
) -> None:
    await _serve(slot, garage, "a", generation=1)
    slot.wish({"model": name, "generation": 2})
    now = await slot.until(lambda now: now.load_error)
    assert _words(now).startswith(("1: a", "2: a"))


async def test_what_is_no_longer_named_is_freed_before_the_standby_is_loaded(
    slot: Watched, garage: Garage
) -> None:
    await _serve(slot, garage, "a", standby="b", generation=1)
    await _serve(slot, garage, "c", standby="d", generation=2)
    assert garage.beside["c"] == {"a", "b"}
    assert garage.beside["d"] == {"c"}


async def test_models_are_freed_on_the_loading_thread(slot: Watched, garage: Garage) -> None:
    """Freeing an engine takes tens of milliseconds, in which the loop would answer nobody."""
    for number, (serving, standby) in enumerate(["ab", "cd", "ef", "fe"]):
        await _serve(slot, garage, serving, standby=standby, generation=number)
        await slot.freed()
    slot.drop_standby("It failed.")
    await slot.freed()
    assert garage.living() == {"f"}
    assert len(garage.freed_on) == 5
    assert {name.split("_")[0] for name in garage.freed_on} == {"load"}


async def test_models_are_loaded_on_a_thread_that_gives_way(slot: Watched, garage: Garage) -> None:
    """An engine's own threads keep the niceness that they began with."""
    await _serve(slot, garage, "a", standby="b")
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert garage.niceness == {min(19, own + COMPUTE)}


async def test_a_dropped_standby_is_gone_and_the_rest_stays(slot: Watched, garage: Garage) -> None:
    await _serve(slot, garage, "a", standby="b", generation=4)
    slot.generation.counts.live_images = 5
    slot.drop_standby("It failed on an image.")
    report = slot.generation.report("r")
    assert (report.generation, report.version, report.standby) == (4, "a", None)
    assert report.standby_error == "It failed on an image."
    assert report.live_images == 5


async def test_closing_frees_everything_and_gives_up_the_wish(garage: Garage) -> None:
    slot = Watched(garage)
    await _serve(slot, garage, "a", standby="b")
    gate = garage.hold("c")
    slot.wish({"model": garage.package("c")})
    await asyncio.to_thread(garage.loading["c"].wait, PATIENCE_S)
    closing = asyncio.ensure_future(slot.close())
    gate.set()
    await closing
    await asyncio.to_thread(slot._thread.shutdown)
    assert garage.living() == set()
    assert slot.history[-1] == "0: a beside b"


async def test_a_load_belongs_to_no_caller(garage: Garage) -> None:
    """Serve cancels what was begun in the context of a request that hangs up."""
    caller: ContextVar[str] = ContextVar("caller", default="nobody")
    seen = []
    placed = asyncio.Event()

    def changed() -> None:
        seen.append(caller.get())
        placed.set()

    slot = ModelSlot(garage.load, changed)
    caller.set("a request")
    slot.wish({"model": garage.package("a")})
    await asyncio.wait_for(placed.wait(), PATIENCE_S)
    await slot.close()
    assert seen == ["nobody"]
