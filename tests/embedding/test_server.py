"""`lockgate.Server`: a worker inside the program that tests it, which here is pytest."""

import errno
import gc
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from urllib.request import urlopen

import lockgate
import pytest
from harness import Wire, eventually, request
from harness.wire import Truncated

LOCAL = "127.0.0.1:0"
#: `stop()` of an idle server; a busy machine may disturb some of the attempts.
STOP_WITHIN = 0.1


def hello(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


class Gate:
    """An application whose calls wait until they may return."""

    def __init__(self):
        self.entered = threading.Event()
        self.may_return = threading.Event()

    def __call__(self, environ, start_response):
        self.entered.set()
        assert self.may_return.wait(20)
        return hello(environ, start_response)


def connect(server):
    return Wire(("127.0.0.1", server.port))


def ask(wire):
    wire.send(request("GET", "/"))
    return wire.response("GET")


def test_it_listens_when_start_returns_and_no_longer_when_stop_does():
    server = lockgate.Server(hello, bind=LOCAL)
    server.start()
    address = ("127.0.0.1", server.port)
    assert server.port != 0
    assert server.url == f"http://127.0.0.1:{server.port}"
    assert server.addresses == [server.url]
    assert urlopen(server.url).read() == b"hello"
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    for read in (lambda: server.port, lambda: server.url, lambda: server.addresses):
        with pytest.raises(RuntimeError, match="is not running"):
            read()


@pytest.mark.parametrize("connections", ["none", "kept alive", "without a request", "both"])
def test_an_idle_server_stops_at_once(connections):
    durations = []
    for _ in range(5):
        with lockgate.Server(hello, bind=LOCAL) as server:
            wires = []
            if connections in ("kept alive", "both"):
                wires += [connect(server) for _ in range(3)]
                assert all(ask(wire).body == b"hello" for wire in wires)
            if connections in ("without a request", "both"):
                wires += [connect(server) for _ in range(3)]
            began = time.monotonic()
            server.stop()
            durations.append(time.monotonic() - began)
            for wire in wires:
                wire.expect_close()
                wire.close()
    assert min(durations) < STOP_WITHIN, durations


def test_a_running_request_is_answered():
    gate = Gate()
    with lockgate.Server(gate, bind=LOCAL) as server:
        wire = connect(server)
        wire.send(request("GET", "/"))
        assert gate.entered.wait(10)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        port = server.port
        eventually(lambda: refuses(port), what="new connections are refused")
        gate.may_return.set()
        assert wire.response("GET").body == b"hello"
        wire.expect_close()
        stopping.join(10)
        assert not stopping.is_alive()


def refuses(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("how", ["timeout", "graceful_timeout"])
def test_a_request_that_takes_too_long_loses_its_client(how):
    gate = Gate()
    settings = {"graceful_timeout": 0.2} if how == "graceful_timeout" else {}
    with lockgate.Server(gate, bind=LOCAL, **settings) as server:
        wire = connect(server)
        wire.send(request("GET", "/"))
        assert gate.entered.wait(10)
        began = time.monotonic()
        server.stop(**({"timeout": 0.2} if how == "timeout" else {}))
        assert 0.2 <= time.monotonic() - began < 5
        with pytest.raises((Truncated, OSError, EOFError)):
            wire.response("GET")
    gate.may_return.set()
    eventually(lambda: not server_threads(), what="the thread of the call ends")


def server_threads():
    return [thread for thread in threading.enumerate() if thread.name == "lockgate-worker"]


def test_a_request_may_stop_its_server():
    def app(environ, start_response):
        server.stop()
        return hello(environ, start_response)

    server = lockgate.Server(app, bind=LOCAL)
    server.start()
    assert urlopen(server.url).read() == b"hello"
    server.wait()
    assert repr(server).endswith("not running>")


def test_it_starts_again_and_leaves_nothing_behind():
    server = lockgate.Server(hello, bind=LOCAL)

    def serve_once():
        with server:
            assert urlopen(server.url).read() == b"hello"

    serve_once()
    eventually(lambda: not server_threads())
    gc.collect()
    before = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
    for _ in range(30):
        serve_once()

    def after():
        gc.collect()
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    eventually(lambda: after() <= before, what=f"descriptors and threads as before: {before}")


def test_a_stopped_server_is_freed_with_its_application():
    def serve_once():
        gate = Gate()
        gate.may_return.set()
        gate.server = lockgate.Server(gate, bind=LOCAL)
        with gate.server:
            assert urlopen(gate.server.url).read() == b"hello"
        return weakref.ref(gate)

    gates = [serve_once() for _ in range(3)]

    def are_freed():
        gc.collect()
        return all(gate() is None for gate in gates)

    eventually(are_freed, what="the applications are freed")


def test_two_servers_run_at_the_same_time_and_a_third_starts_once():
    def app_of(name):
        def app(environ, start_response):
            start_response("200 OK", [])
            return [name]

        return app

    with (
        lockgate.Server(app_of(b"one"), bind=LOCAL) as one,
        lockgate.Server(app_of(b"two"), bind=LOCAL) as two,
    ):
        for _ in range(3):
            assert (urlopen(one.url).read(), urlopen(two.url).read()) == (b"one", b"two")
        with pytest.raises(RuntimeError, match="is running already"):
            one.start()
        one.stop()
        one.stop()
        assert urlopen(two.url).read() == b"two"


def test_any_thread_starts_and_another_stops():
    server = lockgate.Server(hello, bind=LOCAL)
    for action in (server.start, server.stop):
        thread = threading.Thread(target=action)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
        if action == server.start:
            assert urlopen(server.url).read() == b"hello"
    assert not server_threads()


def test_its_threads_are_daemons_as_those_of_other_servers_in_programs():
    flags = []

    def app(environ, start_response):
        flags.append((threading.current_thread().daemon, threading.current_thread().name))
        return hello(environ, start_response)

    with lockgate.Server(app, bind=LOCAL) as server:
        urlopen(server.url).read()
    assert flags == [(True, "lockgate-worker")]


def test_environ_tells_what_serves():
    found = {}

    def app(environ, start_response):
        found.update(environ)
        return hello(environ, start_response)

    with lockgate.Server(app, bind=LOCAL, root_path="/shop") as server:
        urlopen(server.url + "/shop/x").read()
        assert found["SERVER_PORT"] == str(server.port)
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("/shop", "/x")
    assert found["wsgi.multithread"] is True and found["wsgi.multiprocess"] is False


def test_an_exception_is_500_and_its_traceback_is_logged(capfd):
    def app(environ, start_response):
        raise ValueError("the reason")

    with lockgate.Server(app, bind=LOCAL) as server, connect(server) as wire:
        assert ask(wire).status == 500
    errors = capfd.readouterr().err
    assert "ValueError: the reason" in errors and "Error handling request GET /" in errors


def test_the_logs_go_where_the_settings_say(tmp_path):
    with lockgate.Server(hello, bind=LOCAL, accesslog=tmp_path / "access.log") as server:
        urlopen(server.url + "/logged").read()
    assert '"GET /logged HTTP/1.1" 200' in (tmp_path / "access.log").read_text()


def test_a_unix_socket_is_removed(tmp_path):
    path = tmp_path / "app.sock"
    before = os.umask(0o077)
    try:
        with lockgate.Server(hello, bind=f"unix:{path}") as server:
            assert path.stat().st_mode & 0o777 == 0o700
            with Wire(str(path)) as wire:
                assert ask(wire).body == b"hello"
            with pytest.raises(RuntimeError, match="no TCP address"):
                server.url  # noqa: B018
        assert not path.exists()
    finally:
        assert os.umask(before) == 0o077


def test_https_with_a_certificate(authority, tmp_path):
    certfile, keyfile = authority.issue("localhost", "DNS:localhost", "IP:127.0.0.1")
    with lockgate.Server(hello, bind=LOCAL, certfile=certfile, keyfile=keyfile) as server:
        assert server.url.startswith("https://127.0.0.1:")
        for _ in range(3):
            page = urlopen(server.url, context=authority.client())
            assert page.read() == b"hello"
    with pytest.raises(ValueError, match="certfile = .*missing.pem: cannot be read"):
        lockgate.Server(hello, bind=LOCAL, certfile=tmp_path / "missing.pem").start()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"workers": 2}, "workers = 2 (from serve(workers=…)): needs a supervisor"),
        ({"preload": True}, "preload = true (from serve(preload=…)): needs a supervisor"),
        ({"max_requests": 10}, "needs a supervisor"),
        ({"umask": 0o22}, "is a setting of the whole process"),
        ({"chdir": "/"}, "is a setting of the whole process"),
        ({"treads": 4}, "did you mean threads?"),
        ({"threads": 0}, "must be at least 1"),
        ({"threads": "many"}, "must be a whole number"),
        ({"bind": "127.0.0.1:0", "port": 0}, "exclude each other"),
        ({"request_timeout": float("inf")}, "request_timeout=inf: must be a finite number"),
        ({"threads": 1 << 64}, "threads: the number is out of range"),
        ({"access_logformat": "%(nothing"}, "access_logformat"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_a_value_error_that_names_it(settings, words):
    with pytest.raises(ValueError) as caught:
        lockgate.Server(hello, **settings)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({"host": "127.0.0.1", "port": 0}, "127.0.0.1"),
        ({"port": 0}, "127.0.0.1"),
        ({"port": "0", "workers": 1, "preload": False, "timeout": None}, "127.0.0.1"),
        ({"listen": "127.0.0.1:0"}, "127.0.0.1"),
        ({"bind": ["127.0.0.1:0"]}, "127.0.0.1"),
        ({"host": "0.0.0.0", "port": 0}, "127.0.0.1"),
    ],
    ids=str,
)
def test_an_address_has_the_names_of_other_servers_too(settings, address):
    with lockgate.Server(hello, **settings) as server:
        assert server.url == f"http://{address}:{server.port}"
        assert urlopen(server.url).read() == b"hello"


