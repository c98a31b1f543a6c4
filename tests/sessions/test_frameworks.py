"""Flask and Django with Lockgate's sessions, under both servers; the frameworks' own tests."""

import http.client
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Server, eventually
from harness.pypi import unpack_source
from harness.redis import Redis
from harness.session_site import GUNICORN, with_store

HERE = Path(__file__).parent

#: Django's own `signed_cookies` is exempt from these, too: a cookie does not exist on the server.
OF_SERVER_SIDE = {
    "LockgateTests.test_save",
    "LockgateTests.test_save_async",
    "LockgateTests.test_session_asave_does_not_resurrect_session_logged_out_in_other_context",
    "LockgateTests.test_session_save_does_not_resurrect_session_logged_out_in_other_context",
}
#: Looks into the table of Django's own engine.
OF_DATABASE = {"LockgateMiddlewareTests.test_empty_session_saved"}

#: Deliberate differences from Flask's own sessions.
OF_FLASK = {
    # Max-Age is enough for browsers; there is no Expires.
    "test_session_expiration",
    # A session that a request does not use costs nothing and sets no cookie.
    "test_session_cookie_setting",
    "test_session_refresh_vary",
    # Nothing is removed for a client that has sent no cookie.
    "test_session_using_session_settings",
}


@pytest.mark.parametrize("store", ["cookie", "sqlite", "redis"])
def test_djangos_own_tests(store, request, tmp_path, django_source):
    address = with_store(request, tmp_path, store).get("store", "cookie")
    command = [sys.executable, str(HERE / "django_suite.py"), str(django_source / "tests"), address]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stderr
    outcomes = json.loads(ran.stdout)
    failures = {name for name, text in outcomes.items() if text}
    expected = OF_DATABASE | (OF_SERVER_SIDE if store == "cookie" else set())
    assert failures == expected, "\n".join(outcomes[name] for name in failures - expected)
    assert len(outcomes) > 70


@pytest.fixture(scope="module")
def django_source(tmp_path_factory):
    version = importlib.metadata.version("django")
    return unpack_source(f"django=={version}", tmp_path_factory.mktemp("django"))


def test_flasks_own_tests(tmp_path):
    source = unpack_source(f"flask=={importlib.metadata.version('flask')}", tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "flask_plugin", "-o", "addopts="]
    command += ["-p", "no:cacheprovider", "-p", "no:xdist", "tests/test_basic.py"]
    command += ["tests/test_session_interface.py", "tests/test_testing.py", "tests/test_helpers.py"]
    command += [f"--deselect=tests/test_basic.py::{name}" for name in OF_FLASK]
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    environment.pop("PYTEST_XDIST_WORKER", None)
    ran = subprocess.run(
        command, cwd=source, env=environment, capture_output=True, text=True, timeout=100
    )
    assert ran.returncode == 0, ran.stdout[-3000:]


class Client:
    """A browser that keeps the cookie of one site."""

    def __init__(self, port):
        self.port = port
        self.cookie = None

    def get(self, path, cookie=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            sent = cookie or self.cookie
            connection.request("GET", path, headers={"Cookie": sent} if sent else {})
            response = connection.getresponse()
            for value in response.headers.get_all("Set-Cookie", ()):
                self.cookie = value.partition(";")[0]
            self.vary = response.headers.get("Vary")
            body = response.read()
            assert response.status == 200, body
            return json.loads(body)
        finally:
            connection.close()


def serve(directory, app, kind, store):
    if kind == "gunicorn" and not GUNICORN.exists():
        pytest.skip(f"gunicorn is not installed in {GUNICORN} (make test)")
    environment = {"PYTHONPATH": str(GUNICORN)} if kind == "gunicorn" else {}
    if store is not None:
        environment["SESSION_STORE"] = store
    server = Server(
        directory,
        f"session_{app}:app",
        *("--threads", "2"),
        environment=environment,
        program=(sys.executable, "-m", kind),
        wait=False,
    )

    def answers():
        assert server.process.poll() is None, server.errors
        try:
            return Client(server.port).get("/") == "hello"
        except OSError:
            return False

    eventually(answers, within=30, what=f"{kind} answers")
    return server


@pytest.fixture
def client(tmp_path, request, kind, store):
    address = with_store(request, tmp_path, store).get("store")
    server = serve(tmp_path, request.param, kind, address)
    yield Client(server.port)
    server.end()


@pytest.mark.parametrize("client", ["flask", "django"], indirect=True)
def test_a_login_and_a_logout(client, store):
    client.get("/")
    assert client.cookie is None and client.vary is None
    assert [client.get("/visit"), client.get("/visit")] == [1, 2]
    assert client.vary == "Cookie"
    planted = client.cookie
    client.get("/login")
    assert client.cookie != planted
    assert client.get("/user") == ["ann", 2, ["welcome"]]
    assert client.get("/user") == ["ann", 2, []]
    kept = client.cookie
    attacker = Client(client.port)
    assert attacker.get("/user", cookie=planted)[0] is None
    client.get("/logout")
    client.cookie = None
    assert client.get("/user") == [None, 0, []]
    # A cookie with its content in it is valid until its lifetime ends.
    assert attacker.get("/user", cookie=kept)[0] == ("ann" if store == "cookie" else None)
    assert attacker.get("/user", cookie=kept[:-1]) == [None, 0, []]


@pytest.mark.parametrize("app", ["flask", "django"])
def test_redis_is_restarted(app, tmp_path):
    redis = Redis(tmp_path, persists=True)
    server = serve(tmp_path, app, "lockgate", redis.url)
    try:
        client = Client(server.port)
        client.get("/login")
        cookie = client.cookie
        redis.kill()
        # No request fails, and none takes the cookie from the client.
        assert [client.get("/user")[0] for _ in range(5)] == [None] * 5
        client.get("/visit")
        assert client.cookie == cookie
        redis.start()
        eventually(lambda: client.get("/user")[0] == "ann", what="the session is there again")
        redis.kill()
        client.get("/logout")
        assert client.cookie == "session=" or client.cookie.startswith('session=""')
    finally:
        server.end()
        redis.kill()
