"""A subject of the examination: facts gathered by thin code, judged by a pure function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from cluster.doctor.finding import Finding, not_checked
from cluster.doctor.unseen import Unseen

if TYPE_CHECKING:
    from cluster.doctor.surroundings import Surroundings

Facts = TypeVar("Facts")


@dataclass(frozen=True)
class Subject(Generic[Facts]):
    """What is looked at together."""

    title: str
    gather: Callable[[Surroundings], Facts]
    """Looks; raises `Unseen` if it cannot."""
    check: Callable[[Facts], list[Finding]]
    """Judges; pure."""

    def examine(self, surroundings: Surroundings) -> list[Finding]:
        """Look and judge; what goes wrong in looking is said, and never taken for health."""
        try:
            facts = self.gather(surroundings)
        except Unseen as reason:
            return [not_checked(str(reason))]
        # One look that fails must not hide what the others find.
        except Exception as error:
            return [not_checked(f"To look at it failed: {type(error).__name__}: {error}.")]
        return self.check(facts)