def test_the_environment_and_files_are_the_programs(monkeypatch, tmp_path):
    (tmp_path / "lockgate.toml").write_text("this is no TOML")
    (tmp_path / "gunicorn.conf.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORT", "1")
    monkeypatch.setenv("LOCKGATE_THREADS", "nonsense")
    monkeypatch.setenv("WEB_CONCURRENCY", "7")
    with lockgate.Server(hello, port=0) as server:
        assert urlopen(server.url).read() == b"hello"


def test_what_cannot_be_listened_on_is_an_os_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = lockgate.Server(hello, port=port)
        with pytest.raises(OSError, match=f"another process listens on 127.0.0.1:{port}") as caught:
            server.start()
        assert caught.value.errno == errno.EADDRINUSE
    server.start()
    assert server.port == port
    server.stop()


async def asynchronous(scope, receive, send):
    pass


@pytest.mark.parametrize(
    "app",
    ["module:app", None, 5, sys, asynchronous],
    ids=["name", "none", "number", "module", "asynchronous"],
)
def test_what_is_no_application_is_a_type_error(app):
    with pytest.raises(TypeError, match="is a name|is not callable|is asynchronous"):
        lockgate.Server(app)


def test_a_setting_of_another_type_is_a_type_error():
    with pytest.raises(TypeError, match="bind=<object"):
        lockgate.Server(hello, bind=object())


