"""Werkzeug's debugger over the server, as its own page uses it, and in Chromium."""

import json
import re
from urllib.parse import quote
from wsgiref.util import setup_testing_defaults

import pytest
from harness import eventually
from harness.chromium import Chromium
from harness.dev_site import Site
from harness.wire import request
from lockgate.dev.middleware.debugger import Debugger
from lockgate.dev.middleware.messages import Messages
from lockgate.dev.middleware.pin_attempts import LIMIT, PinAttempts
from lockgate.dev.options import Options

VIEWS = """
VERSION = 1

@flask.get("/")
def fails():
    answer = 40 + VERSION
    raise ValueError(f"no <b>{answer}</b>")

@flask.get("/stream")
def stream():
    after = request.args["after"]
    def pieces():
        if after == "0":
            raise KeyError("before")
        yield "a" * 100
        raise KeyError("after")
    return Response(pieces(), mimetype="text/plain")

@flask.get("/fine")
def fine():
    return "fine"
"""


@pytest.fixture
def site(start, tmp_path):
    return Site(start, tmp_path, VIEWS, Options(debugger=True))


def get(site, target, *headers, host="localhost"):
    """The debugger trusts requests to this machine."""
    asked = request("GET", target, *headers, "Connection: close", host=host)
    return site.server.exchange(asked)


def secret_of(html):
    return re.search(r'SECRET = "(\w+)"', html)[1]


def frame_of(html):
    """The last frame, in which the exception was raised."""
    return re.findall(r'id="frame-(\d+)"', html)[-1]


def command(site, html, text, cookie=None):
    target = f"/?__debugger__=yes&cmd={quote(text)}&frm={frame_of(html)}&s={secret_of(html)}"
    headers = [f"Cookie: {cookie}"] if cookie else []
    return get(site, target, *headers)


def unlocked(site, html):
    """The cookie that the right PIN gives."""
    command(site, html, "printpin")
    pin = site.server.wait_for_log(r"Debugger PIN: [\d-]+").rpartition(" ")[2]
    answer = get(site, f"/?__debugger__=yes&cmd=pinauth&pin={pin}&s={secret_of(html)}")
    assert json.loads(answer.body) == {"auth": True, "exhausted": False}
    return answer.header("Set-Cookie").split(";")[0]


def test_a_frame_answers_with_the_pin_and_not_without(site):
    answer = get(site, "/")
    html = answer.body.decode()
    assert answer.status == 500
    assert "no &lt;b&gt;41&lt;/b&gt;" in html
    # The server and its middleware are no part of the traceback.
    assert "lockgate" not in html.lower().replace("/.lockgate/", "")
    assert "A reload forgets them" in html
    refused = command(site, html, "answer + 1").body.decode()
    assert "The PIN is no longer accepted" in refused and "42" not in refused
    cookie = unlocked(site, html)
    assert "42" in command(site, html, "answer + 1", cookie=cookie).body.decode()
    assert "flask" in command(site, html, "request.path, flask", cookie=cookie).body.decode()
    assert site.server.errors.count('raise ValueError(f"no <b>{answer}</b>")') == 1


def test_a_reload_forgets_the_frames_and_says_so(site):
    html = get(site, "/").body.decode()
    cookie = unlocked(site, html)
    site.reload(VIEWS.replace("VERSION = 1", "VERSION = 2"))

    def new():
        return b"gt;42&lt;" in get(site, "/").body

    eventually(new, within=20, what="the new version")
    answer = command(site, html, "answer", cookie=cookie).body.decode()
    assert "a reload forgets its frames" in answer


@pytest.mark.parametrize("after, status", [("0", 500), ("1", 200)])
def test_an_exception_in_a_stream_is_a_page_only_before_the_first_byte(site, after, status):
    with site.server.connect() as wire:
        wire.send(request("GET", f"/stream?after={after}", "Connection: close"))
        if status == 500:
            answer = wire.response("GET")
            assert answer.status == 500 and b"KeyError" in answer.body
        else:
            # A failed response never looks complete.
            received = wire.rest()
            assert received.startswith(b"HTTP/1.1 200") and b"aaa" in received
            assert not received.endswith(b"0\r\n\r\n")
    site.server.wait_for_log("KeyError: '?(before|after)")


LOCAL = {"HTTP_HOST": "localhost", "REMOTE_ADDR": "127.0.0.1"}
#: Clients, and whether they may use consoles.
CLIENTS = {
    "this machine": ({}, True),
    "127.0.0.2": ({"REMOTE_ADDR": "127.0.0.2"}, True),
    "IPv6": ({"REMOTE_ADDR": "::1"}, True),
    "IPv4 in IPv6": ({"REMOTE_ADDR": "::ffff:127.0.0.1"}, True),
    "a unix socket": ({"REMOTE_ADDR": ""}, True),
    "another site": ({"HTTP_HOST": "evil.example"}, False),
    "another machine": ({"REMOTE_ADDR": "192.0.2.7"}, False),
    "another machine, IPv6": ({"REMOTE_ADDR": "2001:db8::7"}, False),
    "another machine, IPv4 in IPv6": ({"REMOTE_ADDR": "::ffff:192.0.2.7"}, False),
    "no address": ({"REMOTE_ADDR": "unknown"}, False),
    "a proxy": ({"HTTP_X_FORWARDED_FOR": "127.0.0.1"}, False),
    "a tunnel": ({"HTTP_FORWARDED": "for=192.0.2.7"}, False),
}


