"""The environ of the check is the server's, and what an application has of its server is there."""

import json
from types import SimpleNamespace

import pytest
from harness import request, run
from lockgate.check import driving
from lockgate.check.recorder import Recorder
from lockgate.check.requests import Request, Site, environ

KEYS = """
import json


def app(environ, start_response):
    known = {key: type(value).__name__ for key, value in environ.items() if key not in %r}
    body = json.dumps(known).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]
"""

#: Only the check has its own classes for these.
OTHER_CLASSES = ("wsgi.input", "wsgi.errors", "lockgate.client_disconnected", "lockgate.deadline")


@pytest.mark.parametrize("timeout", [0, 9])
def test_the_environ_has_the_keys_and_types_of_the_server(start, tmp_path, timeout):
    (tmp_path / "keys.py").write_text(KEYS % (OTHER_CLASSES,))
    flags = ("--request-timeout", str(timeout))
    server = start("keys:app", *flags, chdir=tmp_path)
    body = b"a=1"
    header = "Content-Type: application/x-www-form-urlencoded"
    response = server.exchange(
        request("POST", "/a?b", header, "Connection: close", body=body), "POST"
    )
    served = json.loads(response.body)
    # The test's client sends this one.
    served.pop("HTTP_CONNECTION")
    asked = Request("POST", "/a", "b", (("Content-Type", "x/y"),), body)
    made = environ(asked, Site(request_timeout=timeout))
    assert {
        key: type(value).__name__ for key, value in made.items() if key not in OTHER_CLASSES
    } == served
    assert ("lockgate.deadline" in made) == bool(timeout)


USES_THE_SERVER = """
import lockgate


def app(environ, start_response):
    environ["lockgate.deadline"].extend(60)
    assert environ["lockgate.deadline"].remaining() > 50
    assert not environ["lockgate.client_disconnected"]()
    session = environ["lockgate.session"]
    session["count"] = session.get("count", 0) + 1
    lockgate.publish("news", "hello")
    removed = lockgate.cache.purge(everything=True)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(removed).encode()]
"""


def test_what_the_server_gives_an_application_is_there(tmp_path):
    (tmp_path / "shop.py").write_text(USES_THE_SERVER)
    (tmp_path / "lockgate.toml").write_text(
        'app = "shop:app"\nrequest_timeout = 30\npush = true\ncache = "4MiB"\nsession = true\n'
    )
    done = run("check", "--no-host", "--strict", chdir=tmp_path, within=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_path_is_decoded_as_pep_3333_has_it():
    found = environ(Request("GET", "/%ff%E2%82%AC", "a=%ff"), Site(root_path="/shop"))
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("/shop", "/\xff\xe2\x82\xac")
    assert found["REQUEST_URI"] == "/%ff%E2%82%AC?a=%ff"
    assert "CONTENT_LENGTH" not in found


@pytest.mark.parametrize("slow", ["call", "first piece", "second piece"])
def test_a_stream_is_open_only_after_its_first_bytes(monkeypatch, slow):
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(driving, "time", clock)

    def spend(name):
        clock.now += (driving.MOST_SECONDS + 1) * (name == slow)

    def pieces():
        spend("first piece")
        yield b"a"
        spend("second piece")
        yield b"b"

    def app(environ, start_response):
        spend("call")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return pieces()

    outcome = driving.Outcome(Request("GET", "/"))
    driving.exchange(app, environ(outcome.request, Site()), outcome, Recorder())
    assert outcome.is_open is (slow == "second piece")
