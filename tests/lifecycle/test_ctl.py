"""`lockgate ctl` and `lockgate top`, used as operators do."""

import os
import pty
import signal
import subprocess
import sys

import pytest
from harness import APPS, ImportGate, eventually, free_port, request, run
from harness.admin import Admin
from harness.process import clean_environment


def test_ctl_has_the_server_act(start, tmp_path):
    admin = Admin(start, tmp_path, "gates:app", workers=1)
    assert "asked for 1 more worker" in admin.ctl("workers", "+1").stdout
    eventually(lambda: len(admin.workers()) == 2, what="two workers")
    assert admin.ctl("workers", "-1").returncode == 0
    eventually(lambda: len(admin.workers()) == 1, what="one worker")
    assert admin.ctl("reopen").returncode == 0
    assert "lockgate_responses_total" in admin.ctl("metrics").stdout
    assert f"pid {admin.server.pid}" in admin.ctl("shutdown").stdout
    assert admin.server.wait() == 0


def test_ctl_without_a_server_says_what_to_do(tmp_path):
    for arguments, part in [
        (["status"], "--admin-bind"),
        (["--admin", f"unix:{tmp_path}/none.sock", "status"], "is the server running"),
        (["--admin", f"127.0.0.1:{free_port()}", "shutdown"], "is the server running"),
        (["--admin", "nonsense", "status"], "is not an address"),
    ]:
        said = run("ctl", *arguments)
        assert said.returncode == 1 and part in said.stderr, said
        assert "Traceback" not in said.stderr
    assert run("ctl", "--admin", "unix:/x", "workers", "2").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "file", "variable"),
    [
        (["ctl", "--admin", "ADDRESS", "status"], "", ""),
        (["ctl", "status", "--admin", "ADDRESS"], "", ""),
        (["ctl", "status", "--admin", "ADDRESS"], 'admin_bind = "unix:/nowhere"', "unix:/nowhere"),
        (["ctl", "status"], 'admin_bind = "ADDRESS"\nwrokers = 3', ""),
        (["ctl", "status"], 'admin_bind = "ADDRESS"', "unix:/nowhere"),
        (["ctl", "status"], 'chdir = "run"\nadmin_bind = "unix:../admin"', ""),
        (["ctl", "status"], "workers = 3", "ADDRESS"),
        (["ctl", "status"], "", "ADDRESS"),
        (["top", "--once"], 'admin_bind = "ADDRESS"', ""),
        (["top", "--once", "--admin", "ADDRESS"], "", ""),
    ],
)
def test_the_server_is_found_by_flag_file_and_variable(start, tmp_path, arguments, file, variable):
    (tmp_path / "run").mkdir()
    address = f"unix:{tmp_path / 'admin'}"
    server = start("hello:app", "--admin-bind", address)
    (tmp_path / "lockgate.toml").write_text(file.replace("ADDRESS", address))
    said = run(
        *[address if argument == "ADDRESS" else argument for argument in arguments],
        chdir=tmp_path,
        environment={"LOCKGATE_ADMIN_BIND": variable.replace("ADDRESS", address)},
    )
    assert said.returncode == 0, said
    assert str(server.pid) in said.stdout


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            "",
            "no address of an admin listener: start the server with --admin-bind "
            "unix:/run/lockgate/admin.sock, and give the same address here with --admin, in "
            "LOCKGATE_ADMIN_BIND, or as admin_bind in lockgate.toml",
        ),
        (
            "admin_bind = unix:/run/a\n",
            "lockgate.toml line 1: unix:/run/a is not a TOML value: text must be quoted; write "
            'admin_bind = "unix:/run/a"; or name the server\'s admin_bind with --admin',
        ),
        (
            'admin_bind = "systemd:admin"',
            "admin_bind = systemd:admin: only systemd knows the address; give that of the "
            "socket unit (ListenStream=) with --admin",
        ),
    ],
)
def test_a_server_that_cannot_be_found_is_reported_with_the_cure(tmp_path, file, message):
    (tmp_path / "lockgate.toml").write_text(file)
    said = run("ctl", "status", chdir=tmp_path)
    assert said.returncode == 1
    assert said.stderr == f"lockgate: {message}\n"


def test_ctl_distinguishes_lockgate_from_other_servers(start):
    server = start("hello:app")
    said = run("ctl", "--admin", f"127.0.0.1:{server.port}", "status")
    assert said.returncode == 1 and "is not Lockgate's admin listener" in said.stderr


