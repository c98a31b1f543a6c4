"""The admin listener and the pages that its operator views: other origins get nothing."""

import contextlib
import json
import os
import select
import signal

import pytest
from harness import Wire, eventually, free_port, request, run
from harness.admin import Admin
from harness.chromium import Chromium

from window.attackers import FORM, FRAME, WAYS, HostileSite, Tunnel, attack
from window.hostile_texts import HostileAdmin

ACTION = "Lockgate-Action: test"
READ = [
    *("/", "/metrics", "/healthz", "/readyz", "/status", "/stacks", "/limits", "/uwsgi"),
    *("/now", "/history?from=0&step=1", "/events", "/profile?seconds=0.1&format=table"),
]
ACTIONS = ["/actions/reload", "/actions/shutdown", "/actions/workers?change=1"]
#: Opens all that opens; all that listens to the pointer and the focus gets it.
OPEN_ALL = """
for (const node of document.querySelectorAll('details')) node.open = true
for (const node of document.querySelectorAll('*'))
  for (const kind of ['mouseover', 'mousemove', 'focus', 'pointermove'])
    node.dispatchEvent(new Event(kind, {bubbles: true}))
"""
#: What every answer has, whatever its status.
PROTECTION = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


class Listener:
    """A server whose admin listener is asked over TCP."""

    def __init__(self, start, *arguments):
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.server = start("hello:app", "--admin-bind", self.host, *arguments, workers=1)

    def ask(self, method, target, *headers, host=None, version="1.1"):
        with Wire(("127.0.0.1", self.port)) as wire:
            fields = (*headers, "Connection: close")
            wire.send(request(method, target, *fields, host=host or self.host, version=version))
            return wire.response(method)


@pytest.fixture(scope="module")
def listener(shared):
    return Listener(shared)


@pytest.fixture(scope="module")
def acting(shared):
    return Listener(shared, "--admin-actions")


@pytest.mark.parametrize("field", [
    "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "sec-fetch-site: cross-site",
    "Origin: null", "Origin: http://evil.example", "Origin: https://HOST", "Origin: http://HOST1",
    "Origin: http://localhost", "Origin: http://127.0.0.1",
])  # fmt: skip
def test_a_page_of_another_origin_gets_the_same_answer_for_every_path_and_method(acting, field):
    field = field.replace("HOST", acting.host)
    texts = set()
    for target in [*READ, *ACTIONS, "/publish/", "/cache/purge", "/absent"]:
        for method in ("GET", "POST", "OPTIONS"):
            answer = acting.ask(method, target, field, ACTION)
            assert answer.status == 403, (method, target, answer)
            assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]
            texts.add(answer.body)
    assert len(texts) == 1, texts


@pytest.mark.parametrize(
    ("host", "version", "status"),
    [
        ("127.0.0.1:1", "1.1", 200),
        ("[::1]:9000", "1.1", 200),
        ("localhost", "1.0", 200),
        ("rebound.example", "1.1", 403),
        ("rebound.example", "1.0", 403),
        ("127.0.0.1.nip.io", "1.1", 403),
    ],
)
def test_a_name_that_leads_to_this_machine_is_refused_for_every_path(
    listener, host, version, status
):
    for target in ["/status", "/healthz"]:
        assert listener.ask("GET", target, host=host, version=version).status == status
    for forwarded in ["X-Forwarded-For: unix", "Forwarded: for=unknown", "X-Forwarded-Host: [::1]"]:
        assert listener.ask("GET", "/healthz", forwarded, host=host).status == status, forwarded


def test_a_tunnel_to_a_unix_socket_is_protected_like_a_port(start, tmp_path):
    admin = Admin(start, tmp_path, "hello:app", workers=1)
    for host, status in [
        ("localhost:9000", 200),
        ("127.0.0.1:9000", 200),
        ("lockgate", 200),
        (None, 200),
        ("rebound.example:9000", 403),
    ]:
        with Wire(str(admin.path)) as wire:
            version = "1.0" if host is None else "1.1"
            wire.send(request("GET", "/status", host=host, version=version))
            assert wire.response().status == status, host


