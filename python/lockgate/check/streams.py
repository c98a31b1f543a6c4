"""`wsgi.input` and `wsgi.errors` with checks of their use. All else is passed on as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lockgate.check.finding import Breach
from lockgate.check.rules import body
from lockgate.check.rules.head import kind, short

Notice = Callable[[Breach], None]


class CheckedInput:
    """The body of a request."""

    def __init__(self, stream: Any, notice: Notice) -> None:
        self._stream = stream
        self._notice = notice

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)

    def close(self) -> None:
        self._notice(Breach(body.INPUT_CLOSED, "wsgi.input is closed"))
        self._stream.close()


class CheckedErrors:
    """The error log."""

    def __init__(self, stream: Any, notice: Notice) -> None:
        self._stream = stream
        self._notice = notice

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> Any:
        self._check(text)
        return self._stream.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        kept = list(lines)
        for line in kept:
            self._check(line)
        self._stream.writelines(kept)

    def close(self) -> None:
        # The server's stream has no such method, and goes on.
        self._notice(Breach(body.ERRORS_CLOSED, "wsgi.errors is closed"))

    def _check(self, text: object) -> None:
        if not isinstance(text, str):
            message = f"{kind(text)} is written to wsgi.errors: {short(text)}"
            self._notice(Breach(body.ERRORS_TYPE, message))
