"""What went wrong in the application, taken from an exception: for the error page and the terminal.

Frames of the server and of Python's import machinery are left out. Local variables are never shown,
because they hold passwords.
"""

from __future__ import annotations

import linecache
import os
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lockgate import loading, printable

#: Lines of source that are shown before and after the one that failed.
CONTEXT = 4
#: Frames of one exception that are shown; a recursion has a thousand.
MOST_FRAMES = 60

_PACKAGE = os.path.dirname(loading.__file__)
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib")})


@dataclass(frozen=True)
class SourceLine:
    number: int
    text: str
    #: The line that failed.
    is_marked: bool = False


@dataclass(frozen=True)
class Frame:
    path: str
    line: int
    function: str
    source: list[SourceLine]
    #: The part of the marked line that failed, as offsets in its text; None: the whole line.
    span: tuple[int, int] | None = None

    @property
    def is_own(self) -> bool:
        """Whether the file is the developer's, and not that of a library."""
        return not self.path.startswith(("<", *_LIBRARIES)) and "site-packages" not in self.path


@dataclass(frozen=True)
class Link:
    """One exception of a chain."""

    name: str
    message: str
    frames: list[Frame]
    #: How it followed from the one before it; empty for the first.
    relation: str = ""


@dataclass(frozen=True)
class Failure:
    #: What failed, such as `app:app cannot be loaded`.
    title: str
    #: The exceptions in the order in which they were raised; empty if there was none.
    links: list[Link]
    #: The whole report as Python prints it, or what is to say beside the title.
    text: str
    hints: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """One line: the last exception, or what failed."""
        if not self.links:
            return self.title
        last = self.links[-1]
        first_line = last.message.strip().partition("\n")[0]
        return f"{last.name}: {first_line}" if first_line else last.name

    @property
    def place(self) -> Frame | None:
        """The last frame of the developer's own code, or the last one."""
        frames = self.links[-1].frames if self.links else []
        own = [frame for frame in frames if frame.is_own]
        return next(iter(reversed(own or frames)), None)

    def files(self) -> set[str]:
        """The files that take part in it: a change of one may repair it."""
        frames = [frame for link in self.links for frame in link.frames]
        return {frame.path for frame in frames if not frame.path.startswith("<")}


def of_exception(error: BaseException, title: str) -> Failure:
    """The failure of a call or an import. `title` says what has failed."""
    hints: list[str] = []
    if isinstance(error, loading.AppImportError | loading.AppNotFound):
        title, *rest = str(error).split("\n")
        hints = [line.strip() for line in rest if is_advice(line)]
        cause = error.__context__
        if cause is None or isinstance(error, loading.AppNotFound):
            return Failure(
                title, [], "\n".join(line for line in rest if not is_advice(line)), hints
            )
        error = cause
    report = traceback.TracebackException.from_exception(error)
    reports = list(reversed(list(chain(report))))
    for one, _ in reports:
        one.stack[:] = [frame for frame in one.stack if not is_hidden(frame.filename)]
    links = [link_of(one, relation) for one, relation in reports]
    return Failure(title, links, "".join(report.format()).rstrip(), hints)


def is_advice(line: str) -> bool:
    return line.strip().startswith(("hint:", "working directory:", "sys.path begins"))


def of_request(error: BaseException, environ: Mapping[str, Any]) -> Failure:
    """The failure of a request."""
    request = f"{environ['REQUEST_METHOD']} {printable.path(environ.get('PATH_INFO', ''))}"
    return of_exception(error, f"{request} has raised an exception")


def of_message(title: str, text: str) -> Failure:
    return Failure(title, [], text)


def chain(
    report: traceback.TracebackException,
) -> Iterator[tuple[traceback.TracebackException, str]]:
    """The exceptions from the last to the first, with how each followed from the one before it."""
    seen: set[int] = set()
    current: traceback.TracebackException | None = report
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if current.__cause__ is not None:
            before, relation = (
                current.__cause__,
                "The exception above was the direct cause of this one:",
            )
        elif current.__context__ is not None and not current.__suppress_context__:
            before, relation = (
                current.__context__,
                "While the exception above was handled, this one was raised:",
            )
        else:
            before, relation = None, ""
        yield current, relation
        current = before


def link_of(report: traceback.TracebackException, relation: str) -> Link:
    text = "".join(report.format_exception_only()).strip()
    is_syntax = getattr(report, "lineno", None) is not None
    name, _, message = (text.rpartition("\n")[2] if is_syntax else text).partition(": ")
    frames = [frame_of(summary) for summary in report.stack]
    if len(frames) > MOST_FRAMES:
        frames = [*frames[: MOST_FRAMES // 2], *frames[-MOST_FRAMES // 2 :]]
    if is_syntax:
        # A SyntaxError: the file is not in the stack, because it has not run.
        frames.append(syntax_frame(report))
        message = report.msg or message
    return Link(name, message, frames, relation)


def is_hidden(path: str) -> bool:
    is_server = path.startswith(_PACKAGE + os.sep)
    return is_server or loading.is_machinery(path)


def frame_of(summary: traceback.FrameSummary) -> Frame:
    line = summary.lineno or 1
    source = lines_around(summary.filename, line)
    column, end = getattr(summary, "colno", None), getattr(summary, "end_colno", None)
    is_one_line = getattr(summary, "end_lineno", line) == line
    marked = next((one.text for one in source if one.is_marked), "")
    span = None
    if column is not None and end is not None and is_one_line:
        span = (characters(marked, column), characters(marked, end))
    return Frame(summary.filename, line, summary.name, source, span)


def characters(text: str, offset: int) -> int:
    """The number of characters in this number of bytes of UTF-8: the compiler counts bytes."""
    return len(text.encode()[:offset].decode("utf-8", "ignore"))


def syntax_frame(report: traceback.TracebackException) -> Frame:
    path, line = report.filename or "<unknown>", int(report.lineno or 1)
    source = lines_around(path, line)
    if not any(one.is_marked for one in source) and report.text:
        source = [SourceLine(line, report.text.rstrip("\n"), True)]
    start = int(report.offset or 0) - 1
    end = int(getattr(report, "end_offset", None) or 0) - 1
    is_one_line = getattr(report, "end_lineno", None) in (None, report.lineno, str(line))
    span = (start, max(end if is_one_line else 0, start + 1)) if start >= 0 else None
    return Frame(path, line, "", source, span)


def lines_around(path: str, line: int) -> list[SourceLine]:
    linecache.checkcache(path)
    found = linecache.getlines(path)
    first, last = max(1, line - CONTEXT), min(len(found), line + CONTEXT)
    return [
        SourceLine(number, found[number - 1].rstrip("\n"), number == line)
        for number in range(first, last + 1)
    ]


def shown_path(path: str) -> str:
    """The path as people read it: relative if it is below the working directory, and from the name
    of the package if it is a library's."""
    _, installed, inside = path.rpartition("/site-packages/")
    if installed:
        return inside
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return path