def test_top_shows_workers_and_what_they_run(start, tmp_path):
    admin = Admin(start, tmp_path, "gates:app", "--admin-show", "targets", workers=2)
    gate = tmp_path / "gate"
    with admin.server.connect() as wire:
        wire.send(request("GET", f"/hold?{gate}"))
        eventually((tmp_path / "gate.started").exists, what="the call")
        said = run("top", "--once", environment={"LOCKGATE_ADMIN_BIND": admin.address})
        gate.touch()
        assert wire.response().status == 200
    assert said.returncode == 0, said
    assert said.stdout.count("serving") == 2
    assert "GET /hold?" in said.stdout


APP = """
{preamble}
def app(environ, start_response):
    status = {status!r} if environ["PATH_INFO"] == "/health" else "200 OK"
    start_response(status, [("Content-Length", "{length}")])
    return [b"{version}"]
"""


def deploy(directory, version, preamble="", status="200 OK"):
    """In place at once, as a deploy should be."""
    draft = directory / "site_app.py.new"
    text = APP.format(version=version, length=len(version), preamble=preamble, status=status)
    draft.write_text(text)
    draft.rename(directory / "site_app.py")


@pytest.fixture
def site(start, tmp_path):
    """A server of version one with three workers, in a directory of its own."""
    deploy(tmp_path, "one")
    return Admin(start, tmp_path, "site_app:app", "--warmup", "/health", workers=3, chdir=tmp_path)


def version(admin):
    return admin.server.get("/").body.decode()


def test_a_reload_that_is_waited_for_shows_its_steps_and_its_end(site, tmp_path):
    before = site.workers()
    deploy(tmp_path, "two")
    said = site.ctl("reload", "--wait")
    assert (said.returncode, said.stderr) == (0, ""), said
    lines = said.stdout.splitlines()
    assert lines[0] == f"pid {site.server.pid}: asked to reload"
    assert lines[-2] == "3/3 ready"
    assert lines[-1].startswith("done in ") and lines[-1].endswith(" s")
    assert all(line.endswith("/3 ready") for line in lines[1:-1]), lines
    eventually(lambda: version(site) == "two", what="the new version")
    assert not set(before) & set(site.workers())
    reload = site.status()["reload"]
    assert (reload["state"], reload["begun"], reload["ended"]) == ("done", 1, 1)


FAILURES = {
    "import error": (dict(preamble="import no_such_module_at_all"), "no_such_module_at_all"),
    "answers 500": (dict(status="500 Oops"), "/health was answered with 500"),
    "dies": (dict(preamble="import os; os._exit(9)"), "exited with code 9"),
}


@pytest.mark.parametrize("how", FAILURES)
def test_a_reload_that_fails_says_why_and_the_old_version_serves(how, site, tmp_path):
    change, why = FAILURES[how]
    before = sorted(site.workers())
    deploy(tmp_path, "two", **change)
    said = site.ctl("reload", "--wait")
    assert said.returncode == 1, said
    assert said.stderr.startswith("lockgate: reload failed: worker "), said
    assert why in said.stderr
    assert ("Traceback" in said.stderr) == (how == "import error"), said.stderr
    assert ("line 2, in <module>" in said.stderr) == (how == "import error"), said.stderr
    assert "done" not in said.stdout
    assert version(site) == "one" and sorted(site.workers()) == before
    reload = site.status()["reload"]
    assert (reload["state"], reload["failed"], reload["ended"]) == ("failed", 1, 1)
    deploy(tmp_path, "three")
    assert site.ctl("reload", "--wait").returncode == 0
    eventually(lambda: version(site) == "three", what="the new version")


