"""The object `resp` of hooks: what the application has passed to `start_response`."""

from typing import Any

from lockgate.gunicorn import SERVER

#: Fields that are the server's own; gunicorn ignores them, too.
_HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailers",
    "transfer-encoding",
    "upgrade",
    "server",
    "date",
}


class Response:
    """A response. `sent` is final when `post_request` is called."""

    def __init__(self, req: Any, sock: Any = None, cfg: Any = None) -> None:
        self.req = req
        self.sock = sock
        self.cfg = cfg
        self.version = SERVER
        self.status: str | None = None
        self.status_code: int | None = None
        self.headers: list[tuple[str, str]] = []
        self.headers_sent = False
        self.response_length: int | None = None
        self.sent = 0
        self.chunked = False
        self.must_close = False
        self.upgrade = False

    def start(self, status: str, headers: Any) -> None:
        """Records what a valid call of `start_response` was given."""
        self.status = status
        self.status_code = int(status[:3])
        self.headers = []
        self.response_length = None
        for name, value in headers:
            lower = name.lower()
            if lower == "content-length":
                self.response_length = int(value)
            if lower not in _HOP_BY_HOP:
                self.headers.append((name, value.strip(" \t")))
        has_body = self.req.method != "HEAD" and self.status_code not in (204, 304)
        is_new = self.req.version > (1, 0)
        self.chunked = has_body and is_new and self.response_length is None

    def should_close(self) -> bool:
        return self.must_close

    def force_close(self) -> None:
        self.must_close = True
