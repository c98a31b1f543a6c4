"""Commands say on a terminal what takes longer than a second, and nothing elsewhere."""

import os
import pty
import socket
import subprocess
import sys
import threading

import pytest
from harness import run
from harness.process import clean_environment

SLOW = """\
import time
time.sleep(1.5)
def app(environ, start_response):
    start_response('200 OK', [])
    return []
"""


def on_terminal(arguments, directory):
    """The exit code, and what the command writes to a terminal on standard error."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "lockgate", *arguments],
        cwd=directory,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=follower,
    )
    os.close(follower)
    written = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:  # EIO: the command has ended.
            break
        written += piece
    os.close(leader)
    return process.wait(30), written.decode()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["slow:app", "--check-config"], "lockgate: loading slow:app (1 s)\r\n"),
        (["check", "slow:app", "--no-host"], "lockgate: check: importing slow:app …"),
    ],
)
def test_a_slow_import_is_named_on_a_terminal(tmp_path, arguments, line):
    (tmp_path / "slow.py").write_text(SLOW)
    code, written = on_terminal(arguments, tmp_path)
    assert line in written and code in (0, 1), (code, written)
    quiet = run(*arguments, chdir=tmp_path)
    assert "lockgate: loading" not in quiet.stderr and "importing" not in quiet.stderr


def test_a_server_that_answers_late_is_named_on_a_terminal(tmp_path):
    path = tmp_path / "admin"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                threading.Event().wait(1.5)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nup\n")

        thread = threading.Thread(target=answer)
        thread.start()
        code, written = on_terminal(["ctl", "--admin", f"unix:{path}", "metrics"], tmp_path)
        thread.join()
    assert (code, written) == (0, f"lockgate: waiting for an answer at unix:{path} (1 s)\r\n")
