"""An answer: the JSON of the server as a typed value."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import httpx
from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """Part of an answer; what a newer server adds to it is passed over."""

    model_config = ConfigDict(frozen=True)


Model = TypeVar("Model", bound=Answer)


def as_model(model: type[Model]) -> Callable[[httpx.Response], Model]:
    """A function that reads an answer of JSON, or raises pydantic's `ValidationError`."""
    return lambda response: model.model_validate_json(response.content)
