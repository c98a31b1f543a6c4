"""gunicorn.conf.py: which file counts, what happens when it fails; that it takes nothing down."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap

import pytest
from harness import eventually, free_port, run
from harness.process import is_alive

APP = """
import os

def app(environ, start_response):
    body = os.environ.get("COLOUR", "none").encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.fixture
def site(tmp_path):
    """A directory with an application."""
    (tmp_path / "site_app.py").write_text(APP)
    return Site(tmp_path)


class Site:
    def __init__(self, directory):
        self.directory = directory

    def write(self, text, name="gunicorn.conf.py"):
        draft = self.directory / f"{name}.new"
        draft.write_text(textwrap.dedent(text))
        draft.rename(self.directory / name)

    def lockgate(self, *arguments):
        return run("site_app:app", *arguments, chdir=self.directory)


def reloaded(server, outcome, within=20.0):
    before = len(server.errors)
    server.signal(signal.SIGHUP)
    return server.wait_for_log(outcome, within, since=before)


@pytest.mark.parametrize(
    "name, flags, workers",
    [
        ("gunicorn.conf.py", [], 2),
        ("other.py", ["-c", "other.py"], 3),
        ("gunicorn_conf", ["-c", "file:gunicorn_conf"], 2),
        ("site_conf.py", ["-c", "python:site_conf"], 3),
    ],
)
def test_a_configuration_is_found_by_default_and_by_name(site, name, flags, workers):
    # Of a module with the name of a library's module, the server must not import it instead.
    site.write("raise SystemError", "json.py")
    site.write("raise SystemError", "select.py")
    site.write(f"_private = 1\nworkers = {workers}\nimport os", name)
    result = site.lockgate("--print-config", *flags)
    assert result.returncode == 0, result.stderr
    assert f"workers = {workers}" in result.stdout, result.stdout
    assert f"{name.removesuffix('.py')}" in result.stdout


def test_lockgate_toml_counts_where_both_files_exist(site):
    site.write("workers = 2\nopen('executed', 'w')")
    site.write("workers = 3\n", "lockgate.toml")
    result = site.lockgate("--print-config")
    assert "workers = 3" in result.stdout
    assert not (site.directory / "executed").exists()


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_executes_nothing(site, flag):
    site.write("open('executed', 'w')")
    assert site.lockgate(flag).returncode == 0
    assert not (site.directory / "executed").exists()


def test_the_configuration_runs_as_gunicorn_runs_it(site):
    """Its name, file, directory, arguments and streams; and in a process of its own."""
    site.write(
        """
        import json, os, sys
        import helper
        facts = dict(
            name=__name__, file=__file__, cwd=os.getcwd(), argv=sys.argv[1:], pid=os.getpid(),
            has_terminal=sys.stdin.isatty(), session=os.getsid(0), helper=helper.X,
            is_module=sys.modules["__config__"].__dict__ is globals(),
        )
        print("printed by the configuration")
        open("facts", "w").write(json.dumps(facts))
        """
    )
    site.write("X = 7", "helper.py")
    result = site.lockgate("--print-config", "--threads", "3")
    assert result.returncode == 0, result.stderr
    assert "printed by the configuration\n" in result.stdout
    facts = json.loads((site.directory / "facts").read_text())
    directory = str(site.directory)
    assert facts["name"] == "__config__"
    assert facts["file"] == f"{directory}/gunicorn.conf.py"
    assert facts["cwd"] == directory
    assert facts["argv"] == ["site_app:app", "--print-config", "--threads", "3"]
    assert facts["session"] == facts["pid"]
    assert facts["helper"] == 7
    assert facts["is_module"] and not facts["has_terminal"]


