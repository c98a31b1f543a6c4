"""The stores: concurrent requests of one session, processes, expiry, and the addresses of Redis."""

import json
import os
import sqlite3
import stat
import threading
import time

import pytest
from harness import free_port
from harness.redis import Redis
from harness.session_site import SECRET, with_store
from lockgate.sessions.keyring import Keyring
from lockgate.sessions.manager import SessionManager


@pytest.fixture(params=["sqlite", "redis"])
def manager(request, tmp_path):
    return SessionManager(
        Keyring([SECRET]), **with_store(request, tmp_path, request.param), store_timeout=5
    )


def save(manager, session):
    """The cookie that the client has from now on, or None."""
    header = manager.save(session, False).set_cookie
    return header and header.partition(";")[0]


def begin(manager, **data):
    session = manager.open("", False)
    session.update(data)
    return save(manager, session)


def content(manager, cookie):
    return dict(manager.open(cookie, False))


def assign(name, value):
    return lambda session: session.__setitem__(name, value)


#: What two requests of one session do at the same time; what the session has afterwards with the
#: cookie of the first, and with the one that the second's response sets (None: it sets none).
CONCURRENT = {
    "different keys": (assign("a", 1), assign("b", 2), {"n": [0], "a": 1, "b": 2}, None),
    "the same key": (assign("a", 1), assign("a", 2), {"n": [0], "a": 2}, None),
    "the same list": (
        lambda session: session["n"].append(1),
        lambda session: session["n"].append(2),
        {"n": [0, 2]},
        None,
    ),
    "a read and a write": (lambda session: session["n"], assign("a", 2), {"n": [0], "a": 2}, None),
    "a removal and a write": (
        lambda session: session.pop("n") and session.update(a=1),
        assign("b", 2),
        {"a": 1, "b": 2},
        None,
    ),
    "a logout and a write": (lambda session: session.clear(), assign("a", 2), {}, None),
    "a logout and a renewal": (
        lambda session: session.clear(),
        lambda session: session.renew(),
        {},
        None,
    ),
}


@pytest.mark.parametrize("case", CONCURRENT)
def test_two_requests_at_the_same_time(manager, case):
    first_does, second_does, expected, cookie_of_second = CONCURRENT[case]
    cookie = begin(manager, n=[0])
    first, second = manager.open(cookie, False), manager.open(cookie, False)
    first_does(first)
    second_does(second)
    save(manager, first)
    assert save(manager, second) == cookie_of_second
    assert content(manager, cookie) == expected


def test_of_two_renewals_the_first_counts(manager):
    cookie = begin(manager, n=0)
    first, second = manager.open(cookie, False), manager.open(cookie, False)
    for session in (first, second):
        session["user"] = "ann"
        session.renew()
    renewed = save(manager, first)
    assert renewed not in (None, cookie)
    assert save(manager, second) is None
    assert content(manager, renewed) == {"n": 0, "user": "ann"}
    assert content(manager, cookie) == {}


def test_a_write_to_a_session_that_was_renewed_is_lost(manager):
    cookie = begin(manager, n=0)
    first, second = manager.open(cookie, False), manager.open(cookie, False)
    first.renew()
    second["b"] = 2
    renewed = save(manager, first)
    assert save(manager, second) is None
    assert content(manager, renewed) == {"n": 0}