def test_a_late_request_is_interrupted_and_a_stuck_one_ends_no_process(capfd):
    stuck = threading.Event()

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/stuck":
            # The interruption comes when the call returns to Python, and here it does not.
            try:
                stuck.wait(20)
            except BaseException:
                stuck.wait(20)
        return hello(environ, start_response)

    with lockgate.Server(app, bind=LOCAL, request_timeout=0.1, threads=1) as server:
        with connect(server) as wire:
            wire.send(request("GET", "/stuck"))
            assert wire.response("GET").status == 504
        shown = []
        eventually(
            lambda: shown.append(capfd.readouterr().err) or "keeps its thread" in "".join(shown),
            within=20,
            what="the stuck call is logged",
        )
        stuck.set()

        def is_served():
            with connect(server) as wire:
                return ask(wire).status == 200

        eventually(is_served, what="the thread is free again")


def test_pytest_xdist_runs_one_server_per_process(tmp_path):
    (tmp_path / "test_many.py").write_text(
        "import lockgate, pytest\n"
        "from urllib.request import urlopen\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [b'ok']\n"
        "@pytest.fixture(scope='session')\n"
        "def server():\n"
        "    with lockgate.Server(app, port=0) as server:\n"
        "        yield server\n"
        "@pytest.mark.parametrize('number', range(20))\n"
        "def test_page(server, number):\n"
        "    assert urlopen(server.url).read() == b'ok'\n"
    )
    command = [sys.executable, "-m", "pytest", "-n", "2", "-q", "-p", "no:cacheprovider", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert "20 passed" in done.stdout, done.stdout + done.stderr
