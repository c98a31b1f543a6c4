"""`lockgate check`: exit codes, forms of the report, flags; its page in the documentation."""

import json
import os
import signal
import subprocess
import sys

import pytest
from check.rule_rows import PAGE, SECTIONS, written
from harness import eventually, run
from harness.requirements import require_module
from lockgate.check.rules.all import RULES

GOOD = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""
WARNS = GOOD.replace('"200 OK"', '"200"')
FAILS = GOOD.replace('"200 OK"', "200")


@pytest.fixture
def check(tmp_path):
    def check(source, *arguments, environment=None):
        (tmp_path / "shop.py").write_text(source)
        return run("check", *arguments, chdir=tmp_path, environment=environment, within=60)

    return check


@pytest.mark.parametrize(
    ("source", "arguments", "code"),
    [
        (GOOD, ["shop:app"], 0),
        (GOOD, ["shop:app", "--strict"], 0),
        (WARNS, ["shop:app"], 0),
        (WARNS, ["shop:app", "--strict"], 1),
        (WARNS, ["shop:app", "--strict", "--ignore", "status-reason"], 0),
        (FAILS, ["shop:app"], 1),
        (FAILS, ["shop:app", "--ignore", "status-type"], 0),
        (GOOD, ["shop:nothing"], 4),
        (GOOD, ["missing:app"], 3),
        (f"{GOOD}\n1 / 0\n", ["shop:app"], 3),
        (GOOD, ["shop:app", "--", "--threads", "0"], 2),
        (GOOD, ["shop:app", "--", "--version"], 2),
        (GOOD, ["shop:app", "--ignore", "status"], 2),
        (GOOD, ["shop:app", "--path", "orders"], 2),
        (GOOD, ["shop:app", "--colour"], 2),
    ],
)
def test_exit_codes(check, source, arguments, code):
    if "--" not in arguments:
        arguments = [*arguments, "--no-host"]
    done = check(source, *arguments)
    assert done.returncode == code, done.stdout + done.stderr


def test_a_traceback_has_only_frames_of_the_application(check):
    done = check(f"{GOOD}\n1 / 0\n", "shop:app")
    assert 'shop.py", line 6, in <module>' in done.stdout
    assert "ZeroDivisionError" in done.stdout
    assert "lockgate/check" not in done.stdout + done.stderr


def test_the_settings_of_the_file_name_the_application(check, tmp_path):
    (tmp_path / "lockgate.toml").write_text('app = "shop:made(\'/a\')"\nenv = ["GREETING=hi"]\n')
    source = f"{GOOD}\nimport os\n\n\ndef made(path):\n    print(os.environ['GREETING'], path)\n"
    done = check(f"{source}    return app\n", "--no-host")
    assert done.returncode == 0, done.stderr
    # What the application prints is not part of the report.
    assert done.stderr == "hi /a\n"
    assert done.stdout.startswith("shop:made('/a'): 0 errors, 0 warnings; 43 requests to 1 path")


def test_json_is_all_that_is_printed(check):
    done = check(f"print('imported')\n{WARNS}", "shop:app", "--json", "--no-host", "--path", "/a")
    report = json.loads(done.stdout)
    [finding] = report.pop("findings")
    assert report == {
        "application": "shop:app",
        "exit_code": 0,
        "errors": 0,
        "warnings": 1,
        "requests": 65,
        "paths": 2,
        "problem": None,
        "skipped": [],
    }
    assert (finding["rule"], finding["line"]) == ("status-reason", 4)
    failed = json.loads(check("import nothing_of_this_name\n", "shop:app", "--json").stdout)
    assert failed["exit_code"] == 3 and "nothing_of_this_name" in failed["problem"]


def test_read_only_sends_no_body(check):
    source = GOOD.replace(
        "start_response(", 'print(environ["REQUEST_METHOD"])\n    start_response('
    )
    methods = set(check(source, "shop:app", "--no-host").stderr.split())
    assert methods == {"GET", "HEAD", "OPTIONS", "PURGE", "POST"}
    methods = set(check(source, "shop:app", "--no-host", "--read-only").stderr.split())
    assert methods == {"GET", "HEAD", "OPTIONS"}
    assert check(source, "shop:app", "--no-host", "--no-requests").stderr == ""


CHAINED = """
import signal

before = signal.getsignal(signal.SIGTERM)


def stop(number, frame):
    {body}


signal.signal(signal.SIGTERM, stop)
"""


