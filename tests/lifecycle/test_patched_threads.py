"""Applications that put coroutines in the place of Python's threads: refused, unless allowed."""

import signal

import pytest
from harness import APPS, run
from harness.requirements import require_module

REFUSED = "has replaced Python's threads and locks"


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
@pytest.mark.parametrize("arguments", [(), ("--preload",), ("--check-config",)])
def test_an_application_with_patched_threads_is_refused_with_the_cure(library, arguments):
    require_module(library)
    ended = run("patched:app", "-b", "127.0.0.1:0", *arguments, environment={"PATCHED_BY": library})
    assert ended.returncode == 3
    assert f"{library} {REFUSED} (by the import of the application)" in ended.stderr
    assert "allow_patched_threads = true" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_threads_that_were_patched_before_the_start_are_refused(library, tmp_path):
    require_module(library)
    call = {"gevent": "import gevent.monkey as m; m.patch_all()"}
    patch = call.get(library, "import eventlet; eventlet.monkey_patch()")
    (tmp_path / "sitecustomize.py").write_text(patch)
    environment = {"PYTHONPATH": str(tmp_path)}
    ended = run("hello:app", "-b", "127.0.0.1:0", environment=environment)
    assert ended.returncode == 3
    assert f"{library} {REFUSED} (before the application was imported" in ended.stderr


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_an_operator_may_allow_patched_threads(start, library):
    require_module(library)
    server = start(
        "patched:app", "--allow-patched-threads", environment={"PATCHED_BY": library}, chdir=APPS
    )
    assert server.get("/").body.startswith(library.encode())
    assert f"{library} {REFUSED}, and allow_patched_threads = true" in server.errors


def test_sockets_may_be_patched_without_threads(start):
    require_module("gevent")
    server = start("patched:app", environment={"PATCHED_BY": "gevent-sockets"})
    assert server.get("/").body == b"_thread"
    assert REFUSED not in server.errors
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
