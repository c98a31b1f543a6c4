"""logger_class, log_config and log_config_json: Python logs the requests that it gets."""

import json
import signal
import sys
from pathlib import Path

import pytest
from harness import eventually

CLASS = ["--logger-class", "own_loggers.Recording"]
OUTPUT = ["--access-logfile", "-"]
PRELOAD = pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["import", "preload"])


def lines_of(server, count, what="access lines"):
    return eventually(
        lambda: lines if len(lines := server.output.splitlines()) >= count else None, what=what
    )


@PRELOAD
def test_a_logger_class_logs_the_requests_instead_of_the_server(start, preload):
    own = ["--access-logformat", "%(z)s %(U)s %(h)s %({x-pid}o)s %({missing}i)s"]
    server = start("own_loggers:app", *CLASS, *OUTPUT, *own, *preload)
    server.get("/health")
    targets = ["/", "/stream", "/file", "/raise", "/last"]
    for count, target in enumerate(targets, 1):
        server.get(target)
        # A request is logged after its response, and another thread may answer the next one first.
        lines_of(server, count)
    server.get("/last", method="HEAD")
    found = lines_of(server, 6)
    pid = found[0].split()[4]
    size = Path(__file__).parent.parent.joinpath("apps/own_loggers.py").stat().st_size
    assert found == [
        f"200 OK|5|5|GET / 127.0.0.1 {pid} -",
        "200 OK|3|None|GET /stream 127.0.0.1 - -",
        f"200 OK|{size}|None|GET /file 127.0.0.1 - -",
        "500 Internal Server Error|0|None|GET /raise 127.0.0.1 - -",
        f"200 OK|5|5|GET /last 127.0.0.1 {pid} -",
        f"200 OK|0|5|HEAD /last 127.0.0.1 {pid} -",
    ]
    server.wait_for_log(r"(?m)^own\|INFO\|set up for info$")
    server.wait_for_log(r"(?m)^own\|ERROR\|Error handling request GET /raise\nTraceback")


def test_a_request_that_the_application_does_not_get_is_logged_by_the_server(start):
    server = start("own_loggers:app", *CLASS, *OUTPUT)
    server.exchange(b"GET / HTTP/1.1\r\n\r\n")
    (line,) = lines_of(server, 1)
    assert '"GET / HTTP/1.1" 400' in line


def test_an_access_method_that_raises_fails_no_request(start):
    server = start("own_loggers:app", "--logger-class", "own_loggers.Broken", *OUTPUT)
    assert server.get("/").status == 200
    server.wait_for_log(r"ValueError: the access method is broken")


def test_a_logger_class_that_does_not_exist_ends_the_start(start):
    server = start("own_loggers:app", "--logger-class", "own_loggers.Missing", wait=False)
    assert server.wait() == 3
    assert "has no attribute 'Missing'" in server.errors


FORMAT = """
[loggers]
keys = root, gunicorn.access
[handlers]
keys = file
[formatters]
keys = json
[logger_root]
level = WARNING
handlers =
[logger_gunicorn.access]
level = INFO
handlers = file
propagate = 0
qualname = gunicorn.access
[handler_file]
class = FileHandler
formatter = json
args = ('%(here)s/requests.log',)
[formatter_json]
class = own_loggers.JsonFormatter
"""


def dictionary(folder):
    return {
        "handlers": {
            "file": {
                "class": "logging.FileHandler",
                "filename": f"{folder}/requests.log",
                "formatter": "json",
            }
        },
        "formatters": {"json": {"()": "own_loggers.JsonFormatter"}},
        "loggers": {"gunicorn.access": {"handlers": ["file"], "level": "INFO", "propagate": False}},
        "root": {"level": "WARNING", "handlers": []},
    }


@pytest.mark.parametrize("kind", ["file", "json", "both"])
def test_a_log_config_decides_where_access_records_go(start, tmp_path, kind):
    (tmp_path / "log.ini").write_text(FORMAT)
    (tmp_path / "log.json").write_text(json.dumps(dictionary(tmp_path)))
    arguments = []
    if kind != "json":
        arguments += ["--log-config", str(tmp_path / "log.ini")]
    if kind != "file":
        arguments += ["--log-config-json", str(tmp_path / "log.json")]
    if kind == "both":
        (tmp_path / "log.ini").write_text("[nonsense")
    server = start("own_loggers:app", *arguments, *OUTPUT)
    server.get("/", "User-Agent: curl/8")
    requests = tmp_path / "requests.log"
    eventually(lambda: requests.exists() and requests.read_text(), what="the record")
    assert json.loads(requests.read_text()) == {
        "method": "GET",
        "status": "200",
        "agent": "curl/8",
    }
    # The files of Python's handlers are reopened, too.
    requests.rename(tmp_path / "requests.1")
    server.signal(signal.SIGUSR1)
    eventually(requests.exists, what="the file is opened again")
    server.get("/", "User-Agent: curl/9")
    eventually(lambda: "curl/9" in requests.read_text(), what="the record in the new file")
    assert server.output == ""


