"""Flags, file and environment: which one wins, and how mistakes in them are reported."""

import re
import signal

import pytest
from harness import APPS, eventually, run


def line_of(text, name):
    """The line of --print-config about one setting."""
    found = [line for line in text.splitlines() if re.match(rf"\s*{name}\b", line)]
    assert len(found) == 1, (name, text)
    return found[0]


def print_config(directory, *arguments, environment=None):
    printed = run("app:app", "--print-config", *arguments, chdir=directory, environment=environment)
    assert printed.returncode == 0, printed.stderr
    return printed.stdout


def test_version_is_one_line_on_standard_output():
    printed = run("--version")
    assert printed.returncode == 0
    assert re.fullmatch(r"lockgate \d+\.\d+\S*\n", printed.stdout)


def test_help_names_every_documented_flag():
    printed = run("--help")
    assert printed.returncode == 0
    for flag in (
        "--bind", "--workers", "--threads", "--timeout", "--graceful-timeout", "--keep-alive",
        "--access-logfile", "--access-logformat", "--error-logfile", "--log-level", "--chdir",
        "--pythonpath", "--backlog", "--limit-request-line", "--limit-request-fields",
        "--limit-request-field_size", "--limit-request-head", "--limit-request-body",
        "--body-memory", "--spool-dir", "--head-timeout", "--body-timeout", "--write-timeout",
        "--queue-size", "--queue-timeout",
        "--server-header", "--env", "--pid", "--umask", "--no-sendfile", "--config",
        "--check-config", "--print-config", "--version",
    ):  # fmt: skip
        assert flag in printed.stdout, flag


@pytest.mark.parametrize(
    ("flag", "in_file", "in_environment", "value", "origin"),
    [
        (True, True, True, "11", "--keep-alive"),
        (True, True, False, "11", "--keep-alive"),
        (True, False, True, "11", "--keep-alive"),
        (True, False, False, "11", "--keep-alive"),
        (False, True, True, "22", "lockgate.toml line 2"),
        (False, True, False, "22", "lockgate.toml line 2"),
        (False, False, True, "33", "LOCKGATE_KEEP_ALIVE"),
        (False, False, False, "75", "default"),
    ],
)
def test_flags_beat_the_file_and_the_file_beats_the_environment(
    tmp_path, flag, in_file, in_environment, value, origin
):
    if in_file:
        (tmp_path / "lockgate.toml").write_text("# a comment\nkeep_alive = 22\n")
    printed = print_config(
        tmp_path,
        *(["--keep-alive", "11"] if flag else []),
        environment={"LOCKGATE_KEEP_ALIVE": "33"} if in_environment else {},
    )
    line = line_of(printed, "keep_alive")
    assert value in line and origin in line


def test_every_setting_is_printed_with_its_origin(tmp_path):
    (tmp_path / "lockgate.toml").write_text('bind = ["127.0.0.1:9000"]\nthreads = 4\n')
    printed = print_config(tmp_path, "-w", "3", environment={"LOCKGATE_TIMEOUT": "9"})
    for name, value, origin in [
        ("workers", "3", "--workers"),
        ("bind", "127.0.0.1:9000", "lockgate.toml line 1"),
        ("threads", "4", "lockgate.toml line 2"),
        ("timeout", "9", "LOCKGATE_TIMEOUT"),
        ("backlog", "2048", "default"),
        ("graceful_timeout", "30", "default"),
    ]:
        line = line_of(printed, name)
        assert value in line and origin in line, line


def test_another_file_is_named_by_flag_or_environment(tmp_path):
    other = tmp_path / "other.toml"
    other.write_text("backlog = 99\n")
    for printed in (
        print_config(tmp_path, "-c", str(other)),
        print_config(tmp_path, "--config", "other.toml"),
        print_config(tmp_path, environment={"LOCKGATE_CONFIG": str(other)}),
    ):
        assert "99" in line_of(printed, "backlog")


def test_a_named_file_that_is_missing_is_exit_2(tmp_path):
    refused = run("app:app", "--print-config", "-c", "missing.toml", chdir=tmp_path)
    assert refused.returncode == 2
    assert "missing.toml" in refused.stderr and "Traceback" not in refused.stderr


