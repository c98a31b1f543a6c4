"""`lockgate hash-password`: what it writes, other programs read."""

import os
import pty
import subprocess
import sys

import argon2
import bcrypt
import pytest
from harness import run
from harness.patience import eventually

COMMAND = [sys.executable, "-m", "lockgate", "hash-password"]


def hash_of(entered, *arguments, code=0):
    done = subprocess.run(
        [*COMMAND, *arguments], input=entered, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == code, done
    return (done.stdout if code == 0 else done.stderr).decode()


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_argon2_reads_the_hash(ending):
    line = hash_of("pässword".encode() + ending)
    assert line.startswith("$argon2id$v=19$m=19456,t=2,p=1$") and line.endswith("\n")
    hasher = argon2.PasswordHasher()
    assert hasher.verify(line.strip(), "pässword")
    with pytest.raises(argon2.exceptions.VerifyMismatchError):
        hasher.verify(line.strip(), "password")


def test_bcrypt_reads_the_hash():
    line = hash_of(b"secret\n", "--bcrypt").strip()
    assert line.startswith("$2y$12$")
    assert bcrypt.checkpw(b"secret", line.encode())
    assert not bcrypt.checkpw(b"Secret", line.encode())


def test_a_line_has_the_name_of_its_user():
    first, second = (hash_of(b"secret", "--user", "alice b.") for _ in range(2))
    assert first.startswith("alice b.:$argon2id$")
    assert first != second, "each hash has a salt of its own"


@pytest.mark.parametrize(
    "entered, arguments, problem",
    [
        (b"", [], "the password is empty"),
        (b"\n", [], "the password is empty"),
        (b"a\nb\n", [], "control character, such as a line break"),
        (b"\xe4", [], "not UTF-8"),
        (b"x" * 73, ["--bcrypt"], "more than 72 bytes"),
        (b"x" * 70_000, [], "more than 65536 bytes"),
        (b"x", ["--user", "a:b"], "the name has a colon"),
        (b"x", ["--user", ""], "the name is empty"),
    ],
)
def test_what_no_client_could_send_is_refused(entered, arguments, problem):
    errors = hash_of(entered, *arguments, code=1)
    assert errors.startswith("lockgate: ") and problem in errors


def test_a_password_is_no_argument():
    errors = hash_of(b"", "secret", code=2)
    assert "secret: one argument too many" in errors


def typed(*lines):
    """What a terminal shows, the output, and the exit code."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "--user", "alice"],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
    )
    os.close(terminal)
    shown = b""
    for prompt, line in zip((b"Password: ", b"Again: "), lines, strict=False):
        while prompt not in shown:
            shown += os.read(controller, 1024)
        os.write(controller, line + b"\n")
    output, _ = process.communicate(timeout=60)
    eventually(lambda: process.poll() is not None, what="the end of the command")
    try:
        shown += os.read(controller, 4096)
    except OSError:  # the terminal has no other end any more
        pass
    os.close(controller)
    return shown, output.decode(), process.returncode


def test_a_terminal_asks_twice_and_shows_nothing():
    shown, output, code = typed(b"secret", b"secret")
    assert (code, b"secret" in shown) == (0, False)
    name, _, line = output.strip().partition(":")
    assert name == "alice" and argon2.PasswordHasher().verify(line, "secret")


def test_two_passwords_that_differ_are_refused():
    shown, output, code = typed(b"secret", b"secrets")
    assert (code, output) == (1, "")
    assert b"lockgate: the two passwords differ" in shown


def test_the_command_is_in_the_help():
    assert "hash-password" in run("-h").stdout
    assert "exit codes" in run("hash-password", "--help").stdout
