"""Drives an application: runs requests on threads that are not the main one, as the server does."""

from __future__ import annotations

import contextvars
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from lockgate.check import places
from lockgate.check.finding import Place, Report
from lockgate.check.protocol import validated
from lockgate.check.recorder import Raised, Recorder
from lockgate.check.requests import Request, Site, environ
from lockgate.check.rules import body as body_rules
from lockgate.check.rules.head import code_of

Application = Callable[..., Any]

#: A response is read until one of these; an event stream has no end.
MOST_BYTES = 1 << 20
MOST_PIECES = 1000
MOST_SECONDS = 2.0
#: How often the driver looks at a request that goes on.
POLL_SECONDS = 0.05
#: A view may keep what belongs to a thread, so more than one runs requests.
THREADS = 2


@dataclass
class Outcome:
    """What came of a request."""

    request: Request
    status: str | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    #: Bytes of the body that were read.
    length: int = 0
    #: The exception that has reached the server.
    error: BaseException | None = None
    #: The exception that has passed the application's own code last.
    raised: Raised | None = None
    #: The call of `start_response`, or the line before it that the application has run last.
    place: Place | None = None
    #: The own line that has returned or yielded last.
    last: Place | None = None
    #: Nothing came in time; `place` is where the request stands.
    is_late: bool = False
    #: The response has begun and waits for more, as an event stream does.
    is_open: bool = False
    #: When its first bytes came, in seconds of the monotonic clock.
    began: float | None = None

    @property
    def code(self) -> int | None:
        return code_of(self.status)

    def all(self, name: str) -> list[str]:
        return [value for known, value in self.headers if known.lower() == name]


class Driver:
    """Runs requests one after another. `wait` is how long the server waits for one, in seconds."""

    def __init__(self, application: Application, site: Site, report: Report, wait: float) -> None:
        self._application = application
        self._site = site
        self._report = report
        self._wait = wait
        self._threads = [self._thread() for _ in range(THREADS)]
        self._count = 0

    def run(self, request: Request) -> Outcome:
        number = self._count % THREADS
        self._count += 1
        outcome = Outcome(request)
        started: list[int] = []
        future = self._threads[number].submit(self._perform, outcome, started)
        ends = time.monotonic() + self._wait
        while not future.done():
            wait([future], POLL_SECONDS)
            now = time.monotonic()
            is_open = outcome.began is not None and now > outcome.began + MOST_SECONDS
            if not future.done() and (is_open or now > ends):
                # The call keeps its thread. An exception in it could not interrupt C code, and as
                # long as it is pending, CPython 3.11 keeps all traced threads from running.
                self._threads[number] = self._thread()
                return replace(
                    outcome,
                    is_late=outcome.began is None,
                    is_open=outcome.began is not None,
                    place=outcome.place or self._standing(started),
                )
        return outcome

    def _standing(self, started: list[int]) -> Place | None:
        """The own line at which the thread of a request stands."""
        frames = sys._current_frames()
        return places.own_frame(frames.get(started[0])) if started else None

    def _thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix="lockgate-worker")

    def _perform(self, outcome: Outcome, started: list[int]) -> None:
        started.append(threading.get_ident())
        # Each request has a context of its own.
        contextvars.Context().run(self._exchange, outcome)

    def _exchange(self, outcome: Outcome) -> None:
        recorder = Recorder()
        application = validated(self._application, self._report, recorder.latest, reads_files=True)
        try:
            with recorder:
                exchange(application, environ(outcome.request, self._site), outcome, recorder)
        except BaseException as error:
            outcome.error = error
        outcome.raised = recorder.raised
        outcome.last = recorder.latest()


def exchange(
    application: Application, variables: dict[str, Any], outcome: Outcome, recorder: Recorder
) -> None:
    """One call of the application, as a server makes it."""
    has_sent = False

    def write(piece: bytes) -> None:
        nonlocal has_sent
        has_sent = has_sent or bool(piece)
        if has_sent and outcome.began is None:
            outcome.began = time.monotonic()
        outcome.length += len(piece) if isinstance(piece, bytes) else 0

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Callable[..., None]:
        if exc_info is not None and has_sent:
            raise exc_info[1]
        outcome.status = status
        outcome.place = places.calling(sys._getframe(1)) or recorder.latest()
        outcome.headers = pairs(headers)
        return write

    body = application(variables, start_response)
    if any(body_rules.iterable(body)):
        # The validator has reported it.
        return
    try:
        for count, piece in enumerate(body):
            write(piece)
            is_enough = outcome.length > MOST_BYTES or count > MOST_PIECES
            if is_enough or outcome.request.leaves:
                break
            # Not from the call on: the first response may take long, and be complete.
            if outcome.began is not None and time.monotonic() > outcome.began + MOST_SECONDS:
                # As an event stream that sends a heartbeat.
                outcome.is_open = True
                break
    finally:
        close = getattr(body, "close", None)
        # The validator reports an exception here, and the client has its response.
        with suppress(BaseException):
            if close is not None:
                close()


def pairs(headers: Any) -> list[tuple[str, str]]:
    """The headers that are pairs of texts. Others have been reported."""
    if not isinstance(headers, (list, tuple)):
        return []
    return [
        (header[0], header[1])
        for header in headers
        if isinstance(header, (list, tuple))
        and len(header) == 2
        and isinstance(header[0], str)
        and isinstance(header[1], str)
    ]