@pytest.mark.parametrize(
    ("body", "rules"),
    [
        ("before(number, frame)", []),
        ("pass", ["import-signal"]),
        ("raise SystemExit(0)", ["import-signal"]),
        ("import time; time.sleep(600)", ["import-signal"]),
    ],
)
def test_a_handler_that_calls_the_one_before_is_right(check, body, rules):
    source = CHAINED.format(body=body) + GOOD
    report = json.loads(check(source, "shop:app", "--no-host", "--json").stdout)
    assert [finding["rule"] for finding in report["findings"]] == rules


STREAM = """
import queue


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    if environ["PATH_INFO"] == "/events":
        return events()
    return [b"hello"]


def events():
    yield b"data: hello\\n\\n"
    yield queue.Queue().get()
"""


def test_an_event_stream_is_asked_once_and_is_not_late(check):
    done = check(STREAM, "shop:app", "--no-host", "--json", "--path", "/events")
    report = json.loads(done.stdout)
    assert (report["findings"], report["requests"]) == ([], 43 + 1 + 1)


ENDS = """
import os, re, signal


def end():
    {body}

{at_import}
def app(environ, start_response):
    if environ["PATH_INFO"] == "/end":
        end()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""
KEEPS_THE_LOCK = 're.match("(a+)+$", "a" * 40 + "b")'
KILLS = "os.kill(os.getpid(), signal.SIGTERM); signal.pause()"


@pytest.mark.parametrize(
    ("body", "rule", "text", "line"),
    [
        ("os._exit(0)", "process-end", "has ended the process with code 0", 6),
        ("os._exit(3)", "process-end", "has ended the process with code 3", 6),
        (KILLS, "process-end", "has ended the process by SIGTERM", None),
        ("import ctypes; ctypes.string_at(0)", "process-end", "by SIGSEGV", 6),
        (KEEPS_THE_LOCK, "process-frozen", "no thread of the process has run for", 6),
    ],
)
def test_a_request_that_ends_or_freezes_the_process_is_reported(check, body, rule, text, line):
    source = ENDS.format(body=body, at_import="")
    flags = ("--no-host", "--json", "--path", "/end", "--wait", "0.2")
    done = check(source, "shop:app", *flags)
    report = json.loads(done.stdout)
    [finding] = report["findings"]
    assert (finding["rule"], finding["request"], finding["line"]) == (rule, "GET /end", line)
    assert text in finding["text"] and finding["text"].endswith("while it was asked GET /end")
    assert (done.returncode, report["skipped"]) == (1, ["all further requests"])


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("os._exit(0)", "has ended the process with code 0 while it was imported, at shop.py:6"),
        (KILLS, "has ended the process by SIGTERM while it was imported"),
    ],
)
def test_an_import_that_ends_the_process_is_no_success(check, body, problem):
    done = check(ENDS.format(body=body, at_import="end()\n"), "shop:app", "--no-host")
    assert done.returncode == 3 and problem in done.stdout


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 130)]
)
def test_a_signal_ends_the_check_of_an_application_that_is_frozen(tmp_path, number, code):
    source = ENDS.format(body=f"open('frozen', 'w').close(); {KEEPS_THE_LOCK}", at_import="end()\n")
    (tmp_path / "shop.py").write_text(source)
    command = [sys.executable, "-m", "lockgate", "check", "shop:app"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as one:
        eventually((tmp_path / "frozen").exists, what="the import is frozen")
        one.send_signal(number)
        assert one.wait(30) == code


HEARTBEATS = """
import itertools
import time


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    return events() if environ["PATH_INFO"] == "/events" else [b"hello"]


def events():
    for _ in itertools.count():
        time.sleep(0.05)
        yield b": alive\\n\\n"
"""


def test_an_event_stream_with_heartbeats_is_asked_once(check):
    done = check(HEARTBEATS, "shop:app", "--no-host", "--json", "--path", "/events")
    report = json.loads(done.stdout)
    assert (report["findings"], report["requests"]) == ([], 43 + 1 + 1)


SLOW = """
import threading


def app(environ, start_response):
    if environ["PATH_INFO"] in ("/one", "/two"):
        threading.Event().wait()
    start_response(200 if environ["REQUEST_METHOD"] == "POST" else "200 OK", [])
    return []
