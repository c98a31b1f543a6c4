"""The hooks around each request, `pre_request` and `post_request`, and access records that go to
Python's logger `gunicorn.access`.

The bridge calls them where gunicorn does: before the application, after the response, and after
`close()` of the body.
"""

import traceback
from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus
from itertools import count
from time import perf_counter
from typing import Any

from lockgate.gunicorn.http.message import Request
from lockgate.gunicorn.http.wsgi import Response
from lockgate.gunicorn.workers.base import Worker

Hook = Callable[..., Any]
StartResponse = Callable[..., Any]


class RequestHooks:
    """What happens around each request of this worker."""

    def __init__(
        self,
        worker: Worker,
        pre_request: Hook | None,
        post_request: Hook | None,
        *,
        records_access: bool,
        has_threads: bool,
    ) -> None:
        self.worker = worker
        self.pre_request = pre_request
        self.post_request = post_request
        self.records_access = records_access
        self._has_threads = has_threads
        self._numbers = count(1)

    def failed(self, request: str, error: BaseException) -> None:
        """Logs an exception of the application, as gunicorn does."""
        self.worker.log.exception("Error handling request %s", request, exc_info=error)

    def begin(self, environ: dict[str, Any]) -> "Exchange":
        """Calls `pre_request`. What it raises becomes a 500, after `post_request`."""
        worker = _WorkerOfRequest(self.worker) if self._has_threads else self.worker
        exchange = Exchange(self, worker, environ)
        if self.pre_request:
            try:
                self.pre_request(worker, exchange.req)
            except BaseException:
                exchange.fail()
                raise
            exchange.req.apply()
        # Atomic, as `nr += 1` is not.
        self.worker.nr = next(self._numbers)
        exchange.begun = perf_counter()
        return exchange


class Exchange:
    """One request and its response."""

    __slots__ = ("_environ", "_hooks", "_real", "_worker", "begun", "req", "resp")

    def __init__(self, hooks: RequestHooks, worker: Any, environ: dict[str, Any]) -> None:
        self._hooks = hooks
        self._worker = worker
        self._environ = environ
        self._real: StartResponse | None = None
        self.req = Request(environ)
        self.resp = Response(self.req, None, hooks.worker.cfg)
        self.begun = perf_counter()

    def call(self, application: Callable[..., Any], start_response: StartResponse) -> Any:
        """Calls the application, and records what it gives to `start_response`."""
        self._real = start_response
        return application(self._environ, self._start_response)

    def _start_response(self, status: str, headers: Any, *exc_info: Any) -> Any:
        assert self._real is not None
        if not isinstance(headers, list):
            headers = list(headers)
        write = self._real(status, headers, *exc_info)
        self.resp.start(status, headers)
        return write

    def responded(self, status: int | None, sent: int) -> None:
        """The response is complete; `status` is the one on the wire, if there is one."""
        self.resp.sent = sent
        self.resp.headers_sent = status is not None
        if self._hooks.records_access:
            resp = self.resp
            if status is not None and status != resp.status_code:
                resp = _answer_of_server(self.req, status, sent)
            self._record(resp)

    def ended(self) -> None:
        """Calls `post_request`, after `close()` of the body."""
        self._post_request(self._environ, self.resp)

    def fail(self) -> None:
        """`pre_request` has raised an exception."""
        self._post_request({}, None)
        if self._hooks.records_access:
            self._record(_answer_of_server(self.req, 500, 0))

    def _post_request(self, environ: dict[str, Any], resp: Response | None) -> None:
        if self._hooks.post_request is None:
            return
        try:
            self._hooks.post_request(self._worker, self.req, environ, resp)
        except Exception:
            self._hooks.worker.log.exception("Exception in post_request hook")

    def _record(self, resp: Response) -> None:
        log = self._hooks.worker.log
        taken = timedelta(seconds=perf_counter() - self.begun)
        try:
            log.access(resp, self.req, self._environ, taken)
        except Exception:
            log.error("Exception in the access method of the logger\n%s", traceback.format_exc())


class _WorkerOfRequest:
    """The worker as the hooks of one request see it, where several run at the same time: what
    `pre_request` sets on it (a profiler, a start time), `post_request` gets back. Integers are
    counters of the whole worker."""

    def __init__(self, worker: Worker) -> None:
        vars(self)["_worker"] = worker

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_worker"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(vars(self)["_worker"], name, value)
        if not isinstance(value, int):
            vars(self)[name] = value

    def __delattr__(self, name: str) -> None:
        vars(self).pop(name, None)
        if hasattr(vars(self)["_worker"], name):
            delattr(vars(self)["_worker"], name)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(vars(self)["_worker"])

    def __eq__(self, other: object) -> bool:
        own = vars(self)["_worker"]
        return other is own or getattr(other, "_worker", None) is own

    def __hash__(self) -> int:
        return hash(vars(self)["_worker"])

    def __str__(self) -> str:
        return str(vars(self)["_worker"])


def _answer_of_server(req: Request, status: int, sent: int) -> Response:
    """A response that the application has not given."""
    resp = Response(req)
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    resp.status = f"{status} {phrase}".rstrip()
    resp.status_code = status
    resp.sent = sent
    return resp
