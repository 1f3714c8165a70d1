"""Clocks: whether this machine's can be right, and whether the nodes agree with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

import httpx

from cluster.doctor.finding import Finding, not_checked, ok, warning, wrong
from cluster.doctor.subject import Subject
from cluster.doctor.surroundings import Surroundings
from cluster.doctor.unseen import Unseen
from models.package import BUNDLED_CHAMPION, MANIFEST_FILE, Manifest

SLACK_S = 2.0
"""Of a `Date` header, which has whole seconds and may be one old."""
FAR_S = 30.0
"""An offset at which deadlines, keys and certificates of one node end at another time."""
_FUTURE = timedelta(days=20 * 365)
_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class ClockFacts:
    """Readings of clocks."""

    now: datetime
    earliest: datetime
    """It cannot be earlier: then the bundled model was made."""
    offsets_s: dict[str, float | None]
    """By address of a node, how far its clock is ahead of this one's; None if it did not say."""
    unseen: str | None = None
    """Why there is none."""


def gather(surroundings: Surroundings) -> ClockFacts:
    """From the `Date` header of an ingress replica, and of Ray's agent on every node."""
    manifest = Manifest.model_validate_json((BUNDLED_CHAMPION / MANIFEST_FILE).read_bytes())
    created = manifest.created
    earliest = created if created.tzinfo else created.replace(tzinfo=timezone.utc)
    offsets: dict[str, float | None] = {}
    unseen: str | None = None
    if isinstance(surroundings.health, Unseen):
        unseen = str(surroundings.health)
    else:
        offsets["the server"] = offset_s(f"{surroundings.url}/health/live")
        ports = {each.ip: each.metrics_port for each in surroundings.nodes}
        for ip, port in sorted(ports.items()):
            # Of Ray's agent: a proxy may pass the question to a replica on another node.
            asked = f"http://{ip}:{port}/favicon.ico"  # the one path that lists no metrics
            offsets[f"node {ip}"] = None if port is None else offset_s(asked)
    return ClockFacts(datetime.now(timezone.utc), earliest, offsets, unseen)


def check(facts: ClockFacts) -> list[Finding]:
    """Judge this clock by itself, and all against each other."""
    set_it = "Set this machine's clock, and keep it right with NTP: `timedatectl set-ntp true`."
    if facts.now < facts.earliest:
        found = [
            wrong(
                f"This machine's clock says {facts.now:%Y-%m-%d}, before the model that ships was "
                "made. Certificates, keys and the audit log go by it.",
                set_it,
            )
        ]
    elif facts.now > facts.earliest + _FUTURE:
        found = [wrong(f"This machine's clock says {facts.now:%Y-%m-%d}.", set_it)]
    else:
        found = [ok(f"This machine's clock says {facts.now:%Y-%m-%d %H:%M} UTC.")]
    if facts.unseen is not None:
        return [*found, not_checked(f"Other clocks are not known. {facts.unseen}")]
    for name, offset in facts.offsets_s.items():
        if offset is None:
            found.append(
                not_checked(f"The clock of {name} is not known: nothing there tells the time.")
            )
    known = {name: each for name, each in facts.offsets_s.items() if each is not None}
    spread = max((0.0, *known.values())) - min((0.0, *known.values()))
    said = ", ".join(f"{name} {offset:+.0f} s" for name, offset in known.items())
    mend = "Keep all nodes' clocks right with NTP: `timedatectl set-ntp true` on each."
    if spread > FAR_S:
        found.append(wrong(f"Clocks are {spread:.0f} s apart, seen from here: {said}.", mend))
    elif spread > SLACK_S:
        found.append(warning(f"Clocks are {spread:.0f} s apart, seen from here: {said}.", mend))
    elif known:
        found.append(ok(f"Clocks agree within {SLACK_S:.0f} s: {', '.join(known)}."))
    return found


def offset_s(url: str) -> float | None:
    """Seconds that a server's clock is ahead of this one's, to about a second; None if unknown.

    Args:
        url: of an answer of it with a `Date`.
    """
    before = datetime.now(timezone.utc)
    try:
        date = httpx.get(url, timeout=_TIMEOUT_S).headers["date"]
        told = parsedate_to_datetime(date)
    except (httpx.HTTPError, KeyError, ValueError):
        return None
    after = datetime.now(timezone.utc)
    # The header leaves the fraction of the second out. As long as it was between, it is right.
    if told < before - timedelta(seconds=1):
        return (told - before).total_seconds() + 0.5
    return max(0.0, (told - after).total_seconds())


SUBJECT = Subject("Clock", gather, check)
