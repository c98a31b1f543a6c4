"""A WSGI validator: middleware that reports each breach of PEP 3333, and changes nothing.

The server sees the same status, headers and pieces as without it; lists, tuples and files reach it
as they are. A breach is reported with its place in the application's own code: the call of
`start_response`, the `yield`, or what `latest` says.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lockgate import printable
from lockgate.check import places
from lockgate.check.finding import Breach, Finding, Place, Report, Rule
from lockgate.check.rules import body as body_rules
from lockgate.check.rules import head as head_rules
from lockgate.check.streams import CheckedErrors, CheckedInput

Application = Callable[..., Any]
#: The own line that has run last, where that is recorded.
Latest = Callable[[], "Place | None"]

RULES: tuple[Rule, ...] = (*head_rules.RULES, *body_rules.RULES)


def unrecorded() -> Place | None:
    return None


def validated(
    application: Application,
    report: Report,
    latest: Latest = unrecorded,
    *,
    reads_files: bool = False,
) -> Application:
    """Returns the application, with a report of each breach. `report` is called during the request,
    on its thread, and must not raise; `finding.Once` passes a breach on once.

    A body of `wsgi.file_wrapper` is validated only with `reads_files`: a server would not recognize
    it any more, and could not send its file without Python.
    """

    def checked(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        exchange = Exchange(application, environ, report, latest)
        return exchange.run(environ, start_response, reads_files)

    return checked


class Exchange:
    """One request and its response."""

    def __init__(
        self, application: Application, environ: dict[str, Any], report: Report, latest: Latest
    ) -> None:
        self._application = application
        self._report = report
        self._latest = latest
        path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
        self._request = f"{environ.get('REQUEST_METHOD')} {printable.path(path)}"
        self._is_head = environ.get("REQUEST_METHOD") == "HEAD"
        self._start: Callable[..., Any] = unrecorded
        #: Where `start_response` was called.
        self._started_at: Place | None = None
        self._raised_at: Place | None = None
        self._is_started = False
        self._is_over = False
        self._has_raised_again = False
        self._code: int | None = None
        self._announced: int | None = None
        self._has_type = True
        self._is_missing_reported = False
        self._sent = 0

    def run(
        self, environ: dict[str, Any], start_response: Callable[..., Any], reads_files: bool
    ) -> Any:
        self._start = start_response
        environ["wsgi.input"] = CheckedInput(environ["wsgi.input"], self._notice_here)
        environ["wsgi.errors"] = CheckedErrors(environ["wsgi.errors"], self._notice_here)
        wrapper = environ.get("wsgi.file_wrapper")
        body = self._application(environ, self.start_response)
        is_file = isinstance(wrapper, type) and isinstance(body, wrapper)
        if is_file and not reads_files:
            self._started_in_time(body)
            return body
        broken = list(body_rules.iterable(body))
        for breach in broken:
            self._notice(breach, self._latest() or places.of_callable(self._application))
        if broken:
            return body
        if isinstance(body, (list, tuple)):
            count = 0
            for piece in body:
                self.on_piece(piece, body)
                count += 1
            self.on_end(body, count)
            return body
        return CheckedBody(self, body)

    def start_response(self, *arguments: Any, **keywords: Any) -> Any:
        place = self._here()
        if self._is_over:
            self._notice(Breach(body_rules.START_LATE, "start_response is called too late"), place)
        if keywords or not 2 <= len(arguments) <= 3:
            given = f"{len(arguments)} arguments and {len(keywords)} keywords"
            text = f"start_response is called with {given}"
            self._notice(Breach(body_rules.START_ARGUMENTS, text), place)
            self._is_started = True
            return self._start(*arguments, **keywords)
        status, headers, *rest = arguments
        exc_info = rest[0] if rest else None
        if self._is_started and exc_info is None:
            text = "start_response is called a second time, without exc_info"
            self._notice(Breach(body_rules.START_TWICE, text), place)
        code = head_rules.code_of(status)
        for breach in (
            *head_rules.status(status),
            *head_rules.headers(headers, code),
            *head_rules.exc_info(exc_info),
        ):
            self._notice(breach, place)
        self._is_started = True
        try:
            write = self._start(*arguments)
        except BaseException:
            # The head that was sent before stays.
            self._raised_at = place
            self._has_raised_again = exc_info is not None
            raise
        self._code, self._started_at = code, place
        self._announced, self._has_type = announced(headers)
        return self._writer(write)

    def _writer(self, write: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        def checked(piece: bytes) -> Any:
            place = self._here()
            self._notice(Breach(body_rules.WRITE_USED, "write() is called"), place)
            if self._is_over:
                text = "write() is called after the response has ended"
                self._notice(Breach(body_rules.WRITE_LATE, text), place)
            for breach in body_rules.piece(piece, body_rules.WRITE_TYPE):
                self._notice(breach, place)
            self._sent += len(piece) if isinstance(piece, bytes) else 0
            return write(piece)

        return checked

    def on_piece(self, piece: object, body: object) -> None:
        if piece != b"":
            self._started_in_time(body)
        for breach in body_rules.piece(piece):
            self._notice(breach, self._place_in(body))
        self._sent += len(piece) if isinstance(piece, bytes) else 0

    def on_end(self, body: object, pieces: int) -> None:
        """The body is whole."""
        self._started_in_time(body)
        self._is_over = True
        for breach in (
            *body_rules.total(self._announced, self._sent, self._is_head or self._code == 304),
            *body_rules.allowed(self._code, self._sent),
        ):
            self._notice(breach, self._started_at)
        if self._sent and not self._has_type:
            text = "the response has a body and no Content-Type"
            self._notice(Breach(head_rules.CONTENT_TYPE, text), self._started_at)
        said = len(body) if hasattr(type(body), "__len__") else pieces  # type: ignore[arg-type]
        if said != pieces:
            text = f"len() of what the application returns is {said}, and it has {pieces} pieces"
            self._notice(Breach(body_rules.LENGTH_OF_BODY, text), self._place_in(body))

    def on_close(self, body: object) -> None:
        self._is_over = True
        close = getattr(body, "close", None)
        if close is None:
            return
        try:
            close()
        except BaseException as error:
            text = f"close() raises {type(error).__name__}: {error}"
            place = places.of_traceback(error) or self._place_in(body)
            self._notice(Breach(body_rules.CLOSE, text), place)
            raise

    def _started_in_time(self, body: object) -> None:
        if not (self._is_started or self._is_missing_reported):
            text = "the body begins before start_response is called"
            self._notice(Breach(body_rules.START_MISSING, text), self._place_in(body))
            self._is_missing_reported = True
        if self._has_raised_again:
            self._has_raised_again = False
            text = "the exception that start_response has raised is caught, and the body continues"
            self._notice(Breach(body_rules.TRAPPED, text), self._raised_at)

    def _notice(self, breach: Breach, place: Place | None) -> None:
        self._report(Finding(breach.rule, breach.text, place, self._request))

    def _notice_here(self, breach: Breach) -> None:
        self._notice(breach, self._here())

    def _here(self) -> Place | None:
        """The line that calls the server."""
        frame = sys._getframe(1)
        if (place := places.calling(frame)) is not None:
            return place
        # A framework calls the server, some time after the view has returned.
        recorded = self._latest() or places.own_frame(frame)
        return recorded or places.of_callable(self._application)

    def _place_in(self, body: object) -> Place | None:
        live = places.of_suspended(body) or self._latest() or places.of_iterable(body)
        return live or places.of_callable(self._application)


class CheckedBody:
    """The body of a response, piece by piece."""

    def __init__(self, exchange: Exchange, body: Iterable[bytes]) -> None:
        self._exchange = exchange
        self._body = body
        self._iterator = iter(body)
        self._pieces = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            piece = next(self._iterator)
        except StopIteration:
            self._exchange.on_end(self._body, self._pieces)
            raise
        self._pieces += 1
        self._exchange.on_piece(piece, self._body)
        return piece

    def close(self) -> None:
        self._exchange.on_close(self._body)


def announced(headers: Any) -> tuple[int | None, bool]:
    """The Content-Length, if it is a number, and whether there may be a Content-Type."""
    if not isinstance(headers, (list, tuple)):
        return None, True
    length, has_type = None, False
    for header in headers:
        if not isinstance(header, (list, tuple)) or len(header) != 2:
            continue
        name, value = (str(part) for part in header)
        if name.lower() == "content-length" and value.strip().isdecimal():
            length = int(value)
        has_type = has_type or name.lower() == "content-type"
    return length, has_type