def test_many_threads_write_one_session(manager):
    cookie = begin(manager, n=0)

    def write(name):
        for count in range(25):
            session = manager.open(cookie, False)
            session[name] = count
            save(manager, session)

    threads = [threading.Thread(target=write, args=(f"t{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert content(manager, cookie) == {"n": 0, **{f"t{number}": 24 for number in range(8)}}


def test_a_forked_process_has_connections_of_its_own(manager):
    cookie = begin(manager, n=0)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            session = manager.open(cookie, False)
            session["child"] = True
            save(manager, session)
            os.write(writing, json.dumps(content(manager, cookie)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert json.loads(pipe.read()) == {"n": 0, "child": True}
    os.waitpid(child, 0)
    assert content(manager, cookie) == {"n": 0, "child": True}


def test_names_with_any_character(manager):
    data = {"": 0, "d:": 1, "created": 2, "é\n\x00": "\x00\u2028", "😀": [None, True]}
    cookie = begin(manager, **data)
    assert content(manager, cookie) == data


def test_the_database_is_private_and_expired_sessions_leave_it(tmp_path):
    path = tmp_path / "s.sqlite3"
    manager = SessionManager(Keyring([SECRET]), store=f"sqlite:///{path}", store_timeout=5)
    begin(manager, n=0)
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE lockgate_sessions SET expires = ?", (int(time.time()) - 1,))
    again = SessionManager(Keyring([SECRET]), store=f"sqlite:///{path}", store_timeout=5)
    begin(again, n=1)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT data FROM lockgate_sessions").fetchall() == [('{"n":1}',)]


def test_a_locked_database_keeps_a_request_for_its_timeout_only(tmp_path):
    path = tmp_path / "s.sqlite3"
    manager = SessionManager(Keyring([SECRET]), store=f"sqlite:///{path}", store_timeout=0.2)
    cookie = begin(manager, n=0)
    blocking = sqlite3.connect(path, isolation_level=None)
    blocking.execute("BEGIN IMMEDIATE")
    session = manager.open(cookie, False)
    session["a"] = 1
    begin_of_wait = time.monotonic()
    assert save(manager, session) is None
    assert 0.1 < time.monotonic() - begin_of_wait < 1.5
    blocking.execute("ROLLBACK")
    assert content(manager, cookie) in ({"n": 0}, {})
    blocking.close()


def test_sessions_leave_redis_by_themselves(redis):
    manager = SessionManager(Keyring([SECRET]), store=redis.url, store_timeout=5)
    redis.command("FLUSHALL")
    cookie = begin(manager, n=0)
    [key] = keys(redis)
    assert redis.command("TTL", key) in (b":86400\r\n", b":86399\r\n")
    session = manager.open(cookie, False)
    session.clear()
    save(manager, session)
    assert keys(redis) == []


def keys(redis):
    lines = redis.command("KEYS", "lockgate:session:*").decode().split("\r\n")
    return [line for line in lines if line.startswith("lockgate")]


def test_redis_with_a_password_a_user_a_database_and_a_unix_socket(tmp_path):
    path = tmp_path / "redis.sock"
    server = Redis(tmp_path, "--requirepass", "p@ss", "--unixsocket", str(path))
    try:
        server.command("ACL SETUSER ann on >w:rd ~* +@all", password="p@ss")
        port = server.port
        for url in (
            f"redis://:p%40ss@127.0.0.1:{port}",
            f"redis://ann:w%3Ard@127.0.0.1:{port}/3",
            f"redis+unix://:p%40ss@{path}?db=2",
        ):
            manager = SessionManager(Keyring([SECRET]), store=url, store_timeout=5)
            assert content(manager, begin(manager, url=url)) == {"url": url}
        refused = SessionManager(Keyring([SECRET]), store=f"redis://127.0.0.1:{port}")
        assert begin(refused, n=0) is None
    finally:
        server.kill()


def test_redis_over_tls(tmp_path, authority, monkeypatch):
    certificate, key = authority.issue("redis", "IP:127.0.0.1")
    port = free_port()
    server = Redis(
        tmp_path,
        *("--tls-port", str(port), "--tls-auth-clients", "no"),
        *("--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
        *("--tls-ca-cert-file", str(authority.certfile)),
    )
    try:
        address = {"store": f"rediss://127.0.0.1:{port}/1", "store_timeout": 5}
        untrusted = SessionManager(Keyring([SECRET]), **address)
        assert begin(untrusted, n=0) is None
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certfile))
        trusted = SessionManager(Keyring([SECRET]), **address)
        assert content(trusted, begin(trusted, n=[0])) == {"n": [0]}
    finally:
        server.kill()
