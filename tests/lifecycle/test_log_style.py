"""How lines of the logs look: JSON, time zones, and what they leave out."""

import json
import re
from datetime import datetime, timedelta, timezone

import pytest
from harness import eventually, request, run
from harness.admin import Admin

KEYS = ["time", "level", "pid", "logger", "message"]
SECRET = "token=s3cr3t"


def test_the_error_log_as_json_is_one_object_a_line_with_the_same_keys(start):
    server = start("faults:app", "--error-logformat", "json", wait=False)
    eventually(lambda: "is ready" in server.errors, what="it is ready")
    assert server.get("/raise-before").status == 500
    eventually(lambda: "Traceback" in server.errors, what="the traceback")
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.errors.splitlines()]
    assert all(list(line) == KEYS for line in lines), lines
    assert all(datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0) for line in lines)
    failure = next(line for line in lines if "Traceback" in line["message"])
    assert failure["level"] == "ERROR" and failure["logger"] == "lockgate"
    assert "Error handling request GET /raise-before\nTraceback" in failure["message"]


def test_what_the_application_writes_to_wsgi_errors_is_json_too(start):
    server = start("log_writer:app", "--error-logformat", "json", wait=False)
    eventually(lambda: "is ready" in server.errors, what="it is ready")
    server.get("/")
    eventually(lambda: "third" in server.errors, what="the lines")
    lines = [json.loads(line) for line in server.errors.splitlines()]
    said = [line for line in lines if line["logger"] == "wsgi.errors"]
    assert [line["message"] for line in said] == ['first "quoted"\nsecond', "third"]
    assert all(list(line) == KEYS for line in said)


TEXT_TIME = r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4})\]"
ACCESS_TIME = r"\[(\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\]"


@pytest.mark.parametrize(
    "arguments, offset",
    [([], 0), (["--log-timezone", "utc"], 0), (["--log-timezone", "local"], 5.75 * 3600)],
    ids=["default", "utc", "local"],
)
def test_the_time_zone_of_both_logs(start, arguments, offset):
    """Nepal has one of the few zones that no arithmetic with whole hours finds."""
    server = start(
        "hello:app", "--access-logfile", "-", *arguments, environment={"TZ": "<+0545>-5:45"}
    )
    assert server.get("/").status == 200
    line = eventually(lambda: server.output, what="the access line")
    errors = re.search(TEXT_TIME, server.errors)[1]
    access = re.search(ACCESS_TIME, line)[1]
    for text, form in [(errors, "%Y-%m-%d %H:%M:%S %z"), (access, "%d/%b/%Y:%H:%M:%S %z")]:
        time = datetime.strptime(text, form)
        assert time.utcoffset() == timedelta(seconds=offset), text
        assert abs(time - datetime.now(timezone.utc)) < timedelta(minutes=5), text


def test_a_time_zone_that_does_not_exist_is_reported_at_startup():
    said = run("hello:app", "--log-timezone", "local", environment={"TZ": "Mars/Olympus"})
    assert said.returncode == 2 and "log_timezone = local" in said.stderr, said


@pytest.mark.parametrize("shows", [True, False])
def test_query_strings_are_shown_or_not_everywhere_alike(start, tmp_path, shows):
    arguments = ["--admin-show", "targets"] if shows else ["--no-log-query"]
    admin = Admin(start, tmp_path, "faults:app", *arguments, workers=1)
    server = admin.server
    assert server.get(f"/raise-before?{SECRET}").status == 500
    line = server.wait_for_log(r"Error handling request .*")
    assert line.endswith(f"/raise-before?{SECRET}" if shows else "/raise-before?")
    held_directory = tmp_path / "held"
    held_directory.mkdir()
    held = Admin(
        start, held_directory, "gates:app", "--slow-request", "0.2s", *arguments, workers=1
    )
    gate = tmp_path / "gate"
    with held.server.connect() as wire:
        wire.send(request("GET", f"/hold?{gate}"))
        eventually((tmp_path / "gate.started").exists, what="the call")
        seen = [
            json.dumps(held.status()),
            json.dumps(held.stacks()),
            held.ctl("requests").stdout,
        ]
        eventually(lambda: held.status()["workers"][0]["running"][0]["age"] > 0.3, what="slow")
        gate.touch()
        assert wire.response().status == 200
    seen.append(held.server.wait_for_log(r"Slow request: .*"))
    for text in seen:
        assert "/hold" in text
        assert (str(gate)[:100] in text) == shows, text


def test_a_long_target_is_cut_in_the_error_log(start):
    server = start("faults:app")
    assert server.get("/raise-before?" + "x" * 4000).status == 500
    line = server.wait_for_log(r"Error handling request .*")
    assert line.endswith("xxx...") and len(line) < 1200
