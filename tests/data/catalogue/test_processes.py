"""Several processes and one catalogue: races have one winner, and a killed process does no harm."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from data.catalogue.audit import verify
from data.catalogue.database import Database
from data.catalogue.runs import Runs
from data.catalogue.uploads import Uploads
from tests.data.catalogue.conftest import Opener
from tests.data.catalogue.examples import Adder, new_upload
from tests.data.catalogue.processes import at_once, go_on, process, read_line


def test_first_openings_at_once_make_the_tables_once(url: str, database: Database) -> None:
    script = """
from data.catalogue.audit import append
say("ready")
wait()
with Database(url).writing() as session:
    append(session, "test.opened", arguments[0], {})
say("opened")
"""
    assert at_once(script, url, [["a"], ["b"], ["c"], ["d"]]) == ["opened"] * 4
    assert verify(database).rows == 4


@pytest.mark.parametrize("bits", [0, 12])
def test_one_picture_sent_to_several_processes_is_taken_once(
    url: str, uploads: Uploads, bits: int
) -> None:
    """Each has its own index, and each has added other pictures before."""
    script = """
from dataclasses import replace
from tests.data.catalogue.conftest import Opener
from tests.data.catalogue.examples import Adder, new_upload, similar
number, bits = int(arguments[0]), int(arguments[1])
adder = Adder(Database(url))
say("ready")
wait()
for other in range(5):
    adder.add(new_upload(100 * (number + 1) + other))
picture = new_upload(0)
if bits:
    copy = similar(picture.perceptual_hash, bits + number)
    picture = replace(new_upload(number), perceptual_hash=copy)
added = adder.add(picture)
say(f"{added.duplicate_of is None} {added.upload.id} {added.exact}")
"""
    said = at_once(script, url, [[str(number), str(bits)] for number in range(3)])
    words = [line.split() for line in said]
    assert sorted(word[0] for word in words) == ["False", "False", "True"]
    assert len({word[1] for word in words}) == 1
    assert {word[2] for word in words if word[0] == "False"} == {str(bits == 0)}
    assert uploads.page().total == 3 * 5 + 1


def test_of_many_requests_of_a_run_one_wins(url: str, runs: Runs, database: Database) -> None:
    script = """
from data.catalogue.runs import Runs
from models.errors import RunActive
say("ready")
wait()
try:
    say(Runs(Database(url)).request("head", "manual", arguments[0]).id)
except RunActive as error:
    say(error.code)
"""
    said = at_once(script, url, [[str(number)] for number in range(3)])
    assert sorted(said) == ["1", "run_active", "run_active"]
    assert runs.history().total == 1
    assert verify(database).rows == 1


def test_of_many_claims_of_a_run_one_wins(url: str, runs: Runs) -> None:
    run = runs.request("head", "manual", "tester")
    script = """
from data.catalogue.runs import Runs
say("ready")
wait()
run = Runs(Database(url)).claim(int(arguments[0]), arguments[1], lease_s=3600)
say(run is not None)
"""
    said = at_once(script, url, [[str(run.id), f"owner {number}"] for number in range(3)])
    assert sorted(said) == ["False", "False", "True"]
    assert runs.get(run.id).attempts == 1


def test_of_many_beginnings_of_a_rollout_one_wins(url: str, database: Database) -> None:
    script = """
from data.catalogue.rollouts import Rollouts
from models.errors import RolloutActive
say("ready")
wait()
try:
    say(Rollouts(Database(url)).begin("promotion", "1", arguments[0], "api", "shadowing").id)
except RolloutActive as error:
    say(error.code)
"""
    said = at_once(script, url, [[str(number)] for number in range(3)])
    assert sorted(said) == ["1", "rollout_active", "rollout_active"]
    assert verify(database).rows == 1


def test_what_was_acknowledged_before_a_kill_is_there(url: str, database: Database) -> None:
    script = """
from tests.data.catalogue.examples import Adder, new_upload
adder = Adder(Database(url))
for number in range(10**6):
    say(adder.add(new_upload(number)).upload.id)
"""
    with process(script, url) as child:
        acknowledged = [read_line(child) for _ in range(30)]
        child.kill()
        acknowledged += child.communicate()[0].split()
    _assert_ended_by(child, signal.SIGKILL)
    adder = Adder(database)
    total = adder.uploads.page().total
    # The last one may have been stored, and its process killed before it could say so.
    assert total - len(acknowledged) in (0, 1)
    assert [adder.uploads.get(upload_id).id for upload_id in acknowledged] == acknowledged
    assert verify(database).rows == total
    assert adder.add(new_upload(total)).duplicate_of is None


_HELD_WITHIN_A_TRANSACTION = """
from data.catalogue import database as module
module.IDLE_TIMEOUT_S = 0.2
from models.errors import CatalogueUnavailable
from tests.data.catalogue.examples import Adder, new_upload

def hold():
    say("within")
    wait()

try:
    Adder(Database(url)).add(new_upload(0), keep=hold)
    say("added")
except CatalogueUnavailable as error:
    say(error.code)
"""


def test_a_kill_within_a_transaction_leaves_nothing_and_frees_the_lock(
    url: str, database: Database
) -> None:
    with process(_HELD_WITHIN_A_TRANSACTION, url) as child:
        assert read_line(child) == "within"
        child.kill()
    _assert_ended_by(child, signal.SIGKILL)
    adder = Adder(database)
    assert adder.uploads.page().total == 0
    assert adder.add(new_upload(0)).duplicate_of is None
    assert verify(database).rows == 1


def test_a_frozen_process_loses_its_transaction(postgresql_url: str, opened: Opener) -> None:
    """As on a machine that lost its network: the server cannot know whether it comes back."""
    with process(_HELD_WITHIN_A_TRANSACTION, postgresql_url) as child:
        assert read_line(child) == "within"
        os.kill(child.pid, signal.SIGSTOP)
        added = Adder(opened(postgresql_url)).add(new_upload(0))
        assert added.duplicate_of is None
        os.kill(child.pid, signal.SIGCONT)
        go_on(child)
        assert read_line(child) == "catalogue_unavailable"


def test_a_kill_while_the_tables_are_made_leaves_none(url: str, opened: Opener) -> None:
    script = """
from sqlalchemy import event
from data.catalogue.tables import Base
from sqlalchemy import Engine

@event.listens_for(Engine, "before_cursor_execute")
def stop(connection, cursor, statement, parameters, context, executemany):
    if "CREATE TABLE audit" in statement:
        say("half way")
        wait()

with Database(url).reading():
    say("done")
"""
    with process(script, url) as child:
        assert read_line(child) == "half way"
        child.kill()
    _assert_ended_by(child, signal.SIGKILL)
    database = opened(url)
    Adder(database).add(new_upload(0))
    assert verify(database).rows == 1


def _assert_ended_by(child: subprocess.Popen[str], number: signal.Signals) -> None:
    assert child.returncode == -number
