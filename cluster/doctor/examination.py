"""The examination: all subjects, in the order in which one looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from cluster.doctor import (
    autoscaling,
    catalogue,
    certificate,
    clock,
    cpus,
    data_path,
    disk,
    engine,
    flags,
    haproxy,
    images,
    limits,
    listening,
    memory,
    model,
    open_files,
    ray_version,
    redis,
    registry,
    server,
)
from cluster.doctor.finding import Finding
from cluster.doctor.subject import Subject
from cluster.doctor.surroundings import Surroundings

SUBJECTS: tuple[Subject[Any], ...] = (
    server.SUBJECT,
    ray_version.SUBJECT,
    haproxy.SUBJECT,
    data_path.SUBJECT,
    flags.SUBJECT,
    limits.SUBJECT,
    autoscaling.SUBJECT,
    listening.SUBJECT,
    certificate.SUBJECT,
    clock.SUBJECT,
    cpus.SUBJECT,
    memory.SUBJECT,
    disk.SUBJECT,
    open_files.SUBJECT,
    engine.SUBJECT,
    model.SUBJECT,
    registry.SUBJECT,
    catalogue.SUBJECT,
    images.SUBJECT,
    redis.SUBJECT,
)


@dataclass(frozen=True)
class Examined:
    """What was found of one subject."""

    title: str
    findings: tuple[Finding, ...]


def examine(
    surroundings: Surroundings,
    subjects: Iterable[Subject[Any]] = SUBJECTS,
    on_subject: Callable[[str], None] = lambda title: None,
) -> list[Examined]:
    """Examine all subjects, one after the other.

    Args:
        surroundings: what is in front of the doctor.
        subjects: what to look at.
        on_subject: told the title of each before it is looked at.
    """
    examined = []
    for subject in subjects:
        on_subject(subject.title)
        examined.append(Examined(subject.title, tuple(subject.examine(surroundings))))
    return examined