def test_every_answer_forbids_to_embed_frame_store_and_guess(listener):
    for method, target, headers in [
        *(("GET", target, ()) for target in [*READ, "/absent", *ACTIONS]),
        *(("HEAD", target, ()) for target in ("/status", "/absent")),
        *(("POST", target, ()) for target in ("/status", "/publish/", "/cache/purge", *ACTIONS)),
        ("OPTIONS", "/status", ()),
        ("GET", "/status", ("Origin: http://evil.example",)),
    ]:
        answer = listener.ask(method, target, *headers)
        found = {name: answer.header(name) for name in PROTECTION}
        assert found == PROTECTION, (method, target)
        policy = answer.header("Content-Security-Policy").split("; ")
        assert {"default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"} <= {*policy}
        assert "unsafe" not in "".join(policy)


def test_the_page_acts_only_with_the_setting(listener, acting):
    def reopen(asked, *headers):
        return asked.ask("POST", "/actions/reopen", *headers, ACTION).status

    for asked, status in [(listener, 403), (acting, 202)]:
        own = f"Origin: http://{asked.host}"
        assert reopen(asked) == 202, "a program"
        assert reopen(asked, own) == status
        assert reopen(asked, own, "Sec-Fetch-Site: same-origin") == status
        # Every browser names the origin of a POST.
        assert reopen(asked, "Sec-Fetch-Site: same-origin") == 403
        assert reopen(asked, "Sec-Fetch-Site: none") == 403
        assert reopen(asked, own, "Origin: http://evil.example") == 403
    own = f"Origin: http://{acting.host}"
    assert acting.ask("POST", "/actions/reopen", own).status == 400, "no header"
    for target in ("/publish/", "/cache/purge"):
        assert acting.ask("POST", target, own).status in (403, 404)


@pytest.mark.parametrize("shown", ["paths", "targets"])
def test_query_strings_are_shown_nowhere_unless_the_setting_says_so(start, tmp_path, shown):
    gate = tmp_path / "SECRET"
    port = free_port()
    settings = ("--admin-bind", f"127.0.0.1:{port}", "--admin-show", shown)
    server = start("gates:app", *settings, "--slow-request", "0.2", workers=1)
    with server.connect() as held:
        held.send(request("GET", f"/hold?{gate}", f"Referer: http://shop.example/?{gate}"))
        eventually((tmp_path / "SECRET.started").exists, what="the call")
        formats = [f"/profile?seconds=0.2&format={one}" for one in ("svg", "speedscope", "json")]

        def text_of(target):
            with Wire(("127.0.0.1", port)) as wire:
                wire.send(request("GET", target, ACTION, "Connection: close", host="localhost"))
                return wire.response().body.decode()

        eventually(lambda: '"slow":[{' in text_of("/history"), what="a slow request")
        texts = {target: text_of(target) for target in [*READ, *formats]}
        for command in ("ctl requests", "ctl stacks", "ctl status", "top --once"):
            name, argument = command.split()
            said = run(name, "--admin", f"127.0.0.1:{port}", argument)
            assert said.returncode == 0, said
            texts[command] = said.stdout
        os.kill(server.workers()[0], signal.SIGKILL)
        eventually(lambda: "in flight" in text_of("/events"), within=20, what="the report")
        texts["/events"] = text_of("/events")
        texts["ctl events"] = run("ctl", "--admin", f"127.0.0.1:{port}", "events").stdout
    with_query = {name for name, text in texts.items() if "SECRET" in text}
    with_path = {name for name, text in texts.items() if "/hold" in text}
    always = {"/status", "/stacks", "ctl requests", "ctl stacks", "ctl status", "top --once"}
    always |= {"/now", READ[-3], *formats}
    events = {"/events", "ctl events"}
    assert always | events <= with_path
    assert not events & with_query, "with either setting"
    if shown == "paths":
        assert with_query == set()
    else:
        # Profiles never have them.
        assert always - {*formats} <= with_query


def test_a_profile_ends_when_its_client_leaves(start):
    asked = Listener(start)
    with Wire(("127.0.0.1", asked.port)) as wire:
        wire.send(request("GET", "/profile?seconds=600&rate=1000", ACTION, host="localhost"))
        # One at a time.
        brief = "/profile?seconds=0.1&format=table"
        eventually(lambda: asked.ask("GET", brief, ACTION).status == 503, what="it has begun")
    eventually(lambda: asked.ask("GET", brief, ACTION).status == 200, within=20, what="its end")


