"""The loggers gunicorn.error and gunicorn.access, which exist before the import."""

import json
import signal

import pytest
from harness import eventually
from harness.process import open_files

EVENT = r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[\d+\] "
PRELOAD = pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["import", "preload"])


@PRELOAD
def test_flask_logs_through_the_handlers_of_gunicorn(start, preload):
    server = start("flask_gunicorn_logger:app", "--access-logfile", "-", *preload)
    facts = json.loads(server.get("/").body)
    assert facts == {"handlers": 1, "level": 20, "propagate": False, "access_handlers": 1}
    server.wait_for_log(r"(?m)" + EVENT + r"\[INFO\] an info line of the view$")
    server.wait_for_log(r"(?m)" + EVENT + r"\[WARNING\] two\nlines and \\x1b\[31m$")
    assert "a debug line" not in server.errors
    eventually(lambda: '"GET / HTTP/1.1" 200' in server.output, what="the access line")
    assert 'a line "of" the\\x0aapplication\n' in server.output


def test_without_an_access_log_gunicorn_access_has_no_handler(start):
    server = start("flask_gunicorn_logger:app", "--log-level", "debug")
    facts = json.loads(server.get("/").body)
    assert facts == {"handlers": 1, "level": 10, "propagate": False, "access_handlers": 0}
    server.wait_for_log(r"(?m)" + EVENT + r"\[DEBUG\] a debug line$")


def test_an_exception_is_logged_with_its_traceback(start):
    server = start("flask_gunicorn_logger:app")
    assert server.get("/fail").status == 204
    server.wait_for_log(r"\[ERROR\] the view has failed\nTraceback [\s\S]*KeyError: 'missing'")


def test_records_that_cannot_be_formatted_do_not_fail_the_request(start):
    server = start("flask_gunicorn_logger:app")
    assert server.get("/strange").status == 204
    server.wait_for_log(r"lone surrogate")
    server.wait_for_log(r"--- Logging error ---")


def test_the_formatter_of_the_application_counts(start):
    server = start("flask_gunicorn_logger:app")
    assert server.get("/own-format").status == 204
    server.wait_for_log(r"(?m)^WARNING\|flask_gunicorn_logger\|formatted by the application$")


def test_in_a_json_error_log_a_record_is_an_object_with_the_name_of_its_logger(start):
    server = start("flask_gunicorn_logger:app", "--error-logformat", "json", wait=False)
    eventually(lambda: "is ready" in server.errors, what="it is ready")
    server.get("/fail")
    eventually(lambda: "the view has failed" in server.errors, what="the event")
    lines = [json.loads(line) for line in server.errors.splitlines()]
    event = next(line for line in lines if "the view has failed" in line["message"])
    assert (event["level"], event["logger"]) == ("ERROR", "flask_gunicorn_logger")
    assert event["message"].endswith("KeyError: 'missing'")


@PRELOAD
def test_after_usr1_both_loggers_write_to_the_new_files(start, tmp_path, preload):
    logs = {name: tmp_path / f"{name}.log" for name in ("error", "access")}
    server = start(
        "flask_gunicorn_logger:app",
        *("--error-logfile", str(logs["error"]), "--access-logfile", str(logs["access"])),
        *preload,
        wait=False,
    )
    eventually(
        lambda: logs["error"].exists() and "is ready" in logs["error"].read_text(), what="ready"
    )
    server.get("/")
    for name, path in logs.items():
        path.rename(tmp_path / f"{name}.1")
    server.signal(signal.SIGUSR1)
    for path in logs.values():
        eventually(path.exists, what=f"{path} is opened again")

    def is_in_new_files():
        server.get("/")
        texts = [path.read_text() for path in logs.values()]
        return "an info line of the view" in texts[0] and 'a line "of" the' in texts[1]

    eventually(is_in_new_files, what="records in the new files")
    if not preload:  # a fork server gets no notice of the rotation
        open_now = {file for pid in server.workers() for file in open_files(pid)}
        assert not {f"{path.parent}/{name}.1" for name, path in logs.items()} & open_now, open_now
