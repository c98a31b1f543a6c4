"""Responses during which the application may raise an exception: a page can replace one of which no
byte has been sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any


def is_complete(body: Any, environ: dict[str, Any]) -> bool:
    """Whether no code of the application runs for the body."""
    wrapper = environ.get("wsgi.file_wrapper")
    is_file = isinstance(wrapper, type) and isinstance(body, wrapper)
    return is_file or isinstance(body, (list, tuple))


class Head:
    """The head of the application's response, and whether bytes have followed it."""

    def __init__(self, start_response: Callable[..., Any]) -> None:
        self._start_response = start_response
        self._is_started = False
        self.is_sent = False

    def start(self, *arguments: Any) -> Callable[[bytes], Any]:
        write = self._start_response(*arguments)
        self._is_started = True

        def noted(piece: bytes) -> Any:
            self.is_sent = self.is_sent or bool(piece)
            return write(piece)

        return noted

    def replace(self, status: str, headers: list[tuple[str, str]], error: Exception) -> None:
        """Sets the head of the page in place of the application's."""
        if self._is_started:
            self._start_response(status, headers, (type(error), error, error.__traceback__))
        else:
            self._start_response(status, headers)


class GuardedBody:
    """A body during which the application may raise an exception."""

    def __init__(self, body: Any, head: Head, page: Callable[[Exception], Iterable[bytes]]) -> None:
        self._body = body
        self._head = head
        self._page = page
        self._pieces: Iterator[bytes] | None = None

    def __iter__(self) -> GuardedBody:
        return self

    def __next__(self) -> bytes:
        try:
            if self._pieces is None:
                self._pieces = iter(self._body)
            piece = next(self._pieces)
        except StopIteration:
            raise
        except Exception as error:
            self._pieces = iter(self._page(error))
            return next(self._pieces)
        self._head.is_sent = self._head.is_sent or bool(piece)
        return piece

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()
