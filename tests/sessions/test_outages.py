"""Redis killed, frozen and slow: no request fails, and none waits longer than `store_timeout`."""

import contextlib
import logging
import signal
import threading
import time

import pytest
from harness import eventually
from harness.redis import Redis
from harness.session_site import SECRET, Site
from harness.slow_link import SlowLink
from lockgate.sessions import guard
from lockgate.sessions.keyring import Keyring
from lockgate.sessions.manager import SessionManager

TIMEOUT = 0.3
# For a machine that does something else at that moment.
LATE = 1.2


@pytest.fixture
def own_redis(tmp_path):
    server = Redis(tmp_path, persists=True)
    yield server
    with contextlib.suppress(ProcessLookupError):
        server.process.send_signal(signal.SIGCONT)
    server.kill()


class Outage:
    """A fault of Redis, and its end."""

    def __init__(self, kind, server):
        self.kind = kind
        self.server = server
        self.link = SlowLink(server.port, TIMEOUT / 4)

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.link.port if self.kind == 'slow' else self.server.port}/1"

    def begin(self):
        if self.kind == "slow":
            self.link.is_slow = True
        elif self.kind == "frozen":
            self.server.process.send_signal(signal.SIGSTOP)
        else:
            self.server.kill()

    def end(self):
        if self.kind == "slow":
            self.link.is_slow = False
        elif self.kind == "frozen":
            self.server.process.send_signal(signal.SIGCONT)
        else:
            self.server.start()


@pytest.fixture(params=["killed", "frozen", "slow"])
def outage(request, own_redis):
    made = Outage(request.param, own_redis)
    yield made
    made.link.close()


def test_requests_wait_for_their_timeout_only(outage, caplog, monkeypatch):
    # The test decides when the store is tried again.
    monkeypatch.setattr(guard, "RETRY_AFTER", 3600)
    manager = SessionManager(Keyring([SECRET]), store=outage.url, store_timeout=TIMEOUT)

    def request(cookie, change=None):
        session = manager.open(cookie, False)
        begin = time.monotonic()
        seen = dict(session)
        if change is not None:
            change(session)
        saved = manager.save(session, False).set_cookie
        return seen, session.is_available, saved, time.monotonic() - begin

    cookie = request("", lambda session: session.update(user="ann"))[2].partition(";")[0]
    assert request(cookie)[:3] == ({"user": "ann"}, True, None)
    outage.begin()
    with caplog.at_level(logging.WARNING, "lockgate.sessions"):
        for _ in range(guard.FAILURES):
            *found, waited = request(cookie, lambda session: session.update(note=1))
            assert found == [{}, False, None]
            assert waited < TIMEOUT + LATE
        # The next ones do not wait at all.
        times = [request(cookie, lambda session: session.update(note=1))[3] for _ in range(20)]
        assert max(times) < TIMEOUT / 2
        # A logout removes the cookie.
        *_, removal, _ = request(cookie, lambda session: session.clear())
        assert "Max-Age=0" in removal
    assert [record.message[:25] for record in caplog.records] == ["session store unavailable"]


def set_users(server, *rules):
    assert server.command("ACL", "SETUSER", "default", *rules).startswith(b"+OK")


@pytest.mark.parametrize(
    ("begin", "end", "reason"),
    [
        (
            lambda server: server.command("CONFIG", "SET", "maxmemory", "1"),
            lambda server: server.command("CONFIG", "SET", "maxmemory", "0"),
            "OOM",
        ),
        (
            lambda server: set_users(server, "-hset"),
            lambda server: set_users(server, "+hset"),
            "script",
        ),
    ],
    ids=["full", "read only"],
)
def test_a_store_that_takes_no_changes_is_still_read(own_redis, tmp_path, begin, end, reason):
    site = Site(tmp_path / "site", "lockgate", store=own_redis.url, store_timeout=TIMEOUT)
    try:
        cookie = site.log_in()
        begin(own_redis)
        for count in range(10):
            answer = site.ask(["set", "count", count], cookie=cookie)
            assert (answer.status, answer.data["user"]) == (200, "ann")
            new = site.ask(["set", "count", count])
            assert (new.status, new.sets_cookie) == (200, False)
            assert "count" not in site.ask(cookie=cookie).data
        # Reads that work are not the end of it.
        text = "session store unavailable: changes are not saved: "
        assert site.server.errors.count(text) == 1
        assert reason in site.server.errors
        assert "store available again" not in site.server.errors
        end(own_redis)
        assert site.ask(["set", "count", 1], cookie=cookie).status == 200
        assert site.ask(cookie=cookie).data["count"] == 1
        eventually(lambda: site.server.errors.count("store available again") == 1)
    finally:
        site.server.end()


def test_a_password_that_is_changed_is_an_outage(own_redis, tmp_path):
    site = Site(tmp_path / "site", "lockgate", store=own_redis.url, store_timeout=TIMEOUT)
    try:
        cookie = site.log_in()
        assert own_redis.command("CONFIG", "SET", "requirepass", "other").startswith(b"+OK")
        # Those that have been authenticated stay so.
        own_redis.command("CLIENT", "KILL", "TYPE", "normal", password="other")
        for count in range(10):
            answer = site.ask(["set", "count", count], cookie=cookie)
            assert (answer.status, answer.seen["there"]) == (200, False)
        assert site.server.errors.count("session store unavailable") == 1
        assert "NOAUTH" in site.server.errors
        own_redis.command("CONFIG", "SET", "requirepass", '""', password="other")
        eventually(lambda: site.ask(cookie=cookie).data.get("user") == "ann", within=20)
        eventually(lambda: site.server.errors.count("store available again") == 1)
    finally:
        site.server.end()


def test_no_request_fails_or_waits_under_load(outage, kind, tmp_path):
    site = Site(tmp_path / "site", kind, store=outage.url, store_timeout=TIMEOUT)
    try:
        cookie = site.log_in()
        answers = []
        is_over = threading.Event()

        def load(number):
            count = 0
            while not is_over.is_set():
                count += 1
                begin = time.monotonic()
                answer = site.ask(["set", f"t{number}", count], cookie=cookie)
                answers.append((answer.status, answer.seen["there"], time.monotonic() - begin))

        threads = [threading.Thread(target=load, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        try:
            eventually(lambda: len(answers) > 40, what="requests before the outage")
            before = len(answers)
            outage.begin()
            eventually(lambda: len(answers) > before + 200, within=30, what="requests in it")
            within = answers[before:]
            outage.end()
            eventually(lambda: answers[-1][1], within=30, what="sessions are there again")
        finally:
            is_over.set()
            for thread in threads:
                thread.join()
        assert {status for status, _, _ in answers} == {200}
        assert sum(not is_there for _, is_there, _ in within) > 100
        assert max(seconds for _, _, seconds in answers) < TIMEOUT + LATE
        assert site.ask(cookie=cookie).data["user"] == "ann"
        eventually(lambda: site.server.errors.count("store available again") == 1)
        assert site.server.errors.count("session store unavailable") == 1
    finally:
        site.server.end()
