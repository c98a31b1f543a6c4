"""`session`: the applications of a server share the sessions of its middleware."""

import json
import os
import re
import stat

import pytest
from harness import Browser, free_port, run

APP = """
import json

def app(environ, start_response):
    session = environ.get("lockgate.session")
    if session is not None and environ["PATH_INFO"] == "/count":
        session["count"] = session.get("count", 0) + 1
    body = json.dumps(None if session is None else dict(session)).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

MOUNTS = """
[[mount]]
path = "/admin"
app = "counting:app"

[[mount]]
path = "/without"
app = "counting:app"
session = false
"""


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "counting.py").write_text(APP)
    return tmp_path


def settle(directory, session):
    (directory / "lockgate.toml").write_text(session + MOUNTS)


def asked(browser, path):
    return json.loads(browser.open(path).body)


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["import", "preload"])
@pytest.mark.parametrize("store", ["cookie", "sqlite"])
def test_the_applications_share_a_session(directory, start, store, preload):
    target = "cookie" if store == "cookie" else f"sqlite:{directory}/sessions.db"
    secret = "s" * 40
    settle(directory, f'session = {{ store = "{target}", secret = "{secret}" }}\n')
    server = start("counting:app", *preload, chdir=directory, workers=2)
    browser = Browser(server.url)
    assert asked(browser, "/count") == {"count": 1}
    assert asked(browser, "/admin/count") == {"count": 2}
    assert asked(browser, "/admin/x") == {"count": 2}
    assert asked(browser, "/without/count") is None
    assert asked(Browser(server.url), "/admin/x") == {}
    assert secret not in server.errors


def test_the_server_makes_a_secret_that_outlives_it(directory, start):
    settle(directory, "session = true\n")
    state = directory / "state"
    environment = {"STATE_DIRECTORY": str(state)}
    server = start("counting:app", chdir=directory, environment=environment)
    browser = Browser(server.url)
    assert asked(browser, "/count") == {"count": 1}
    secret = state / "session_secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert server.stop() == 0
    after = start("counting:app", chdir=directory, environment=environment)
    other = Browser(after.url)
    for cookie in browser.cookies:
        other.cookies.set_cookie(cookie)
    assert asked(other, "/admin/count") == {"count": 2}


@pytest.mark.parametrize("is_configured", [False, True], ids=["as it is", "a handler of its own"])
def test_the_error_log_has_a_store_that_does_not_answer(directory, start, is_configured):
    """As a line of the server, or where the application has sent Python's logging."""
    settle(directory, f'session = {{ store = "redis://127.0.0.1:{free_port()}/1" }}\n')
    if is_configured:
        counting = directory / "counting.py"
        own = 'import logging\nlogging.basicConfig(format="own|%(message)s")\n'
        counting.write_text(own + counting.read_text())
    environment = {"STATE_DIRECTORY": str(directory / "state")}
    server = start("counting:app", chdir=directory, environment=environment)
    assert asked(Browser(server.url), "/count") == {"count": 1}
    server.wait_for_log("session store unavailable")
    assert server.errors.count("session store unavailable") == 1
    begin = r"own\|" if is_configured else r"\[[-\d :+]+\] \[\d+\] \[WARNING\] "
    assert re.search(rf"(?m)^{begin}session store unavailable", server.errors)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: No such file"),
        ("", "has no secret"),
        ("tooshort", "the secret in line 1 must have at least 32 bytes"),
    ],
)
def test_a_file_without_a_secret_is_an_error_of_the_settings(directory, content, problem):
    path = directory / "secrets"
    if content is not None:
        path.write_text(content)
    settle(directory, f'session = {{ secret_file = "{path}" }}\n')
    outcome = run("counting:app", "-b", "127.0.0.1:0", chdir=directory)
    assert outcome.returncode == 2, outcome.stderr
    assert "session (from lockgate.toml line 1)" in outcome.stderr
    assert problem in outcome.stderr
    assert "tooshort" not in outcome.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_in_which_no_secret_can_be_made_is_an_error(directory):
    settle(directory, "session = true\n")
    state = directory / "state"
    state.mkdir(mode=0o500)
    environment = {"STATE_DIRECTORY": str(state)}
    outcome = run("counting:app", "-b", "127.0.0.1:0", chdir=directory, environment=environment)
    assert outcome.returncode == 2
    assert "secret_file" in outcome.stderr


def test_commands_that_look_at_the_settings_make_no_secret(directory):
    settle(directory, "session = true\n")
    environment = {"STATE_DIRECTORY": str(directory / "state")}
    for command in ("--print-config", "--check-config"):
        outcome = run("counting:app", command, chdir=directory, environment=environment)
        assert outcome.returncode == 0, outcome.stderr
    assert not (directory / "state").exists()