@pytest.mark.parametrize(
    "text",
    [
        "import sys\nsys.stdout = sys.stderr = None",
        "import sys, io\nsys.stdout = io.StringIO()",
        "from math import inf, nan",
        "GOOGOL = 10**400",
        "TABLE = 'x' * 20_000_000",
        "TABLE = ['x'] * 5_000_000",
        "LOOP = []\nLOOP.append(LOOP)",
        "class Silent:\n    def __repr__(self):\n        1 / 0\nsilent = Silent()",
    ],
)
def test_variables_and_streams_of_the_configuration_do_not_matter(site, text):
    site.write(f"workers = 2\n{text}")
    result = site.lockgate("--print-config")
    assert result.returncode == 0, result.stderr
    assert "workers = 2" in result.stdout, result.stdout


def test_the_server_header_may_be_set_as_for_gunicorn(site):
    site.write("import gunicorn\ngunicorn.SERVER = 'shop'")
    result = site.lockgate("--print-config")
    assert re.search('^server_header = "shop" ', result.stdout, re.MULTILINE), result.stdout
    site.write("import gunicorn\ngunicorn.SERVER = 'shop'\nserver_header = 'own'")
    assert 'server_header = "own" ' in site.lockgate("--print-config").stdout


FAILURES = [
    ("1 / 0", "ZeroDivisionError: division by zero", True),
    ("x = (", "SyntaxError: '(' was never closed", True),
    ("import missing", "ModuleNotFoundError: No module named 'missing'", True),
    ("raise KeyboardInterrupt", "KeyboardInterrupt", True),
    ("import sys\nsys.exit(7)", "exited with code 7", False),
    ("import os\nos._exit(0)", "exited with code 0", False),
    ("import os\nos.kill(os.getpid(), 9)", "was killed by SIGKILL", False),
]
IDS = ["raises", "syntax", "import", "interrupt", "sys.exit", "os._exit", "killed"]


@pytest.mark.parametrize("text, why, has_traceback", FAILURES, ids=IDS)
@pytest.mark.parametrize("flag", [None, "--check-config", "--print-config"])
def test_a_configuration_that_fails_at_the_start_is_shown_once(
    site, text, why, has_traceback, flag
):
    site.write(text)
    result = site.lockgate(*([flag] if flag else []), "-b", f"127.0.0.1:{free_port()}")
    assert result.returncode == 3, result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("lockgate: gunicorn.conf.py: ") and why in last, result.stderr
    assert result.stderr.count('gunicorn.conf.py", line') == (1 if has_traceback else 0)
    assert "lockgate/" not in result.stderr, "frames of the server are no help"


def test_ctrl_c_ends_a_configuration_that_hangs(site):
    site.write(
        "open('pid', 'w').write(str(__import__('os').getpid()))\nimport time\ntime.sleep(60)"
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        (site.directory / "pid").unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "lockgate", "site_app:app"],
            cwd=site.directory,
            start_new_session=True,
        )
        pid = eventually(
            lambda: (site.directory / "pid").exists() and (site.directory / "pid").read_text(),
            what="the configuration runs",
        )
        process.send_signal(number)
        assert process.wait(10) == -number
        eventually(lambda pid=pid: not is_alive(int(pid)), what="the evaluation has ended")


@pytest.mark.parametrize("text, why, has_traceback", FAILURES, ids=IDS)
def test_a_configuration_that_fails_at_a_reload_changes_nothing(
    site, start, text, why, has_traceback
):
    site.write("raw_env = ['COLOUR=red']")
    server = start("site_app:app", "--log-style", "lockgate", chdir=site.directory)
    site.write(f"raw_env = ['COLOUR=blue']\n{text}")
    line = reloaded(server, r"reload failed: gunicorn.conf.py: .*")
    assert why in line
    assert server.errors.count("Traceback (most recent call last)") <= 1
    assert server.errors.count('gunicorn.conf.py", line') == (1 if has_traceback else 0)
    assert server.get("/").body == b"red"
    site.write("raw_env = ['COLOUR=blue']")
    reloaded(server, r"reload: done")
    # The old worker may accept until the signal to stop arrives.
    eventually(lambda: server.get("/").body == b"blue", what="the new worker answers")
    assert server.stop() == 0