def test_the_application_may_stand_in_the_file(start, tmp_path):
    (tmp_path / "lockgate.toml").write_text('app = "hello:app"\nworkers = 1\n')
    printed = run("--print-config", chdir=tmp_path)
    assert printed.returncode == 0, printed.stderr
    assert "hello:app" in line_of(printed.stdout, "app")


def test_a_misspelt_flag_is_exit_2_and_names_the_nearest():
    for wrong, right in [("--worker", "--workers"), ("--treads", "--threads")]:
        refused = run("hello:app", wrong, "2")
        assert refused.returncode == 2
        assert wrong in refused.stderr and right in refused.stderr


def test_a_misspelt_key_is_exit_2_and_names_the_nearest_and_the_line(tmp_path):
    (tmp_path / "lockgate.toml").write_text("workers = 1\ntreads = 2\n")
    refused = run("hello:app", "--check-config", chdir=tmp_path)
    assert refused.returncode == 2
    for part in ("treads", "threads", "lockgate.toml", "2"):
        assert part in refused.stderr


def test_a_misspelt_variable_is_reported_with_a_suggestion():
    reported = run("hello:app", "--check-config", environment={"LOCKGATE_TREADS": "2"})
    assert reported.returncode in (0, 2)
    assert "LOCKGATE_TREADS" in reported.stderr + reported.stdout
    assert "LOCKGATE_THREADS" in reported.stderr + reported.stdout


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["-w", "0"], ["workers", "0", "at least 1"]),
        (["-w", "many"], ["workers", "many"]),
        (["--threads", "-1"], ["threads"]),
        (["-b", "127.0.0.1:99999"], ["bind", "99999"]),
        (["--keep-alive", "soon"], ["keep", "soon"]),
        (["--log-level", "loud"], ["log", "loud"]),
        (["--access-logformat", "%(nonsense"], ["access", "nonsense"]),
        (["--limit-request-body", "-5"], ["limit", "body"]),
        (["-m", "999"], ["umask", "999"]),
    ],
)
def test_a_bad_value_is_exit_2_and_names_the_setting_and_the_value(arguments, parts):
    refused = run("hello:app", *arguments)
    assert refused.returncode == 2, refused
    for part in parts:
        assert part in refused.stderr, refused.stderr
    assert "Traceback" not in refused.stderr and "panicked" not in refused.stderr


def test_a_bad_value_in_the_file_names_its_line(tmp_path):
    (tmp_path / "lockgate.toml").write_text("\nworkers = 0\n")
    refused = run("hello:app", chdir=tmp_path)
    assert refused.returncode == 2
    assert "lockgate.toml line 2" in refused.stderr


def test_a_file_that_is_not_toml_is_exit_2(tmp_path):
    (tmp_path / "lockgate.toml").write_text("workers = = 2\n")
    refused = run("hello:app", chdir=tmp_path)
    assert refused.returncode == 2
    assert "lockgate.toml" in refused.stderr and "panicked" not in refused.stderr


def test_no_application_is_exit_2(tmp_path):
    refused = run(chdir=tmp_path)
    assert refused.returncode == 2
    assert "lockgate app:app" in refused.stderr or "application" in refused.stderr.lower()


def test_check_config_reports_success():
    checked = run("hello:app", "--check-config")
    assert checked.returncode == 0
    assert checked.stdout == "lockgate: configuration valid, hello:app loads\n"


def test_the_start_is_called_a_start_and_the_end_of_a_worker_its_service(start):
    server = start("hello:app")
    first = server.errors.splitlines()[0]
    assert first.endswith(f" is starting (application: hello:app, pid {server.pid})")
    assert server.stop() == 0
    assert re.search(r"worker 0 \(pid \d+\) stopped after [\d.]+ s of service\n", server.errors)


def test_all_errors_that_only_the_system_can_find_are_reported_together(tmp_path):
    refused = run(
        "hello:app", "--check-config", "-u", "no_such_user", "--chdir", "missing", chdir=tmp_path
    )
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        f"lockgate: chdir = {tmp_path}/missing (from --chdir): "
        "No such file or directory (os error 2)",
        "lockgate: user = no_such_user (from --user): there is no such user",
    ]


