"""The failure of one peer: a row of the comparison says so, and the others go on."""

from __future__ import annotations

from models.errors import DermServeError


class PeerFailed(DermServeError):
    """A server of the comparison did not start, or answers wrongly."""

    code = "peer_failed"
