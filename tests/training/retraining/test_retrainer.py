"""The retrainer: when it starts, that it never starts twice, and how every run ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from data.catalogue.rollouts import Rollouts
from data.catalogue.runs import Runs
from data.catalogue.upload_counts import UploadCounts
from data.catalogue.uploads import Uploads
from models.classes import CLASSES
from models.errors import CatalogueUnavailable, DermServeError, RunActive
from models.registry import Registry
from tests.models.packages import write_small_package
from tests.training.promotion.replicas import InMemoryServe
from tests.training.retraining.conftest import MakeRetrainer, Upload
from tests.training.retraining.learners import EndlessLearner, InstantLearner, storage_of
from tests.waiting import wait_until
from training.promotion.rollout import RolloutDriver, Stopped
from training.retraining import retrainer as retrainer_module
from training.retraining.learner import Assignment
from training.retraining.waiting import Waiting
from training.settings import RetrainSettings

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")  # MLflow

TEN = ["nv", "mel", "bkl"] * 3 + ["df"]


@pytest.fixture
def rolling(driver: RolloutDriver) -> Iterator[None]:
    """The trainer's other loop at work."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(0.01):
            driver.step()

    thread = threading.Thread(target=repeat)
    thread.start()
    yield
    ended.set()
    thread.join()


def _until_over(retrainer: retrainer_module.Retrainer, runs: Runs) -> None:
    """Step until no run is active; lost leases take a moment to run out."""
    deadline = time.monotonic() + 20
    retrainer.step()
    while runs.active() is not None:
        assert time.monotonic() < deadline, "the run does not end"
        retrainer.step()


def test_nine_images_are_not_ten(make_retrainer: MakeRetrainer, upload: Upload, runs: Runs) -> None:
    retrainer = make_retrainer()
    upload([*TEN[:9], None, None])
    retrainer.step()
    assert runs.history().total == 0


@pytest.mark.usefixtures("rolling")
def test_the_tenth_image_makes_a_new_champion(
    make_retrainer: MakeRetrainer,
    upload: Upload,
    runs: Runs,
    registry: Registry,
    uploads: Uploads,
    rollouts: Rollouts,
) -> None:
    ids = upload(TEN)
    _until_over(make_retrainer(), runs)
    (run,) = runs.history().items
    assert (run.state, run.trigger, run.mode, run.attempts) == ("promoted", "threshold", "head", 1)
    assert (run.champion_version, run.challenger_version) == ("1", "4")
    assert (run.images, run.new_images) == (10, 10)
    assert registry.champion().version == "4"
    assert registry.version("4").verdict == "passed"
    rollout = rollouts.latest()
    assert rollout is not None
    assert rollout.run_id == run.id
    assert sum(uploads.counts().new.values()) == 0
    deleted = uploads.delete(ids[0], "tester")
    assert [(m.version, m.promoted) for m in deleted.models] == [("4", True)]


@pytest.mark.parametrize("passes", [True, False])
@pytest.mark.usefixtures("rolling")
def test_no_copy_of_an_upload_outlives_its_run(
    make_retrainer: MakeRetrainer,
    upload: Upload,
    runs: Runs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    passes: bool,
) -> None:
    monkeypatch.setattr(InstantLearner, "passes", passes)
    trained_by_hand = storage_of(tmp_path) / "3-20261124"
    trained_by_hand.mkdir(parents=True)
    upload(TEN)
    retrainer = make_retrainer()
    _until_over(retrainer, runs)
    retrainer.step()
    assert list(storage_of(tmp_path).iterdir()) == [trained_by_hand]


@pytest.mark.usefixtures("rolling")
def test_the_same_images_start_nothing_again_but_new_labels_count_as_new(
    make_retrainer: MakeRetrainer, upload: Upload, runs: Runs, uploads: Uploads
) -> None:
    ids = upload(TEN)
    retrainer = make_retrainer()
    _until_over(retrainer, runs)
    for _ in range(3):
        retrainer.step()
    assert runs.history().total == 1
    for upload_id in ids:
        uploads.change(upload_id, actor="tester", label="vasc")
    _until_over(retrainer, runs)
    assert runs.history().total == 2