def test_a_missing_file_is_reported_together_with_other_mistakes(tmp_path):
    refused = run("-c", "missing.toml", "-w", "0", "hello:app", chdir=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        "lockgate: missing.toml: cannot be read: No such file or directory (os error 2)",
        'lockgate: workers = 0 (from --workers): must be at least 1, or "auto"',
    ]


def test_a_file_that_cannot_be_read_may_name_the_application(tmp_path):
    refused = run("-c", "missing.toml", "-w", "0", chdir=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        "lockgate: missing.toml: cannot be read: No such file or directory (os error 2)",
        'lockgate: workers = 0 (from --workers): must be at least 1, or "auto"',
    ]


def test_logs_stay_where_they_are_when_the_application_changes_directory(start, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "moving.py").write_text(
        f"import os\nfrom hello import app\nos.chdir({str(elsewhere)!r})\n"
    )
    server = start(
        "moving:app", "--pythonpath", str(APPS), "--access-logfile", "access.log",
        "--error-logfile", "error.log", "--pid", "server.pid", chdir=tmp_path, wait=False,
    )  # fmt: skip
    server.stderr_path = tmp_path / "error.log"
    eventually(server.stderr_path.exists, what="an error log")
    server.wait_until_ready()
    (tmp_path / "error.log").rename(tmp_path / "error.log.1")
    (tmp_path / "access.log").rename(tmp_path / "access.log.1")
    server.signal(signal.SIGUSR1)

    def is_logged():
        server.get("/")
        log = tmp_path / "access.log"
        return log.exists() and log.read_text()

    eventually(is_logged, what="a line in the new access log")
    assert server.stop() == 0
    assert "stopped after" in (tmp_path / "error.log").read_text()
    assert list(elsewhere.iterdir()) == []
    assert not (tmp_path / "server.pid").exists()


def test_workers_auto_gives_its_reason(start):
    server = start("hello:app", workers="auto")
    line = server.wait_for_log(r"[^\n]*workers[^\n]*")
    assert str(len(server.workers())) in line
    server.wait_for_log(r"workers[^\n]*(cpu|core|processor)")
    assert server.get("/").status == 200


def test_the_umask_applies_to_what_the_application_writes(start, tmp_path):
    server = start("writing:app", "-m", "027", "-e", f"WRITE_TO={tmp_path / 'made'}")
    assert server.get("/").body == b"0o640"


def test_an_unset_setting_of_gunicorn_has_the_same_spelling(tmp_path):
    printed = print_config(tmp_path, "--limit-request-field_size", "5000", "-t", "12")
    assert "5000" in line_of(printed, "limit_request_field_size")
    assert "12" in line_of(printed, "timeout")


def test_the_log_level_hides_less_severe_messages(start):
    quiet = start("hello:app", "--log-level", "error", wait=False)
    with_answer = None
    while with_answer is None:
        try:
            with_answer = quiet.get("/")
        except ConnectionRefusedError:
            assert quiet.process.poll() is None, quiet.errors
    assert with_answer.status == 200
    assert quiet.stop() == 0
    assert quiet.errors == ""


def test_the_error_log_goes_to_its_file(start, tmp_path):
    path = tmp_path / "error.log"
    server = start("faults:app", "--error-logfile", str(path), wait=False)
    server.stderr_path = path
    while not path.exists():
        assert server.process.poll() is None
    server.wait_until_ready()
    assert server.get("/raise-before").status == 500
    server.wait_for_log("ValueError: raised before start_response")


def test_a_file_of_gunicorns_beside_our_own_is_not_passed_over_in_silence(start, tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text("raise RuntimeError('it is not read')\n")
    (tmp_path / "lockgate.toml").write_text("backlog = 99\n")
    server = start("hello:app", "--pythonpath", str(APPS), chdir=tmp_path)
    line = (
        "[WARNING] gunicorn.conf.py is in the working directory and is not read, because "
        "lockgate.toml is there too"
    )
    assert server.errors.count(line) == 1
    checked = run("hello:app", "--check-config", "--pythonpath", str(APPS), chdir=tmp_path)
    assert checked.returncode == 0
    assert checked.stderr.count("gunicorn.conf.py is in") == 1