def test_health_is_answered_while_others_ask_workers_that_do_not_answer(start):
    asked = Listener(start)
    # Not before the worker has written its first status.
    eventually(lambda: b'"workers":[{' in asked.ask("GET", "/status").body, what="a worker")
    os.kill(asked.server.workers()[0], signal.SIGSTOP)
    targets = ["/stacks"] * 4 + ["/now"] * 8 + ["/profile?seconds=0.1"] * 4
    with Wire(("127.0.0.1", asked.port)) as profile, contextlib.ExitStack() as wires:
        profile.send(request("GET", "/profile?seconds=60", ACTION, host="localhost"))
        for target in targets:
            wire = wires.enter_context(Wire(("127.0.0.1", asked.port)))
            wire.send(request("GET", target, ACTION, "Connection: close", host="localhost"))
        for _ in range(3):
            assert asked.ask("GET", "/healthz").status == 200
            assert asked.ask("GET", "/metrics").status == 200
        # The profile still waits for the worker.
        assert select.select([profile.socket], [], [], 0)[0] == []
    os.kill(asked.server.workers()[0], signal.SIGCONT)


@pytest.fixture(scope="module")
def site():
    site = HostileSite()
    yield site
    site.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    page = Chromium(
        tmp_path_factory.mktemp("chromium"),
        "about:blank",
        "--host-resolver-rules=MAP *.example 127.0.0.1",
    )
    yield page
    page.end()


@pytest.fixture
def tunnel(start, tmp_path):
    admin = Admin(start, tmp_path, "hello:app", "--admin-actions", workers=1)
    tunnel = Tunnel(admin.path)
    tunnel.admin = admin
    yield tunnel
    tunnel.close()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "evil.example"])
def test_a_page_in_chromium_gets_nothing_from_another_port(browser, site, tunnel, name):
    workers = tunnel.admin.workers()
    here = f"http://127.0.0.1:{tunnel.port}"
    browser.open(f"http://{name}:{site.port}/")
    urls = [here + target for target in ("/", "/status", "/stacks", ACTIONS[0], ACTIONS[1])]
    ways = {**WAYS, "a frame": FRAME, "a form": FORM}
    found = browser.evaluate(attack(ways, urls))
    assert len(found) == len(ways) * len(urls)
    assert set(found.values()) == {"nothing"}, found
    passed = tunnel.passed()
    assert {status for *_, status in passed} == {403}, passed
    # The attacks did arrive: by GET, by POST, as preflights, from frames without an origin.
    methods = {method for method, *_ in passed}
    assert methods >= {"GET", "POST", "OPTIONS"}, methods
    heads = "\n".join(head for *_, head, _ in passed)
    assert f"Origin: http://{name}:{site.port}" in heads and "Origin: null" in heads
    assert tunnel.admin.workers() == workers
    assert tunnel.admin.status()["reload"]["begun"] == 0
    assert "asks for" not in tunnel.admin.server.errors


def test_a_link_of_another_origin_leads_to_a_text_that_says_what_to_do(browser, site, tunnel):
    browser.open(f"http://evil.example:{site.port}/")
    there = f"http://localhost:{tunnel.port}/status"
    browser.evaluate(f"location.href = {json.dumps(there)}")
    text = eventually(
        lambda: "type this address" in str(browser.evaluate("document.body?.innerText")),
        what="the text",
    )
    assert text
    # Typed, it is answered, and the answer can do nothing.
    browser.open(there)
    assert '"name":"lockgate"' in browser.evaluate("document.body.innerText")
    assert browser.evaluate("origin") == "null"


def test_a_name_that_is_rebound_to_this_machine_gets_nothing_in_chromium(browser, tunnel):
    for target in ("/status", "/"):
        browser.open(f"http://rebound.example:{tunnel.port}{target}")
        text = browser.evaluate("document.body.innerText")
        assert text.startswith("the Host header must be an IP address or localhost")