class Middleware:
    """The middleware in this process, so that a test chooses the client's address."""

    def __init__(self, capsys, attempts=None):
        self._capsys = capsys
        self._debugger = Debugger(self._fails, Messages(False), attempts or PinAttempts())

    @staticmethod
    def _fails(environ, start_response):
        raise ValueError("no")

    def get(self, path, query, client):
        """Status and body."""
        environ = {}
        setup_testing_defaults(environ)
        environ |= {"PATH_INFO": path, "QUERY_STRING": query, **LOCAL, **client}
        heads = []
        body = b"".join(self._debugger(environ, lambda *head: heads.append(head)))
        return heads[-1][0][:3], body.decode()

    def pin(self, pin, client):
        query = f"__debugger__=yes&cmd=pinauth&pin={pin}&s={self.secret()}"
        return self.get("/", query, client)

    def secret(self):
        return secret_of(self.get("/", "", {})[1])

    def said(self):
        return self._capsys.readouterr().err


@pytest.mark.parametrize("client, is_trusted", CLIENTS.values(), ids=CLIENTS)
def test_only_a_browser_on_this_machine_gets_a_console(capsys, client, is_trusted):
    middleware = Middleware(capsys)
    status, page = middleware.get("/", "", client)
    assert status == "500"
    assert (f"EVALEX = {str(is_trusted).lower()}" in page) and ("forgets" in page) is is_trusted
    commands = f"__debugger__=yes&s={secret_of(page)}&frm={frame_of(page)}&cmd="
    expected = "200" if is_trusted else "403"
    assert middleware.get("/", commands + "printpin", client)[0] == expected
    assert ("Debugger PIN" in middleware.said()) is is_trusted
    assert middleware.get("/", commands + "pinauth&pin=1", client)[0] == expected
    assert middleware.get("/", commands + "40%2B2", client)[0] == expected
    assert middleware.get("/console", "", client)[0] == expected
    assert middleware.get("/", "__debugger__=yes&cmd=resource&f=style.css", client)[0] == "200"


def test_wrong_pins_are_counted_over_reloads(capsys, monkeypatch):
    # Werkzeug delays each answer to a wrong PIN.
    monkeypatch.setattr("werkzeug.debug.time.sleep", lambda seconds: None)
    attempts = PinAttempts()
    for guesses in (LIMIT // 2, LIMIT - LIMIT // 2):
        worker = Middleware(capsys, attempts)
        for _ in range(guesses):
            answered = json.loads(worker.pin("000-000-000", {})[1])
            assert answered == {"auth": False, "exhausted": False}
    last = Middleware(capsys, attempts)
    last.get("/", f"__debugger__=yes&cmd=printpin&s={last.secret()}", {})
    pin = re.search(r"Debugger PIN: ([\d-]+)", last.said())[1]
    assert json.loads(last.pin(pin, {})[1]) == {"auth": False, "exhausted": True}
    other = Middleware(capsys)
    assert json.loads(other.pin("000-000-000", {})[1])["auth"] is False
    assert json.loads(other.pin(pin, {})[1]) == {"auth": True, "exhausted": False}


def test_the_console_of_a_frame_works_in_chromium(site, tmp_path):
    browser = Chromium(tmp_path, f"{site.server.url}/")
    try:
        last = "[...document.querySelectorAll('div.traceback div.frame')].pop()"
        eventually(
            lambda: browser.evaluate(f"!!{last}.querySelector('img')"), within=10, what="the icon"
        )
        browser.evaluate(f"{last}.querySelector('img').click()")
        pin = site.server.wait_for_log(r"Debugger PIN: [\d-]+").rpartition(" ")[2]
        browser.evaluate(
            "const box = document.querySelector('.pin-prompt form');"
            f"box.pin.value = {pin!r}; box.requestSubmit()"
        )
        eventually(
            lambda: browser.evaluate("EVALEX_TRUSTED === true"), within=10, what="the right PIN"
        )
        browser.evaluate(
            "const line = document.querySelector('pre.console input');"
            "line.value = 'answer'; line.form.requestSubmit()"
        )
        output = "document.querySelector('pre.console .output').innerText"
        eventually(lambda: "41" in browser.evaluate(output), within=10, what="the value")
        browser.screenshot(tmp_path / "console.png")
    finally:
        browser.end()
    # The requests of the page are not in the log.
    eventually(lambda: "GET" in site.server.output, within=5, what="the line of the page")
    assert "__debugger__" not in site.server.output
