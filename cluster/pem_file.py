"""The PEM file: a certificate, its chain and its private key, as HAProxy reads them on a node.

It lies beside HAProxy's configuration, in a folder of the node's, as long as HAProxy runs: a
change of replicas starts HAProxy again, perhaps in the middle of a renewal.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cluster.tls import Tls, pem_of
from models.errors import InvalidConfiguration

NAME = "edge.pem"

_NEW_NAME = "edge.new"
"""Of the next one, until it takes the place of the last."""


def place_pem(tls: Tls, folder: Path, *, reloading: bool) -> Path:
    """Write the file anew from what the operator names.

    Args:
        tls: names the certificate and the key.
        folder: of HAProxy's configuration.
        reloading: whether a server runs. Its replicas must not suffer from a renewal that is half
            done: an expired certificate will do then, and else the one that was used last.

    Raises:
        InvalidConfiguration: if they cannot be used, and there is none from before.
    """
    path = folder / NAME
    try:
        pem = pem_of(tls, expired=reloading)
    except InvalidConfiguration as error:
        if not reloading or not path.exists():
            raise
        print(f"{error.message} The last one is used on.", file=sys.stderr, flush=True)
    else:
        _write(pem, path)
    return path


def remove_pem(folder: Path) -> None:
    """Remove the file, and one that was not finished.

    Args:
        folder: of HAProxy's configuration.
    """
    for name in (NAME, _NEW_NAME):
        (folder / name).unlink(missing_ok=True)


def remove_leftovers(own: Path) -> None:
    """Remove the files of servers that were killed.

    Args:
        own: HAProxy's configuration on this node; those of others lie in folders beside its own.
    """
    commands = _running()
    for configuration in own.parent.parent.glob(f"*/{own.name}"):
        runs = any(os.fsencode(configuration) in command for command in commands)
        if runs or configuration.parent.is_symlink():
            continue
        try:
            remove_pem(configuration.parent)
        except OSError:  # another user's
            continue


def _running() -> list[list[bytes]]:
    """The command lines of all processes, as far as this user may see them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().split(b"\0"))
        except OSError:  # it has ended
            continue
    return found


def _write(pem: bytes, path: Path) -> None:
    """Replace a private key so that nobody else can read it at any time, and one is there."""
    new = path.with_name(_NEW_NAME)
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(pem)
    new.replace(path)
