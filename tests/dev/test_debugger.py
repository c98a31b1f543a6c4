"""Werkzeug's debugger over the server, as its own page uses it, and in Chromium."""

import json
import re
from urllib.parse import quote

import pytest
from harness import eventually
from harness.chromium import Chromium
from harness.dev_site import Site
from harness.wire import request
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


def test_a_host_that_is_not_this_machine_gets_no_console(site):
    answer = get(site, "/", host="evil.example")
    assert b"EVALEX = false" in answer.body and b"A reload forgets" not in answer.body
    secret = secret_of(answer.body.decode())
    get(site, f"/?__debugger__=yes&cmd=printpin&s={secret}", host="evil.example")
    assert "PIN" not in site.server.errors


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
