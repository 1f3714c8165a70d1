"""Printable text: names and messages that others chose, made harmless for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text


def printable(text: str, keep: str = "") -> str:
    r"""Text without anything that a terminal acts upon: escape codes, line breaks, direction marks.

    Args:
        text: from a file name, a file or a server.
        keep: characters that stay, such as a line break.

    Returns:
        The same with what does not print as `\x1b`, `\n` or `\u202e`, and bytes of a file name
        that are no UTF-8 as `\xff`.
    """
    return "".join(each if each.isprintable() or each in keep else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte that is no UTF-8 (PEP 383)
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def say(sentence: str, *, style: str = "", error: bool = True) -> None:
    """Print a sentence as it is: no markup, no colours of rich's own, no breaks but its own.

    Args:
        sentence: may hold names.
        style: of the whole.
        error: to standard error, so that standard output holds results alone.
    """
    console = Console(stderr=error)
    console.print(Text(printable(sentence, keep="\n"), style=style), soft_wrap=True)
