"""A disk that is full: it is told, nothing acknowledged is lost, and room makes all well again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

SCRIPT = """
import sys
from contextlib import suppress
from pathlib import Path
from data.catalogue.audit import verify
from data.catalogue.database import Database
from models.errors import StorageFull
from tests.data.catalogue.examples import Adder, new_upload

folder = Path(sys.argv[1])
url = f"sqlite:///{folder}/catalogue.db"
database = Database(url)
adder, acknowledged, refused = Adder(database), 0, 0

def fill_disk():
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))

for fullness in range(3):
    adder.add(new_upload(acknowledged))
    acknowledged += 1
    fill_disk()
    with suppress(StorageFull):
        for _ in range(1000):
            adder.add(new_upload(acknowledged))
            acknowledged += 1
    try:
        adder.add(new_upload(acknowledged))
    except StorageFull:
        refused += 1
    assert adder.uploads.page().total == acknowledged == verify(database).rows
    (folder / "filler").unlink()

assert refused == 3, refused
database.close()
assert Adder(Database(url)).uploads.page().total == acknowledged
fill_disk()
try:
    Adder(Database(f"sqlite:///{folder}/new/catalogue.db")).uploads.page()
except StorageFull as error:
    assert "Free some space" in error.message
else:
    raise AssertionError("a catalogue was made without room")
print("well")
"""


def test_a_full_disk_is_told_and_recovered_from(tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=1m none "$1"'
    namespace = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*namespace, mount, "sh", tmp_path], capture_output=True).returncode
    ):
        pytest.skip("this machine lets its users mount no file system")
    command = [*namespace, f'{mount} && exec "$2" -c "$3" "$1"', "sh"]
    result = subprocess.run(
        [*command, tmp_path, sys.executable, SCRIPT],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.stdout == "well\n", result.stderr
