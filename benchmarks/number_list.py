"""Numbers with commas between them, as options of the command line take them."""

from __future__ import annotations

import typer


def numbers(text: str) -> list[float]:
    """Positive numbers out of a text such as `0.5,1,1.5`.

    Raises:
        typer.BadParameter: if it is another text.
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(0 < value < float("inf") for value in values):
        raise typer.BadParameter(f"{text!r} is no list of positive numbers such as 1,16,64")
    return values


def whole_numbers(text: str) -> list[int]:
    """The same, where only whole ones have a meaning."""
    values = numbers(text)
    if any(value != int(value) for value in values):
        raise typer.BadParameter(f"{text!r} is no list of whole numbers such as 1,16,64")
    return [int(value) for value in values]
