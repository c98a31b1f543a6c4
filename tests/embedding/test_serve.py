"""`lockgate.serve`: a program that becomes the supervisor of its own application."""

import re
import signal
import subprocess
import sys

import pytest
from harness import Server, eventually, free_port
from harness.process import run

PROGRAM = """
import os, sys, threading
import lockgate

MAIN = os.getpid()
VALUE = open("value.txt").read()

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{MAIN} {os.getpid()} {VALUE} {environ['wsgi.multiprocess']}".encode()]

if __name__ == "__main__":
    %s
"""


@pytest.fixture
def program(tmp_path):
    """Starts the program with this call, and waits until it serves."""
    started = []
    (tmp_path / "value.txt").write_text("one")

    def begin(call, wait=True, **options):
        path = tmp_path / "program.py"
        path.write_text(PROGRAM % call)
        server = Server(
            tmp_path, str(path), program=(sys.executable,), workers=None, bind=(), chdir=tmp_path,
            wait=False, **options,
        )  # fmt: skip
        started.append(server)
        if wait:
            server.wait_until_ready()
            found = re.search(r"listening at http://127.0.0.1:(\d+)", server.errors)
            server.port = int(found[1])
            server.address = ("127.0.0.1", server.port)
        return server

    yield begin
    for server in started:
        server.end()


def words(server):
    return server.get("/").body.decode().split()


SERVE = "lockgate.serve(app, port=0, workers=2); print('returned in', os.getpid())"


def test_the_workers_have_the_application_and_the_program_goes_on_at_the_end(program):
    server = program(SERVE)
    main, worker, value, multiprocess = words(server)
    assert (int(main), value, multiprocess) == (server.pid, "one", "True")
    assert int(worker) in server.workers() and len(server.workers()) == 2
    assert "application: __main__:app" in server.errors
    assert "workers = 2 (from serve(workers=…))" in server.errors
    assert server.stop() == 0
    assert server.output == f"returned in {server.pid}\n"


def test_an_interrupt_ends_it_and_handlers_are_as_before(program):
    server = program(
        "import signal; lockgate.serve(app, port=0, workers=1); "
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, "
        "signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)"
    )
    server.signal(signal.SIGINT)
    assert server.wait() == 0
    assert server.output == "True True\n"


def test_a_reload_reads_settings_and_loads_no_code(program, tmp_path):
    (tmp_path / "lockgate.toml").write_text("workers = 1\n")
    server = program("lockgate.serve(app, port=0)")
    before = server.workers()
    assert len(before) == 1
    (tmp_path / "lockgate.toml").write_text("workers = 2\n")
    (tmp_path / "value.txt").write_text("two")
    server.signal(signal.SIGHUP)
    server.wait_for_log("reload: done")
    server.wait_for_log("loads no changed code; restart the program")
    eventually(lambda: len(server.workers()) == 2 and not set(before) & set(server.workers()))
    assert words(server)[2] == "one"


def test_an_application_by_name_is_imported_by_each_worker(program, tmp_path):
    (tmp_path / "named.py").write_text(
        "VALUE = open('value.txt').read()\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [VALUE.encode()]\n"
    )
    server = program("lockgate.serve('named:app', port=0, workers=1)")
    assert server.get("/").body == b"one"
    (tmp_path / "value.txt").write_text("two")
    server.signal(signal.SIGHUP)
    server.wait_for_log("reload: done")
    eventually(lambda: server.get("/").body == b"two")
    assert "loads no changed code" not in server.errors


def test_an_upgrade_is_refused(program):
    server = program(SERVE)
    server.signal(signal.SIGUSR2)
    server.wait_for_log("upgrade failed: .*lockgate.serve runs in a program")
    assert words(server)[2] == "one"


def test_threads_of_the_program_are_named(program):
    server = program(
        "threading.Thread(target=threading.Event().wait, name='poller', daemon=True).start()\n"
        "    lockgate.serve(app, port=0, workers=1)"
    )
    server.wait_for_log("has started threads before lockgate.serve, .*'poller'")
    assert words(server)[2] == "one"


def test_the_environment_counts_and_keywords_are_stronger(program):
    environment = {"WEB_CONCURRENCY": "3", "LOCKGATE_THREADS": "2", "PORT": "1"}
    server = program("lockgate.serve(app, port=0, threads=5)", environment=environment)
    assert "all 3 workers are ready" in server.errors


@pytest.mark.parametrize(
    ("call", "code", "text"),
    [
        ("lockgate.serve(app, workers=0)", 1, "ValueError: workers = 0 (from serve(workers=…))"),
        ("lockgate.serve(app, preload=True)", 1, "ValueError: preload = true"),
        ("lockgate.serve(app, wokers=2)", 1, "did you mean workers?"),
        ("lockgate.serve(5)", 1, "TypeError: 5 is not callable"),
        ("lockgate.serve(app, bind='192.0.2.1:80')", 1, "192.0.2.1 is not an address"),
        ("lockgate.serve('missing:app', port=0, workers=1)", 3, "No module named 'missing'"),
        ("lockgate.serve('value:app', port=0, config='no.toml')", 1, "no.toml: cannot be read"),
    ],
)
def test_what_cannot_start_is_an_exception(program, call, code, text):
    server = program(f"{call}; print('not reached')", wait=False)
    assert server.wait() == code, server.errors
    assert text in server.errors
    assert server.output == ""


def test_a_mistake_can_be_caught(program):
    server = program(
        "try:\n        lockgate.serve(app, workers=0)\n"
        "    except ValueError as error:\n        print('caught', error)",
        wait=False,
    )
    assert server.wait() == 0
    assert "caught workers = 0" in server.output and server.errors == ""


def test_a_worker_that_runs_the_program_does_not_serve_again(tmp_path):
    # The call is not under `if __name__ == "__main__"`.
    (tmp_path / "unguarded.py").write_text(
        "import lockgate\ndef app(environ, start_response): pass\nlockgate.serve(app)\n"
    )
    done = run("unguarded:app", "-b", "127.0.0.1:0", "-w", "1", chdir=tmp_path)
    assert done.returncode == 3
    assert "a worker of Lockgate cannot serve with workers of its own" in done.stderr


IN_A_THREAD = """
import os, sys, threading, time
from urllib.request import urlopen
import lockgate

def app(environ, start_response):
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]

port = int(sys.argv[1])
thread = threading.Thread(target=lockgate.serve, args=(app,), kwargs={"port": port}, daemon=True)
thread.start()
deadline = time.monotonic() + 10
while True:
    try:
        assert urlopen(f"http://127.0.0.1:{port}").read() == str(os.getpid()).encode()
        break
    except OSError:
        assert time.monotonic() < deadline
        time.sleep(0.01)
print("served", thread.is_alive())
"""


def test_on_another_thread_it_serves_in_this_process():
    done = subprocess.run(
        [sys.executable, "-c", IN_A_THREAD, str(free_port())],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "served True\n", "")


@pytest.mark.parametrize("arguments", ["'module:app'", "app, config='lockgate.toml'"])
def test_on_another_thread_a_supervisors_arguments_are_refused(program, arguments):
    server = program(
        f"thread = threading.Thread(target=lambda: lockgate.serve({arguments}))\n"
        "    thread.start(); thread.join()",
        wait=False,
    )
    assert server.wait() == 0
    assert "needs a supervisor, and so the main thread" in server.errors