def test_a_configuration_that_hangs_at_a_reload_stops_neither_service_nor_orders(site, start):
    site.write("workers = 1")
    server = start("site_app:app", "--log-style", "lockgate", chdir=site.directory, workers=None)
    site.write("import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(60)")
    server.signal(signal.SIGHUP)
    pid = eventually(
        lambda: (site.directory / "pid").exists() and (site.directory / "pid").read_text(),
        what="the configuration runs",
    )
    assert server.get("/").body == b"none"
    server.signal(signal.SIGTTIN)
    [worker] = set(server.workers()) - {int(pid)}
    os.kill(worker, signal.SIGKILL)
    assert server.get("/").body == b"none"
    assert server.stop(within=10) == 0
    eventually(lambda: not is_alive(int(pid)), what="the evaluation has ended")


@pytest.mark.parametrize("flags", [[], ["-c", "python:site_conf"]], ids=["file", "module"])
@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_workers_execute_the_configuration_that_was_evaluated(site, start, flags, preload):
    """A file that was changed, or broken, takes effect at a reload, as in gunicorn."""
    name = "site_conf.py" if flags else "gunicorn.conf.py"
    text = """
    # coding: latin-1
    import os
    workers = 1
    preload_app = {preload}
    def post_fork(server, worker):
        os.environ["COLOUR"] = "{colour}"
    """

    site.write(text.format(preload=preload, colour="red"), name)
    style = ["--log-style", "lockgate"]
    server = start("site_app:app", *style, *flags, chdir=site.directory, workers=None)
    assert server.get("/").body == b"red"
    for broken in ["1 / 0", None, text.format(preload=preload, colour="blue")]:
        if broken is not None:
            site.write(broken, name)
        elif not flags:
            (site.directory / name).unlink()
        if broken == "1 / 0":
            reloaded(server, "reload failed")
        before = len(server.errors)
        for child in server.workers():
            os.kill(child, signal.SIGKILL)
        server.wait_for_log(r"pid \d+\) ready", since=before)
        assert server.get("/").body == b"red"
    reloaded(server, r"reload: done")
    # The old worker may accept until the signal to stop arrives.
    eventually(lambda: server.get("/").body == b"blue", what="the new worker answers")
    assert server.stop() == 0


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_configuration_that_hangs_fails_the_reload_after_half_a_minute(site, start):
    site.write("workers = 1")
    server = start("site_app:app", "--log-style", "lockgate", chdir=site.directory, workers=None)
    site.write("import time\ntime.sleep(600)")
    line = reloaded(server, r"reload failed: .*", within=60)
    assert "gunicorn.conf.py: the configuration was not evaluated within 30 s" in line
    assert server.get("/").body == b"none"
    site.write("workers = 1")
    reloaded(server, r"reload: done")


def test_ctl_reload_reports_a_configuration_that_fails(site, start):
    site.write("workers = 1")
    admin = f"127.0.0.1:{free_port()}"
    server = start(
        "site_app:app", "--admin-bind", admin, "--log-style", "lockgate", chdir=site.directory
    )
    site.write("nonsense")
    result = run("ctl", "--admin", admin, "reload", "--wait", chdir=site.directory)
    assert result.returncode != 0
    assert "NameError: name 'nonsense' is not defined" in result.stdout + result.stderr
    site.write("workers = 1")
    result = run("ctl", "--admin", admin, "reload", "--wait", chdir=site.directory)
    assert result.returncode == 0, result.stderr
    assert server.get("/").body == b"none"


def test_an_upgrade_evaluates_the_configuration_in_its_trial(site, start):
    site.write("raw_env = ['COLOUR=red']")
    server = start("site_app:app", "--log-style", "lockgate", chdir=site.directory)
    site.write("1 / 0")
    server.signal(signal.SIGUSR2)
    server.wait_for_log(r"upgrade failed: [\s\S]*ZeroDivisionError: division by zero")
    assert server.get("/").body == b"red"
    site.write("raw_env = ['COLOUR=blue']")
    server.signal(signal.SIGUSR2)
    server.wait_for_log(r"reload: done", within=30)
    eventually(lambda: server.get("/").body == b"blue", what="the new worker answers")
    assert server.stop() == 0