def test_a_refused_challenger_is_kept_with_its_reason(
    make_retrainer: MakeRetrainer,
    upload: Upload,
    runs: Runs,
    registry: Registry,
    rollouts: Rollouts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(InstantLearner, "passes", False)
    upload(TEN)
    _until_over(make_retrainer(), runs)
    (run,) = runs.history().items
    assert (run.state, run.reason) == ("refused", "It was decided at once.")
    assert registry.champion().version == "1"
    kept = registry.version("4")
    assert (kept.verdict, kept.reason) == ("refused", "It was decided at once.")
    assert registry.folder(kept).is_dir()
    assert rollouts.latest() is None


@pytest.mark.usefixtures("rolling")
def test_a_challenger_that_does_not_load_leaves_the_champion(
    make_retrainer: MakeRetrainer,
    upload: Upload,
    runs: Runs,
    registry: Registry,
    serve: InMemoryServe,
) -> None:
    serve.damaged = {"4"}
    upload(TEN)
    _until_over(make_retrainer(), runs)
    (run,) = runs.history().items
    assert run.state == "refused"
    assert "4 is damaged" in str(run.reason)
    assert registry.champion().version == "1"
    assert registry.version("4").verdict == "refused"


def test_an_error_ends_the_run_and_says_why(
    make_retrainer: MakeRetrainer,
    upload: Upload,
    runs: Runs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(InstantLearner, "error", DermServeError("The disk is full. Free some."))
    upload(TEN)
    retrainer = make_retrainer()
    _until_over(retrainer, runs)
    retrainer.step()
    (run,) = runs.history().items
    assert (run.state, run.reason) == ("failed", "The disk is full. Free some.")


@pytest.mark.usefixtures("rolling")
def test_a_killed_learner_is_followed_by_another(
    make_retrainer: MakeRetrainer,
    upload: Upload,
    runs: Runs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(InstantLearner, "lost_times", 2)
    upload(TEN)
    _until_over(make_retrainer(), runs)
    (run,) = runs.history().items
    assert (run.state, run.attempts) == ("promoted", 3)
    versions = {assignment.version for assignment in InstantLearner.assignments}
    assert versions == {"4"}, "every attempt makes the same version"


def test_a_learner_that_is_killed_each_time_fails_the_run(
    make_retrainer: MakeRetrainer,
    upload: Upload,
    runs: Runs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(InstantLearner, "lost_times", 99)
    upload(TEN)
    _until_over(make_retrainer(), runs)
    (run,) = runs.history().items
    assert (run.state, run.attempts) == ("failed", 3)
    assert "lost 3 times" in str(run.reason)


@pytest.mark.usefixtures("rolling")
def test_a_trainer_that_shuts_down_leaves_the_run_to_the_next(
    make_retrainer: MakeRetrainer, upload: Upload, runs: Runs, stopped: threading.Event
) -> None:
    upload(TEN)
    stopped.set()
    with pytest.raises(Stopped):
        make_retrainer(EndlessLearner).step()
    assert EndlessLearner.killed
    active = runs.active()
    assert active is not None
    stopped.clear()
    _until_over(make_retrainer(), runs)
    (run,) = runs.history().items
    assert (run.id, run.state, run.attempts) == (active.id, "promoted", 2)


def test_two_trainers_never_work_on_one_run(
    make_retrainer: MakeRetrainer, upload: Upload, runs: Runs
) -> None:
    upload(TEN)
    run = runs.request("head", "manual", "tester")
    assert runs.claim(run.id, "the other trainer", lease_s=60) is not None
    make_retrainer(lease_s=60).step()
    assert InstantLearner.assignments == []
    with pytest.raises(RunActive):
        runs.request("head", "manual", "tester")


def test_a_run_is_cancelled_before_it_begins_and_while_it_works(
    make_retrainer: MakeRetrainer,
    upload: Upload,
    runs: Runs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upload(["nv"])
    runs.request("head", "manual", "tester")
    runs.cancel("tester")
    assert runs.active() is None
    monkeypatch.setattr(retrainer_module, "CANCEL_GRACE_S", 0.0)
    monkeypatch.setattr(EndlessLearner, "killed", False)
    run = runs.request("head", "manual", "tester")
    thread = threading.Thread(target=make_retrainer(EndlessLearner, lease_s=60).step)
    thread.start()
    wait_until(lambda: EndlessLearner.assignments or not thread.is_alive(), "it does not begin")
    runs.cancel("tester")
    thread.join(timeout=20)
    assert runs.get(run.id).state == "cancelled"
    assert EndlessLearner.killed


def test_a_run_that_was_stopped_before_it_began_is_not_begun_again_at_once(
    make_retrainer: MakeRetrainer, upload: Upload, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InstantLearner, "passes", False)
    upload(TEN)
    runs.request("head", "manual", "tester")
    runs.cancel("tester")
    retrainer = make_retrainer()
    retrainer.step()
    assert runs.history().total == 1
    upload(["nv"])
    _until_over(retrainer, runs)
    (second, _) = runs.history().items
    assert (second.state, second.trigger, second.images) == ("refused", "threshold", 11)


@pytest.mark.usefixtures("rolling")
def test_images_of_a_failed_run_start_no_run_but_count_at_the_gate(
    make_retrainer: MakeRetrainer,
    upload: Upload,
    runs: Runs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(InstantLearner, "error", DermServeError("The disk is full. Free some."))
    upload(TEN)
    retrainer = make_retrainer()
    _until_over(retrainer, runs)
    monkeypatch.setattr(InstantLearner, "error", None)
    retrainer.step()
    assert runs.history().total == 1
    runs.request("head", "manual", "tester")
    _until_over(retrainer, runs)
    second = runs.history().items[0]
    assert (second.state, second.new_images) == ("promoted", 10)


def test_what_may_be_over_at_the_next_attempt_is_tried_again(
    make_retrainer: MakeRetrainer, upload: Upload, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InstantLearner, "error", CatalogueUnavailable("The database is locked."))
    upload(TEN)
    _until_over(make_retrainer(), runs)
    (run,) = runs.history().items
    assert (run.state, run.attempts) == ("failed", 3)
    assert "The database is locked." in str(run.reason)


def test_nothing_to_learn_from_ends_the_run_at_once(
    make_retrainer: MakeRetrainer, upload: Upload, runs: Runs
) -> None:
    upload([None])
    runs.request("head", "manual", "tester")
    make_retrainer().step()
    (run,) = runs.history().items
    assert run.state == "failed"
    assert "no labelled upload" in str(run.reason)
    assert InstantLearner.assignments == []


def test_a_version_name_that_was_taken_meanwhile_ends_the_run(
    make_retrainer: MakeRetrainer, upload: Upload, runs: Runs, registry: Registry, tmp_path: Path
) -> None:
    class Overtaken(InstantLearner):
        def __init__(self, assignment: Assignment) -> None:
            super().__init__(assignment)
            other = write_small_package(tmp_path / "other", assignment.version, accuracy=0.9)
            registry.register(other)

    Overtaken.assignments = []
    upload(TEN)
    _until_over(make_retrainer(Overtaken), runs)
    (run,) = runs.history().items
    assert run.state == "failed"
    assert "holds another model under the name 4" in str(run.reason)
    assert registry.champion().version == "1"


def test_a_challenger_replaces_only_the_champion_that_it_was_compared_with(
    make_retrainer: MakeRetrainer, upload: Upload, runs: Runs, registry: Registry
) -> None:
    class WhileSomebodyPromotes(InstantLearner):
        def __init__(self, assignment: Assignment) -> None:
            super().__init__(assignment)
            registry.promote("2")

    WhileSomebodyPromotes.assignments = []
    upload(TEN)
    _until_over(make_retrainer(WhileSomebodyPromotes), runs)
    (run,) = runs.history().items
    assert run.state == "refused"
    assert "The champion is version 2 by now" in str(run.reason)
    assert registry.champion().version == "2"
    assert registry.version("4").verdict == "refused"


def test_a_wish_to_stop_is_heard_until_the_challenger_is_on_its_way(
    make_retrainer: MakeRetrainer, upload: Upload, runs: Runs, registry: Registry
) -> None:
    class CancelledAtTheEnd(InstantLearner):
        def __init__(self, assignment: Assignment) -> None:
            super().__init__(assignment)
            runs.cancel("tester")

    CancelledAtTheEnd.assignments = []
    upload(TEN)
    _until_over(make_retrainer(CancelledAtTheEnd), runs)
    (run,) = runs.history().items
    assert run.state == "cancelled"
    assert registry.champion().version == "1"


def _counts(new: dict[str, int], changed: datetime | None = None) -> UploadCounts:
    zeros = dict.fromkeys(CLASSES, 0)
    return UploadCounts(zeros | new, 0, zeros | new, changed)


def test_what_is_missing_is_counted_by_class() -> None:
    settings = RetrainSettings(threshold=5, per_class_minimum={"mel": 2, "nv": 1})
    waiting = Waiting.of(_counts({"nv": 4}), settings)
    assert (waiting.missing, waiting.missing_by_class, waiting.over) == (1, {"mel": 2}, False)
    assert not Waiting.of(_counts({"nv": 9}), settings).over
    assert not Waiting.of(_counts({"nv": 2, "mel": 2}), settings).over
    assert Waiting.of(_counts({"nv": 3, "mel": 2}), settings).over


def test_it_waits_until_nobody_changes_anything() -> None:
    settings = RetrainSettings(threshold=1, quiet_s=60)
    now = datetime.now(timezone.utc)
    assert not Waiting.of(_counts({"nv": 3}, now), settings).over
    assert Waiting.of(_counts({"nv": 3}, now - timedelta(seconds=61)), settings).over


def test_a_change_from_the_future_does_not_keep_it_waiting() -> None:
    """The clock was put back since."""
    settings = RetrainSettings(threshold=1, quiet_s=60)
    changed = datetime.now(timezone.utc) + timedelta(days=3)
    assert Waiting.of(_counts({"nv": 3}, changed), settings).over
