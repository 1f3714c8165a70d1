"""A page of a longer list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from models.errors import InvalidField

MAX_LIMIT = 1000
_MAX_OFFSET = 2**31

Row = TypeVar("Row")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Page(Generic[Item]):
    """Some of the items that match, and how many match in all."""

    items: tuple[Item, ...]
    total: int


def read_page(
    session: Session,
    statement: Select[Row],
    limit: int,
    offset: int,
    convert: Callable[[Row], Item],
) -> Page[Item]:
    """Read one page of what a statement selects.

    Args:
        session: in which both the page and the total are read.
        statement: selects entities of one table, in their order.
        limit: most items of the page, 1 to `MAX_LIMIT`.
        offset: items before the page.
        convert: makes an item of an entity.

    Raises:
        InvalidField: if limit or offset lies outside its range.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidField(f"limit must be 1 to {MAX_LIMIT}, not {limit}.")
    if not 0 <= offset <= _MAX_OFFSET:
        raise InvalidField(f"offset must be 0 to {_MAX_OFFSET}, not {offset}.")
    counted: Select[Any] = select(func.count()).select_from(statement.order_by(None).subquery())
    rows = session.scalars(statement.limit(limit).offset(offset))
    return Page(tuple(map(convert, rows)), session.scalar(counted) or 0)
