"""The object `req` of hooks, made from environ."""

from typing import Any
from urllib.parse import unquote_to_bytes

#: Fields that environ has without `HTTP_`.
_PLAIN = {"CONTENT_TYPE": "CONTENT-TYPE", "CONTENT_LENGTH": "CONTENT-LENGTH"}


class Request:
    """A request. `headers` has one pair for each name; repeated fields are joined."""

    proxy_protocol_info: dict[str, Any] | None = None

    def __init__(self, environ: dict[str, Any]) -> None:
        self._environ = environ
        self.method = environ["REQUEST_METHOD"]
        self.uri = environ.get("RAW_URI") or environ["PATH_INFO"]
        self.path, self.query, self.fragment = _split(self.uri)
        major, _, minor = environ["SERVER_PROTOCOL"].partition("/")[2].partition(".")
        self.version = (int(major or 1), int(minor or 0))
        self.scheme = environ["wsgi.url_scheme"]
        self.body = environ["wsgi.input"]
        self.trailers: list[tuple[str, str]] = []
        port = environ.get("REMOTE_PORT")
        address = environ.get("REMOTE_ADDR", "")
        self.remote_addr = (address, int(port)) if port and port.isdigit() else address
        self.peer_addr = self.remote_addr
        self._headers: list[tuple[str, str]] | None = None
        self._given: list[tuple[str, str]] = []

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Pairs of a name in capitals and a value. What `pre_request` adds or changes reaches the
        application."""
        if self._headers is None:
            self._headers = [
                (_PLAIN.get(key) or key[5:].replace("_", "-"), value)
                for key, value in self._environ.items()
                if key in _PLAIN or (key.startswith("HTTP_") and isinstance(value, str))
            ]
            self._given = list(self._headers)
        return self._headers

    @headers.setter
    def headers(self, headers: list[tuple[str, str]]) -> None:
        _ = self.headers
        self._headers = headers

    def apply(self) -> None:
        """Writes to environ what `pre_request` has changed."""
        environ = self._environ
        if self._headers is not None and self._headers != self._given:
            for name, _ in self._given:
                environ.pop(_key(name), None)
            for name, value in self._headers:
                key = _key(name)
                environ[key] = f"{environ[key]},{value}" if key in environ else value
        path, query, _ = _split(self.uri)
        environ["REQUEST_METHOD"] = self.method
        if self.query != query:
            environ["QUERY_STRING"] = self.query
        if self.path != path:
            prefix = environ.get("SCRIPT_NAME", "")
            environ["PATH_INFO"] = unquote_to_bytes(self.path).decode("latin-1")[len(prefix) :]
        environ["wsgi.url_scheme"] = self.scheme

    def should_close(self) -> bool:
        return False


def _key(name: str) -> str:
    key = name.upper().replace("-", "_")
    return key if key in _PLAIN else f"HTTP_{key}"


def _split(uri: str) -> tuple[str, str, str]:
    """Path, query and fragment; the path as the client has sent it."""
    if not uri.startswith("/") and "://" in uri:
        _, _, rest = uri.partition("://")
        uri = f"/{rest.partition('/')[2]}"
    uri, _, fragment = uri.partition("#")
    path, _, query = uri.partition("?")
    return path, query, fragment