def begin_ctl(admin, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "lockgate", "ctl", "--admin", admin.address, *arguments],
        cwd=APPS,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_reload_during_another_is_the_one_that_follows(site, tmp_path):
    gate = ImportGate(tmp_path)
    deploy(tmp_path, "two", preamble=gate.preamble)
    with begin_ctl(site, "reload", "--wait") as first:
        gate.wait_for(3)
        deploy(tmp_path, "three")
        with begin_ctl(site, "reload", "--wait") as second:
            site.server.wait_for_log("reload queued")
            gate.open()
            outputs = [process.communicate(timeout=20) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    (one, _), (other, _) = outputs
    assert "another reload is in progress" in other and "another" not in one
    assert "3/3 ready" in one and "3/3 ready" in other
    eventually(lambda: version(site) == "three", what="the new version")
    assert site.status()["reload"]["ended"] == 2


@pytest.mark.parametrize("end", ["is killed", "stops", "takes too long"])
def test_a_reload_that_does_not_end_is_reported_as_unfinished(end, site, tmp_path):
    gate = ImportGate(tmp_path)
    deploy(tmp_path, "two", preamble=gate.preamble)
    limit = ["--timeout", "0.5"] if end == "takes too long" else []
    with begin_ctl(site, "reload", "--wait", *limit) as process:
        gate.wait_for(3)
        if end == "is killed":
            site.server.process.kill()
            site.server.process.wait()
        elif end == "stops":
            site.server.signal(signal.SIGTERM)
            site.server.wait()
        output, errors = process.communicate(timeout=20)
    assert process.returncode == 1, (output, errors)
    part = {
        "is killed": "has ended during the reload",
        # It depends on whether the server answers at the next look, or is gone.
        "stops": "",
        "takes too long": "is not done after 0.5 s (0/3 ready)",
    }[end]
    assert part in errors and "Traceback" not in errors, errors
    if end == "stops":
        assert "the server is stopping" in errors or "has ended" in errors, errors
    gate.open()


def test_mistakes_on_the_command_line_are_reported():
    for arguments in (
        ["reload", "--timeout", "5"],
        ["reload", "--wait", "--timeout", "0"],
        ["reload", "--wait", "--timeout", "nan"],
        ["upgrade", "now"],
    ):
        said = run("ctl", "--admin", "unix:/x", *arguments)
        assert said.returncode == 2 and "Traceback" not in said.stderr, said


@pytest.mark.parametrize("interval", ["nan", "inf", "-1", "often"])
def test_an_interval_that_is_not_a_time_is_reported(interval):
    said = run("top", "--admin", "unix:/x", f"--interval={interval}")
    assert said.returncode == 2 and "Traceback" not in said.stderr, said


def test_what_a_terminal_cannot_show_is_escaped(start, tmp_path):
    admin = Admin(start, tmp_path, "late:app", "--admin-show", "targets", workers=1)
    with admin.server.connect() as wire:
        wire.send(request("GET", "/sleep?" + "x" * 200))
        eventually(lambda: admin.status()["workers"][0]["threads_busy"], what="the call")
        for arguments in (["ctl", "requests"], ["ctl", "stacks"], ["top", "--once"]):
            arguments.insert(1, f"--admin={admin.address}")
            said = run(*arguments, environment={"PYTHONIOENCODING": "ascii"})
            assert said.returncode == 0 and "xxx\\u2026" in said.stdout, said


def test_top_fills_a_terminal_that_does_not_know_its_size(start, tmp_path):
    admin = Admin(start, tmp_path, "hello:app", workers=1)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "lockgate", "top", "--admin", admin.address]
    try:
        with subprocess.Popen(command, env=clean_environment(), stdout=theirs, cwd=APPS) as process:
            shown = b""
            while shown.count(b"\n") < 4:
                shown += os.read(ours, 4096)
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
    finally:
        os.close(ours)
        os.close(theirs)
    assert b"lockgate " in shown and b"WORKER" in shown, shown


def test_top_shows_where_a_request_stands(start, tmp_path):
    admin = Admin(start, tmp_path, "late:app", workers=1)
    line = 1 + (APPS / "late.py").read_text().splitlines().index("    time.sleep(600)")
    with admin.server.connect() as wire:
        wire.send(request("GET", "/sleep"))
        eventually(lambda: admin.status()["workers"][0]["threads_busy"], what="the call")
        said = run("top", "--once", "--admin", admin.address)
        assert said.returncode == 0, said
        assert f"late.py:{line} in long_sleep" in said.stdout.split("AT ")[1], said.stdout
        said = run("top", "--once", "--stacks", "--admin", admin.address)
        places = [text.strip() for text in said.stdout.splitlines()]
        at = places.index(f"{APPS}/late.py:{line} in long_sleep")
        assert "runs GET /sleep from 127.0.0.1" in places[at - 1]
        assert places[at + 1].endswith(" in sleep") and places[at + 2].endswith(" in app")


def test_top_refreshes_until_it_is_interrupted(start, tmp_path):
    admin = Admin(start, tmp_path, "late:app", workers=1)
    with admin.server.connect() as wire:
        wire.send(request("GET", "/sleep"))
        command = [sys.executable, "-m", "lockgate", "top", "--interval", "0.1"]
        command += ["--admin", admin.address]
        with subprocess.Popen(
            command, env=clean_environment(), stdout=subprocess.PIPE, cwd=APPS
        ) as process:
            shown = [process.stdout.readline() for _ in range(60)]
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
    assert sum(b"lockgate " in line for line in shown) > 3
    assert any(b"in long_sleep" in line for line in shown)