@pytest.mark.parametrize("flag", ["--log-config", "--log-config-json"])
def test_a_log_config_that_is_missing_ends_the_start(start, flag):
    server = start("own_loggers:app", flag, "/nowhere.ini", wait=False)
    assert server.wait() == 3
    assert "log config '/nowhere.ini' not found" in server.errors


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        (["--log-config", "/nowhere.ini"], "log config '/nowhere.ini' not found"),
        (["--log-config-json", "/nowhere.json"], "log config '/nowhere.json' not found"),
        (["--logger-class", "nowhere.Logger"], "No module named 'nowhere'"),
    ],
)
def test_the_check_of_the_settings_sets_up_logging_too(start, flags, found):
    server = start("own_loggers:app", *flags, "--check-config", wait=False)
    assert server.wait() == 3
    assert found in server.errors
    assert server.output == ""


@PRELOAD
def test_a_filter_of_the_application_on_gunicorn_access_counts(start, preload):
    server = start("own_loggers:filtered()", *OUTPUT, *preload)
    for target in ("/", "/health", "/last?a=b"):
        server.get(target, "User-Agent: curl/8")
    found = lines_of(server, 2)
    assert [line.split('"')[1::2] for line in found] == [
        ["GET / HTTP/1.1", "-", "curl/8"],
        ["GET /last?a=b HTTP/1.1", "-", "curl/8"],
    ]


HERE = Path(__file__).parent
#: See test_hooks.py.
GUNICORN = Path(sys.prefix) / "gunicorn"


@pytest.mark.parametrize("installed", [False, True], ids=["shim", "installed"])
@PRELOAD
def test_a_class_in_the_configuration(start, installed, preload):
    """It derives from the class of gunicorn, if that is installed."""
    if installed and not GUNICORN.exists():
        pytest.skip(f"gunicorn is not installed in {GUNICORN} (make test)")
    server = start(
        "hooked:app",
        *("-c", str(HERE / "logging_conf.py"), "--log-style", "lockgate", *OUTPUT, *preload),
        environment={"CHOICE": "class", "PYTHONPATH": str(GUNICORN) if installed else ""},
    )
    server.get("/length")
    (line,) = lines_of(server, 1)
    assert line == "GET /length 200 OK"
    server.wait_for_log(r"(?m)\[INFO\] the logger of the configuration, for hooked:app$")
    server.wait_for_log(r"(?m)\[WARNING\] from a hook$")


@pytest.mark.parametrize("installed", [False, True], ids=["shim", "installed"])
@pytest.mark.parametrize("named", [[], ["--access-logformat", "common"]], ids=["none", "common"])
def test_a_logger_class_finds_a_format_and_not_its_name(start, tmp_path, installed, named):
    """gunicorn's own class has no names of formats."""
    if installed and not GUNICORN.exists():
        pytest.skip(f"gunicorn is not installed in {GUNICORN} (make test)")
    (tmp_path / "loggers.py").write_text(
        "from gunicorn.glogging import Logger\n\n\nclass Own(Logger):\n"
        "    def access(self, *arguments):\n        super().access(*arguments)\n"
    )
    server = start(
        *("own_loggers:app", "--logger-class", "loggers.Own", *OUTPUT, *named),
        *("--pythonpath", str(tmp_path)),
        environment={"PYTHONPATH": str(GUNICORN) if installed else ""},
    )
    server.get("/", "User-Agent: x/1")
    (line,) = lines_of(server, 1)
    assert line.partition("] ")[2] == '"GET / HTTP/1.1" 200 5' + ("" if named else ' "-" "x/1"')


def test_a_logconfig_dict_decides_where_both_loggers_write(start):
    server = start(
        "hooked:app",
        *("-c", str(HERE / "logging_conf.py"), "--log-style", "lockgate"),
        environment={"CHOICE": "dict"},
    )
    server.get("/length", "User-Agent: x/1")
    found = lines_of(server, 2)
    assert found[0] == "short WARNING from a hook"
    assert found[1].startswith("short INFO 127.0.0.1 - - [")
    assert found[1].endswith('"GET /length HTTP/1.1" 200 5 "-" "x/1"')
