"""Users, groups and modes: which privileges are dropped, who owns files, and the warnings."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest
from harness import eventually, free_port, run
from harness.admin import Admin
from harness.other_user import open_to_others, reachable_python

UNUSED = 12345
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the user")


@pytest.fixture
def common_place(tmp_path):
    """A directory that any user can reach and only root can write to."""
    open_to_others(tmp_path)
    place = tmp_path / "place"
    place.mkdir()
    return place


@needs_root
def test_a_number_without_a_name_needs_a_group():
    said = run("hello:app", "-b", f"127.0.0.1:{free_port()}", "--user", "12345")
    assert said.returncode == 2
    assert "user = 12345 (from --user): this number has no entry" in said.stderr
    assert "--group 12345" in said.stderr and "Traceback" not in said.stderr


@needs_root
def test_a_number_without_a_name_keeps_no_group_of_roots(start, tmp_path):
    open_to_others(tmp_path)
    server = start(
        "hello:app", "--user", "12345", "--group", "12346", prefix=reachable_python(tmp_path)
    )
    (worker,) = server.workers()
    with open(f"/proc/{worker}/status") as lines:
        status = dict(line.split(":", 1) for line in lines)
    assert status["Uid"].split() == ["12345"] * 4
    assert status["Gid"].split() == ["12346"] * 4
    assert status["Groups"].split() == ["12346"]


@needs_root
def test_root_without_a_user_is_warned_once(start):
    server = start("hello:app", workers=2)
    assert server.errors.count("workers run as root") == 1
    assert "WARNING" in server.errors and "settings: user, group" in server.errors


@needs_root
def test_workers_of_another_user_cause_no_warning(start, tmp_path):
    open_to_others(tmp_path)
    prefix = reachable_python(tmp_path)
    for user in (["--user", "12345", "--group", "12345"], ["--user", "root"]):
        server = start("hello:app", *user, prefix=prefix)
        assert "run as root" not in server.errors
        server.end()


@needs_root
@pytest.mark.parametrize("wanted", [("root", None), (None, "root")])
def test_the_error_of_a_user_that_may_not_change_says_what_to_do(wanted):
    code = f"""
        import os
        from lockgate import privileges

        os.setgid({UNUSED})
        os.setuid({UNUSED})
        privileges.become(*{wanted})
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    name, value = ("user", wanted[0]) if wanted[0] else ("group", wanted[1])
    assert f"PermissionError: {name} = {value}: user {UNUSED} may not become" in said.stderr
    assert "start the server as root, or remove this from the settings" in said.stderr


def test_logs_are_not_for_every_user(start, tmp_path):
    access, errors = tmp_path / "access.log", tmp_path / "error.log"
    server = start(
        "hello:app", "--access-logfile", str(access), "--error-logfile", str(errors), wait=False
    )
    eventually(lambda: errors.exists() and "ready" in errors.read_text(), what="it is ready")
    for log in (access, errors):
        assert log.stat().st_mode & 0o777 & ~0o640 == 0, oct(log.stat().st_mode)
        log.unlink()
    server.signal(signal.SIGUSR1)
    eventually(lambda: access.exists() and errors.exists(), what="new logs")
    assert access.stat().st_mode & 0o777 & ~0o640 == 0
    assert errors.stat().st_mode & 0o777 & ~0o640 == 0


def test_a_socket_that_a_proxy_may_not_reach_says_so_at_the_start(start, tmp_path):
    path = tmp_path / "app.sock"
    server = start("hello:app", bind=[f"unix:{path}"])
    line = next(line for line in server.errors.splitlines() if "listening at unix:" in line)
    assert f"mode is 0660: only user {os.geteuid()} and members of group" in line, line
    assert "(settings: group, umask)" in line
    server.stop()
    server = start("hello:app", "--umask", "0", bind=[f"unix:{path}"])
    assert "can connect" not in server.errors
    tcp = start("hello:app")
    assert "can connect" not in tcp.errors


@needs_root
def test_the_admin_socket_belongs_to_the_user_of_the_workers(start, tmp_path, common_place):
    admin = Admin(
        start, common_place, "hello:app", "--user", "12345", "--group", "12346",
        prefix=reachable_python(tmp_path),
    )  # fmt: skip
    found = admin.path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (12345, 12346, 0o660)
    assert admin.ask("/healthz").status == 200


SWAPPER = """
import ctypes, os, sys
path, bait, *victims = sys.argv[1:]
libc = ctypes.CDLL(None)
number = 0
print("ready", flush=True)
while True:
    number += 1
    os.symlink(victims[number % len(victims)], bait)
    # RENAME_EXCHANGE: as soon as there is a socket, a link to a victim is in its place.
    while libc.renameat2(-100, bait.encode(), -100, path.encode(), 2) != 0:
        pass
    print("swapped", flush=True)
    for name in (path, bait):
        try:
            os.unlink(name)
        except FileNotFoundError:
            pass
"""


@needs_root
def test_a_user_that_owns_the_directory_of_a_socket_gets_no_file_of_root(tmp_path):
    """Each start either serves at its own socket or says that the path was replaced."""
    open_to_others(tmp_path)
    victim = tmp_path / "shadow"
    victim.write_text("secret")
    victim.chmod(0o600)
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    os.chown(hostile, UNUSED, UNUSED)
    path, bait = hostile / "app.sock", hostile / "bait"
    swapper = subprocess.Popen(
        [
            *reachable_python(tmp_path),
            "setpriv", "--reuid", str(UNUSED), "--regid", str(UNUSED), "--clear-groups",
            sys.executable, "-c", textwrap.dedent(SWAPPER), path, bait, victim,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        assert swapper.stdout.readline() == "ready\n"
        for _ in range(10):
            said = subprocess.Popen(
                [
                    sys.executable, "-m", "lockgate", "hello:app", "-b", f"unix:{path}",
                    "--user", str(UNUSED), "--group", str(UNUSED),
                ],
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )  # fmt: skip
            swapped = swapper.stdout.readline()
            said.terminate()
            _, errors = said.communicate(timeout=20)
            assert swapped == "swapped\n" and "Traceback" not in errors, errors
            found = victim.stat()
            assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, 0, 0o600)
    finally:
        swapper.kill()
        swapper.wait()
    assert victim.read_text() == "secret"
