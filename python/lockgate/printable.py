"""Text of clients and applications as a terminal may show it: a control character could change the
terminal, and a line break could pass for a line of the server."""

from __future__ import annotations


def line(text: str) -> str:
    """One line: what is not printable is shown as its escape in Python, such as `\\x1b`."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def lines(text: str) -> list[str]:
    """The lines of a text; tabs stay."""
    return ["\t".join(map(line, one.split("\t"))) for one in text.split("\n")]


def path(value: str) -> str:
    """`PATH_INFO` or `SCRIPT_NAME`, whose characters are bytes (PEP 3333), as a part of a line."""
    return line(value.encode("latin-1", "replace").decode("utf-8", "backslashreplace"))
