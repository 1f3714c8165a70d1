"""The argument of a change that was not given, where None has a meaning of its own."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final


class Unchanged(Enum):
    """Type of `UNCHANGED`."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED
"""Leave the value as it is."""


def given(**values: Any) -> dict[str, Any]:
    """The arguments that were given, by name."""
    return {name: value for name, value in values.items() if value is not UNCHANGED}
