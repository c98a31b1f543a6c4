"""A site with sessions under Lockgate or gunicorn, and a client that decides about its cookies."""

import http.client
import json
import sys
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import Server, eventually

#: `make` installs gunicorn here, where the server under test does not find it by itself.
GUNICORN = Path(sys.prefix) / "gunicorn"
SECRET = "first secret of the tests, 32 bytes"


@dataclass
class Answer:
    status: int
    headers: list
    body: bytes

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def one(self, name):
        [value] = self.all(name) or [None]
        return value

    @property
    def seen(self):
        return json.loads(self.body)

    @property
    def data(self):
        return self.seen["data"]

    @property
    def pair(self):
        """The name and value that the client has to send from now on."""
        return self.one("Set-Cookie").partition(";")[0]

    @property
    def sets_cookie(self):
        return bool(self.all("Set-Cookie"))


class Site:
    """`apps/session_app.py` under a server."""

    def __init__(self, directory, kind, *arguments, **options):
        if kind == "gunicorn" and not GUNICORN.exists():
            pytest.skip(f"gunicorn is not installed in {GUNICORN} (make test)")
        directory.mkdir(exist_ok=True)
        self.clock = directory / "clock"
        self.clock.write_text("0")
        if "secrets" not in options:
            options.setdefault("secret", SECRET)
        environment = {"SESSION_OPTIONS": json.dumps(options), "SESSION_CLOCK": str(self.clock)}
        if kind == "gunicorn":
            environment["PYTHONPATH"] = str(GUNICORN)
        self.server = Server(
            directory,
            "session_app:app",
            *("--threads", "4", *arguments),
            environment=environment,
            program=(sys.executable, "-m", kind),
            wait=False,
        )
        eventually(self._answers, within=30, what=f"{kind} answers")

    def _answers(self):
        if self.server.process.poll() is not None:
            raise AssertionError(f"the server has exited:\n{self.server.errors}")
        try:
            return self.ask().status == 200
        except OSError:
            return False

    def ask(
        self,
        *operations,
        cookie=None,
        look=True,
        status="200 OK",
        headers=(),
        scheme="http",
        path="/",
    ):
        """Performs operations on the session of a cookie."""
        query = {"do": json.dumps(operations), "status": status, "headers": json.dumps(headers)}
        if look:
            query["look"] = "1"
        sent = {"X-Scheme": scheme}
        if cookie is not None:
            sent["Cookie"] = cookie
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        try:
            connection.request("GET", "/?" + urllib.parse.urlencode(query), headers=sent)
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def log_in(self, **options):
        """The cookie of a session that has a user."""
        return self.ask(["set", "user", "ann"], **options).pair

    def pass_time(self, seconds):
        self.clock.write_text(str(seconds))


def with_store(request, directory, store):
    """The options that name a store; Redis is started by its fixture."""
    if store == "sqlite":
        return {"store": f"sqlite:///{directory}/sessions.sqlite3"}
    if store == "redis":
        return {"store": request.getfixturevalue("redis").url}
    return {} if store == "cookie" else {"store": store}