@pytest.mark.parametrize("scenario", ["database", "failing_reload"])
@pytest.mark.parametrize("has_policy", [True, False], ids=["with its policy", "without a policy"])
def test_no_text_of_a_client_or_an_application_is_markup_in_the_page(browser, scenario, has_policy):
    admin = HostileAdmin(scenario)
    try:
        # What the policy stops must not be needed to stop anything.
        browser.bypass_policies(not has_policy)
        browser.open(admin.url)
        eventually(lambda: "onerror=pwned" in shown(browser), within=20, what="the texts")
        browser.evaluate("document.getElementById('profile-start').click()")
        eventually(
            lambda: any(target.startswith("/profile") for _, target in admin.requests),
            within=20,
            what="the profile",
        )
        eventually(lambda: "__proto__" in opened(browser), within=20, what="texts to the end")
        assert browser.evaluate("typeof pwned") == "undefined"
        assert browser.evaluate("typeof ({}).polluted") == "undefined"
        for selector in ("img", "iframe", "object", "embed", "base", "[onload]", "[onerror]"):
            assert browser.evaluate(f"document.querySelectorAll('{selector}').length") == 0
        assert browser.evaluate("document.scripts.length") == 1
        links = browser.evaluate("[...document.links].map(link => link.protocol)")
        assert set(links) <= {"http:", "blob:", "data:"}
    finally:
        browser.bypass_policies(False)
        admin.close()


def test_what_clients_send_to_a_real_server_is_no_markup_in_its_page(browser, start, tmp_path):
    gate, port = tmp_path / "gate", free_port()
    attack = "<img/src=x/onerror=pwned=1><script>pwned=2</script>'\";pwned=3//"
    settings = ("--admin-bind", f"127.0.0.1:{port}", "--admin-show", "targets", "--request-id")
    server = start("gates:app", *settings, "--slow-request", "0.1", workers=1)
    with server.connect() as held:
        held.send(request("GET", f"/hold/{attack}?{gate}", "X-Request-Id: javascript:pwned=4"))
        eventually((tmp_path / "gate.started").exists, what="the call")
        browser.open(f"http://localhost:{port}/")
        for text in ("onerror=pwned=1", "javascript:pwned=4", "tests/apps/gates.py"):
            eventually(lambda: text in opened(browser), within=30, what=text)  # noqa: B023
        # The report on the death of a worker names the request.
        os.kill(server.workers()[0], signal.SIGKILL)
        eventually(lambda: "in flight" in opened(browser), within=30, what="the event")
    assert browser.evaluate("typeof pwned") == "undefined"
    assert browser.evaluate("document.querySelectorAll('img, iframe').length") == 0
    assert browser.evaluate("document.scripts.length") == 1
    gate.touch()


def shown(browser):
    return str(browser.evaluate("document.body?.textContent"))


@pytest.mark.parametrize("may_act", [True, False])
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "a tunnel"])
def test_the_listeners_own_page_reads_and_acts_as_the_setting_says(
    browser, start, tmp_path, name, may_act
):
    flags = ["--admin-actions"] if may_act else []
    if name == "a tunnel":
        tunnel = Tunnel(Admin(start, tmp_path, "hello:app", *flags, workers=1).path)
        here = f"http://localhost:{tunnel.port}/"
    else:
        here = f"http://{name}:{Listener(start, *flags).port}/"
    browser.open(here)
    asks = "'{}', {{method: '{}', headers: {{'Lockgate-Action': '1'}}}}"

    def status(target, method):
        asked = asks.format(target, method)
        return browser.evaluate(f"fetch({asked}).then(answer => answer.status)")

    assert status("status", "GET") == 200
    assert status("stacks", "GET") == 200
    assert status("actions/reopen", "POST") == (202 if may_act else 403)
    assert status("publish/", "POST") in (403, 404)
    # Scripts other than its own do not run, and nothing is loaded from elsewhere.
    browser.evaluate(
        "document.body.append(Object.assign(document.createElement('div'), {id: 'given'}));"
        "try { given.innerHTML = '<img src=x onerror=pwned=1>' } catch { window.held = 1 }"
    )
    assert browser.evaluate("[window.held, typeof pwned]") == [1, "undefined"]
    for call in (
        "fetch('http://evil.example/')",
        "navigator.serviceWorker.register('status')",
        "import('data:text/javascript,1')",
    ):
        assert browser.evaluate(f"{call}.then(() => 'done', () => 'refused')") == "refused", call


def opened(browser):
    browser.evaluate(OPEN_ALL)
    return shown(browser)
