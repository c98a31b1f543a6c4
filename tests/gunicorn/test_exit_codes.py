"""Exit codes: the same at each start, and gunicorn's except where the table says otherwise."""

import os
import socket

import pytest
from harness import run
from harness.process import APPS

CASES = [
    # name, arguments, code, code with log_style = gunicorn, gunicorn's code, part of stderr
    ("unknown flag", ["hello:app", "--no-such-flag"], 2, 2, 2, "--no-such-flag"),
    ("no number", ["hello:app", "--workers", "x"], 2, 2, 2, 'workers = "x"'),
    # Nothing is resolved, so no style is known.
    ("no application", [], 2, 2, 1, "application"),
    ("value out of range", ["hello:app", "--workers", "0"], 2, 2, 1, "workers = 0"),
    ("no user", ["hello:app", "--user", "no-such-user"], 2, 1, 1, "no-such-user"),
    ("no directory", ["hello:app", "--chdir", "/no/such"], 2, 1, 1, "chdir"),
    ("no certificate", ["hello:app", "--certfile", "/no/such.pem"], 2, 1, 1, "/no/such.pem"),
    ("import error", ["broken_import:app"], 3, 3, 3, "broken_import"),
    ("no module", ["no_such_module:app"], 3, 3, 3, "no_such_module"),
    # gunicorn: 1 or 3, as it happens.
    ("import error, 3 workers", ["broken_import:app", "-w", "3"], 3, 3, 3, "broken_import"),
    # gunicorn: 1, with another report.
    ("import error, preload", ["broken_import:app", "--preload"], 3, 3, 1, "broken_import"),
    ("no attribute", ["hello:no_such_name"], 4, 4, 4, "no_such_name"),
    ("no attribute, 3 workers", ["hello:no_such_name", "-w", "3"], 4, 4, 4, "no_such_name"),
    ("check of a broken application", ["broken_import:app", "--check-config"], 3, 3, 1, "broken"),
    ("check of a good application", ["hello:app", "--check-config"], 0, 0, 0, ""),
    ("version", ["--version"], 0, 0, 0, ""),
]


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
@pytest.mark.parametrize("style", ["lockgate", "gunicorn"])
def test_a_start_that_fails_has_one_code(case, style):
    _, arguments, lockgate, with_style, _, part = case
    said = run(*arguments, "--bind", "127.0.0.1:0", "--log-style", style)
    expected = lockgate if style == "lockgate" else with_style
    assert said.returncode == expected, said
    assert part in said.stderr


@pytest.mark.slow
@pytest.mark.parametrize("style", ["lockgate", "gunicorn"])
def test_an_address_in_use_ends_with_1_after_five_seconds(style):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = run("hello:app", "--bind", f"127.0.0.1:{port}", "--log-style", style)
    assert said.returncode == 1, said
    lines = [line.partition("] [")[2] for line in said.stderr.splitlines()]
    if style == "gunicorn":
        address = f"('127.0.0.1', {port})"
        for line in [f"Connection in use: {address}", f"Can't connect to {address}"]:
            found = [each for each in lines if each.endswith(f"[ERROR] {line}")]
            assert len(found) == 1, said.stderr


@pytest.mark.parametrize("style", ["lockgate", "gunicorn"])
def test_the_pid_file_of_a_running_server_ends_with_1(start, tmp_path, style):
    path = tmp_path / "pid"
    start("hello:app", "--pid", str(path))
    said = run("hello:app", "--bind", "127.0.0.1:0", "--pid", str(path), "--log-style", style)
    assert said.returncode == 1, said


@pytest.mark.parametrize(
    "text, code",
    [
        ("raise RuntimeError('no database')", 3),
        ("workers = 0", 2),
        ("workers = 1\nuser = 'no-such-user'", 1),
    ],
    ids=["raises", "bad value", "no user"],
)
def test_a_gunicorn_conf_ends_with_gunicorns_codes(tmp_path, text, code):
    """Except that one that raises ends with 3 (gunicorn: 1), as an application that raises."""
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(text + "\n")
    said = run("hello:app", "--bind", "127.0.0.1:0", "-c", str(path))
    assert said.returncode == code, said


def test_a_configuration_that_does_not_exist_is_reported(tmp_path):
    said = run("hello:app", "-c", str(tmp_path / "none.toml"))
    assert said.returncode == 2 and "none.toml" in said.stderr


@pytest.mark.parametrize("name", ["TERM", "INT", "QUIT"])
def test_a_stop_by_signal_ends_with_0(start, name):
    import signal

    server = start("hello:app", "--log-style", "gunicorn")
    server.signal(getattr(signal, f"SIG{name}"))
    assert server.wait() == 0
    assert f"[INFO] Handling signal: {name.lower()}\n" in server.errors
    assert server.errors.endswith("[INFO] Shutting down: Master\n")


def test_the_applications_of_the_table_exist():
    assert {"hello.py", "broken_import.py"} <= set(os.listdir(APPS))
