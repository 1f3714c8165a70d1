"""A method: a function that plans calls, as a client offers it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])


def as_method(method: Method, plan: Callable[..., Any]) -> Method:
    """Give a method the name, the text and the parameters of the function behind it.

    Args:
        method: takes the client, and then whatever `plan` takes.
        plan: plans the calls; what it returns is not what the method returns.

    Returns:
        `method`, for `help` and for editors that look at running code.
    """
    functools.update_wrapper(method, plan)
    client = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    signature = inspect.signature(plan)
    parameters = [client, *signature.parameters.values()]
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=parameters, return_annotation=inspect.Signature.empty
    )
    return method
