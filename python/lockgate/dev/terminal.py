"""What `lockgate dev` writes to the terminal, and the terminal's modes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby

from lockgate import printable
from lockgate.dev import failure as failures
from lockgate.dev.failure import Failure, Frame, Link

RED, BOLD, DIM, PLAIN = "\x1b[31m", "\x1b[1m", "\x1b[2m", "\x1b[0m"


def say(text: str) -> None:
    """Writes a line, or several, to standard error. A terminal that is gone is no error."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return


def block(failure: Failure, colour: bool, after: str = "") -> str:
    """A failure as one block: what failed, where in the developer's own files, and what comes next.
    Frames of libraries are counted only; the page has them. What a request can set is escaped."""
    red, bold, dim, plain = (RED, BOLD, DIM, PLAIN) if colour else ("", "", "", "")
    lines = [f"{red}{bold}{printable.line(failure.title)}{plain}"]
    for link in failure.links:
        lines += [link.relation] if link.relation else []
        lines += frames(link, dim, plain)
        message = f"{link.name}: {link.message}" if link.message else link.name
        lines += [f"{red}{line}{plain}" for line in printable.lines(message.rstrip())]
    if not failure.links:
        lines += printable.lines(failure.text.rstrip()) if failure.text.strip() else []
    lines += [f"{dim}{printable.line(hint)}{plain}" for hint in failure.hints]
    lines += [f"{dim}{after}{plain}"] if after else []
    edge = f"{red}|{plain} "
    return "\n".join(edge + line for line in lines)


def frames(link: Link, dim: str, plain: str) -> list[str]:
    has_own = any(frame.is_own for frame in link.frames)
    lines: list[str] = []
    for is_shown, group in groupby(link.frames, lambda frame: frame.is_own or not has_own):
        members = list(group)
        if not is_shown:
            plural = "s" if len(members) > 1 else ""
            lines.append(f"{dim}  … {len(members)} call{plural} in libraries{plain}")
            continue
        for frame in members:
            function = f" in {frame.function}" if frame.function else ""
            lines.append(f"  {failures.shown_path(frame.path)}:{frame.line}{function}")
            lines += source(frame)
    return lines


def source(frame: Frame) -> list[str]:
    """The line that failed, with a mark below the part of it."""
    marked = next((line.text for line in frame.source if line.is_marked), "")
    text = marked.strip()
    if not text:
        return []
    indent = len(marked) - len(marked.lstrip())
    start, end = frame.span or (indent, indent)
    below = " " * (start - indent) + "^" * (end - start)
    return [f"    {text}", *([f"    {below}"] if end > start >= indent else [])]


@contextmanager
def restored() -> Iterator[None]:
    """Gives the terminal its modes back at the end: a debugger's prompt that was interrupted has
    switched off the echo of what is typed."""
    try:
        import termios

        before = termios.tcgetattr(0)
    except (ImportError, OSError, termios.error):
        yield
        return
    try:
        yield
    finally:
        try:
            termios.tcsetattr(0, termios.TCSADRAIN, before)
        except termios.error:
            pass