"""


def test_paths_that_are_slow_do_not_end_the_check(check):
    flags = ("--path", "/one", "--path", "/two", "--wait", "0.2")
    report = json.loads(check(SLOW, "shop:app", "--no-host", "--json", *flags).stdout)
    rules = [finding["rule"] for finding in report["findings"]]
    assert sorted(rules) == ["late", "status-type"]
    assert report["skipped"] == ["/one again, after no answer", "/two again, after no answer"]


NOT_MODIFIED = (
    GOOD.replace("200 OK", "304 Not Modified")
    .replace("[b", "[] and [b")
    .replace('[("Content-Type", "text/plain")]', '[("Content-Length", "500")]')
)


def test_the_length_of_a_response_with_304_is_that_of_the_whole_one(check):
    done = check(NOT_MODIFIED, "shop:app", "--no-host", "--strict")
    assert done.returncode == 0, done.stdout


PRELOADED = """
import os


class Pool:
    is_open = False

    def open(self):
        self.is_open = True


pool = Pool()
os.register_at_fork(after_in_child=pool.open)


def app(environ, start_response):
    start_response("200 OK" if pool.is_open else "500 Closed", [("Content-Type", "text/plain")])
    return [b"hello"]
"""


def test_with_preload_requests_run_after_a_fork(check):
    flags = ("--no-host", "--strict", "--")
    assert check(PRELOADED, "shop:app", *flags, "--preload").returncode == 0
    assert check(PRELOADED, "shop:app", *flags).returncode == 1


def test_the_umask_is_that_of_a_worker(check, tmp_path):
    source = f"{GOOD}\nopen('made', 'w').close()\n"
    done = check(source, "shop:app", "--no-host", "--strict", "--", "--umask", "0077")
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the group")
def test_the_group_is_that_of_a_worker(check):
    source = f"import os\n{GOOD}\nprint(os.getegid())\n"
    done = check(source, "shop:app", "--no-host", "--", "--group", "65534")
    assert (done.returncode, done.stderr) == (0, "65534\n")


def test_a_user_that_does_not_exist_is_refused(check):
    done = check(GOOD, "shop:app", "--no-host", "--", "--user", "no-such-user-here")
    assert done.returncode == 2 and "no-such-user-here" in done.stdout + done.stderr


def test_an_installed_application_is_checked_as_its_own_code(check, tmp_path):
    package = tmp_path / "lib" / "site-packages" / "installed"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(FAILS)
    flags = ("--no-host", "--json", "--", "--pythonpath", str(package.parent))
    report = json.loads(check("", "installed:app", *flags).stdout)
    [finding] = report["findings"]
    assert (finding["rule"], finding["file"]) == ("status-type", str(package / "__init__.py"))


FLASK_HOSTS = """
from flask import Flask

app = Flask(__name__)
app.config["TRUSTED_HOSTS"] = [".shop.example"]


@app.get("/")
def index():
    return {}["missing"]
"""
POOL = """
import sqlalchemy

ENGINE = sqlalchemy.create_engine("sqlite:///shop.db")
with ENGINE.begin() as connection:
    connection.execute(sqlalchemy.text("CREATE TABLE IF NOT EXISTS orders (id INTEGER)"))
"""


def test_requests_have_a_host_that_flask_trusts(check):
    require_module("flask")
    report = json.loads(check(FLASK_HOSTS, "shop:app", "--no-host", "--json").stdout)
    assert [finding["rule"] for finding in report["findings"]] == ["exception"]


def test_the_pool_of_sqlalchemy_may_keep_connections_to_sqlite(check):
    require_module("sqlalchemy")
    done = check(POOL + GOOD, "shop:app", "--no-host", "--strict")
    assert done.returncode == 0, done.stdout


def test_colours_are_for_terminals(check):
    plain = check(WARNS, "shop:app", "--no-host").stdout
    forced = check(WARNS, "shop:app", "--no-host", environment={"FORCE_COLOR": "1"}).stdout
    assert "\x1b" not in plain and "\x1b[1;33mwarning\x1b[0m" in forced


def test_the_page_has_every_rule():
    text = PAGE.read_text("utf-8")
    assert written(text) == text, "python tests/check/rule_rows.py writes the tables again"
    assert sorted(rule.id for rules in SECTIONS.values() for rule in rules) == sorted(
        rule.id for rule in RULES
    )
    listed = run("check", "--rules").stdout.splitlines()
    assert [line.split()[0] for line in listed] == [rule.id for rule in RULES]


def test_ids_are_unique_and_links_have_anchors():
    ids = [rule.id for rule in RULES]
    assert len(ids) == len(set(ids))
    text = PAGE.read_text("utf-8")
    anchors = {
        "#" + line.lstrip("# ").lower().replace(",", "").replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("#")
    }
    for rule in RULES:
        page, _, anchor = rule.paragraph.link.partition("docs/checking.md")
        if page != rule.paragraph.link and anchor:
            assert anchor in anchors, rule
