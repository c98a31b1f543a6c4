"""`lockgate dev` as a developer starts it: what it serves, what it says, how it ends."""

import signal
import sys

import pytest
from harness.dev import DevServer, project
from harness.requirements import require_module

FLASK = """from flask import Flask

app = Flask(__name__)


@app.get("/")
def index():
    print("printed")
    return "first"


@app.get("/fails")
def fails():
    return 1 / 0
"""
PLAIN = """def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"first"]
"""


@pytest.fixture
def develop(tmp_path):
    """Starts `lockgate dev` in a project: develop({"app.py": …}, "--flag")."""
    started = []

    def start(files, *arguments, **options):
        directory = tmp_path / f"project{len(started)}"
        directory.mkdir()
        server = DevServer(project(directory, files), *arguments, **options)
        started.append(server)
        return server

    yield start
    for server in started:
        server.end()


def test_it_says_what_it_has_found_and_why_and_where_it_serves(develop):
    require_module("flask")
    server = develop({"app.py": FLASK})
    assert server.get().text == "first"
    first, second = server.errors.splitlines()[:2]
    assert first.endswith("Flask application app:app (app.py has app)")
    assert second.startswith("http://127.0.0.1:")
    assert server.interrupt() == 0
    assert "Traceback" not in server.errors


def test_a_saved_file_is_served_and_a_broken_one_is_a_page_until_the_next_save(develop):
    server = develop({"app.py": PLAIN})
    assert server.get().text == "first"
    server.save("app.py", PLAIN.replace("first", "second"))
    server.eventually("/", "second")
    server.save("app.py", PLAIN.replace("[b", "[[b"))
    page = server.eventually("/any", "SyntaxError")
    assert page.status == 500
    assert server.page("/any").headers["Content-Type"] == "text/html; charset=utf-8"
    server.save("app.py", PLAIN.replace("first", "third"))
    server.eventually("/", "third")
    assert server.interrupt() == 0


def test_it_starts_with_a_file_that_cannot_be_loaded(develop):
    server = develop({"app.py": "import nothing_of_this_name\n" + PLAIN})
    assert "nothing_of_this_name" in server.get().text
    server.save("app.py", PLAIN)
    server.eventually("/", "first")


def test_an_exception_of_a_view_is_a_page_and_one_block_on_the_terminal(develop):
    require_module("flask")
    server = develop({"app.py": FLASK})
    page = server.page("/fails")
    assert page.status == 500
    assert "ZeroDivisionError: division by zero" in page.text
    # Python 3.10 does not know which part of a line has failed (PEP 657).
    marked = "<mark>1 / 0</mark>" if sys.version_info >= (3, 11) else "1 / 0"
    assert f"return {marked}" in page.text
    block = [line for line in server.errors.splitlines() if line.startswith("| ")]
    assert block[0] == "| GET /fails has raised an exception"
    assert "|   app.py:14 in fails" in block
    assert block[-1] == "| ZeroDivisionError: division by zero"


def test_in_one_process_it_serves_and_ends_alike(develop):
    require_module("flask")
    server = develop({"app.py": FLASK}, "--no-reload")
    assert server.get().text == "first"
    assert server.interrupt() == 0
    assert "Traceback" not in server.errors


@pytest.mark.parametrize("mode", ["--reload", "--no-reload"])
def test_settings_of_the_application_count_and_those_of_production_do_not(develop, mode):
    settings = """app = "site_of_mine:application"
pythonpath = ["lib"]
env = { NAME = "mine" }
workers = 8
bind = "127.0.0.1:1"
certfile = "/nowhere.pem"
keyfile = "/nowhere.key"
user = "not_a_user"
access_logfile = "/nowhere/access.log"
acme_email = "me@example.org"
[[static]]
path = "/files"
dir = "files"
"""
    server = develop(
        {
            "lockgate.toml": settings,
            "lib/site_of_mine.py": PLAIN.replace('b"first"', "os.environ['NAME'].encode()").replace(
                "def", "import os\ndef", 1
            ),
            "files/a.txt": "a file",
        },
        mode,
    )
    assert server.get().text == "mine"
    assert server.get("/files/a.txt").text == "a file"
    assert "[WARNING]" not in server.errors


def test_nothing_found_ends_with_code_4_and_says_where_it_looked(develop):
    server = develop({"README": ""})
    assert server.process.wait(30) == 4
    assert "no application was found" in server.errors


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--port", "70000"], "'70000' is not a port"),
        (["--bind", "x:1", "--host", "y"], "--bind excludes --host and --port"),
        (["--key", "k.pem"], "--key k.pem: needs --cert"),
        (["--refresh", "--no-reload"], "remove --no-reload or --refresh"),
        (["--slow", "soon"], "'soon' is not a time"),
        (["--bind", "::::"], "'::::' is not an address"),
    ],
)
def test_wrong_arguments_are_named(develop, arguments, text):
    server = develop({"app.py": PLAIN}, *arguments, port=False)
    assert server.process.wait(30) in (1, 2)
    assert text in server.errors


MOUNTED = """app = "app:application"
[[mount]]
path = "/shop"
app = "shop:application"
"""


def test_a_mount_that_does_not_load_is_a_page_below_its_path(develop):
    files = {"lockgate.toml": MOUNTED, "app.py": PLAIN, "shop.py": "import not_here\n" + PLAIN}
    server = develop(files)
    assert server.get("/").text == "first"
    page = server.page("/shop/")
    assert page.status == 500
    assert "mount /shop" in server.errors
    assert "not_here" in page.text
    server.save("shop.py", PLAIN.replace("first", "second") + "\n# longer\n")
    server.eventually("/shop/", "second")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_without_reloads_a_signal_stops_it_after_the_last_line(develop, number):
    server = develop({"app.py": PLAIN}, "--no-reload")
    assert server.get("/last").text == "first"
    server.process.send_signal(number)
    assert server.process.wait(30) == 0
    assert "/last" in server.errors
