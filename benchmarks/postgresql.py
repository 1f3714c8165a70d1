"""A private PostgreSQL server: Debian's binaries, a temporary folder, a Unix socket."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from benchmarks.wrk import LoadFailed


def binaries() -> Path | None:
    """The folder of `initdb` and `pg_ctl`, the newest version first; None if there is none."""
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = sorted(installed, key=lambda path: int(path.parts[-3]), reverse=True)
    on_path = shutil.which("initdb")
    found = [path.parent for path in newest] + ([Path(on_path).parent] if on_path else [])
    return next((folder for folder in found if (folder / "pg_ctl").exists()), None)


class PostgresServer:
    """A server whose data nobody will miss. It listens on no network.

    Args:
        folder: of the binaries.

    Raises:
        LoadFailed: if it does not start.
    """

    def __init__(self, folder: Path) -> None:
        self._binaries = folder
        # Short, as the path of a socket must be, and open to the user that the server runs as.
        self._folder = Path(tempfile.mkdtemp(prefix="dermserve-pg-"))
        self._data = self._folder / "data"
        self._url = URL.create(
            "postgresql",
            username="postgres",
            database="postgres",
            query={"host": str(self._folder)},
        )
        # The server refuses to run as root.
        account = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        self._as_user: dict[str, Any] = {}
        if account is not None:
            os.chown(self._folder, account.pw_uid, account.pw_gid)
            self._as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        try:
            self._call("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
            self.start()
        except BaseException:
            self.remove()
            raise

    @property
    def url(self) -> str:
        """Of its one database."""
        return self._url.render_as_string()

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-c listen_addresses='' -k {self._folder} -c fsync=off -c max_connections=50"
        self._call("pg_ctl", "start", "-w", "-t", "60", "-l", self._folder / "log", "-o", options)

    def stop(self) -> None:
        """Stop it at once, as a crash would, and wait until it is gone."""
        self._call("pg_ctl", "stop", "-w", "-m", "immediate")

    def remove(self) -> None:
        """Stop it, if it runs, and remove its data."""
        if (self._data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self._folder)

    def _call(self, program: str, *arguments: str | Path) -> None:
        with (self._folder / "calls").open("a+") as said:
            status = subprocess.run(
                [self._binaries / program, "-D", self._data, *arguments],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                # Not a pipe: the server would inherit it and keep it open.
                stdout=said,
                stderr=said,
                **self._as_user,
            ).returncode
            said.seek(0)
            if status:
                raise LoadFailed(f"{program} ended with {status}: {said.read()}")
