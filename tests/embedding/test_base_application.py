"""Programs that start gunicorn as a library, with the import changed: `lockgate.gunicorn.app`."""

import re
import signal
import sys

import pytest
from harness import Server, eventually

#: "Custom Application" of gunicorn's documentation, with its import line as a parameter.
CUSTOM = """
import multiprocessing

import {package}.app.base


def number_of_workers():
    return (multiprocessing.cpu_count() * 2) + 1


def handler_app(environ, start_response):
    response_body = b'Works fine'
    status = '200 OK'
    response_headers = [('Content-Type', 'text/plain')]
    start_response(status, response_headers)
    return [response_body]


class StandaloneApplication({package}.app.base.BaseApplication):

    def __init__(self, app, options=None):
        self.options = options or {{}}
        self.application = app
        super().__init__()

    def load_config(self):
        config = {{key: value for key, value in self.options.items()
                  if key in self.cfg.settings and value is not None}}
        for key, value in config.items():
            self.cfg.set(key.lower(), value)

    def load(self):
        {load}
        return self.application


if __name__ == '__main__':
    options = {options}
    StandaloneApplication(handler_app, options).run()
    print("not reached")
"""


@pytest.fixture
def program(tmp_path):
    started = []

    def begin(text, *arguments, wait=True, **options):
        path = tmp_path / "program.py"
        path.write_text(text)
        server = Server(
            tmp_path, str(path), *arguments, program=(sys.executable,), workers=None, bind=(),
            chdir=tmp_path, wait=False, **options,
        )  # fmt: skip
        started.append(server)
        if wait:
            server.wait_until_ready()
            found = re.search(r"listening at http://127.0.0.1:(\d+)", server.errors)
            server.port = int(found[1])
            server.address = ("127.0.0.1", server.port)
        return server

    yield begin
    for server in started:
        server.end()


def custom(options, load="pass", package="lockgate.gunicorn"):
    return CUSTOM.format(package=package, options=options, load=load)


BIND = "'%s:%s' % ('127.0.0.1', '0')"


def test_the_documented_example_serves(program):
    server = program(custom(f"{{'bind': {BIND}, 'workers': 2}}"))
    assert server.get("/").body == b"Works fine"
    assert len(server.workers()) == 2
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert server.output == ""


@pytest.mark.skipif("gunicorn" in sys.modules, reason="gunicorn is installed")
def test_the_example_serves_unchanged_where_the_alias_is_installed(program):
    text = "from lockgate.gunicorn import alias\nalias.install()\n"
    server = program(text + custom(f"{{'bind': {BIND}, 'workers': 1}}", package="gunicorn"))
    assert server.get("/").body == b"Works fine"


def test_load_is_called_in_each_worker(program, tmp_path):
    load = "import os; open('loaded', 'a').write(f'{os.getpid()}\\n')"
    server = program(custom(f"{{'bind': {BIND}, 'workers': 2}}", load))
    loaded = [int(pid) for pid in (tmp_path / "loaded").read_text().split()]
    assert sorted(loaded) == sorted(server.workers())
    server.signal(signal.SIGHUP)
    server.wait_for_log("reload: done")
    eventually(lambda: len((tmp_path / "loaded").read_text().split()) == 4)


def test_settings_by_gunicorns_names(program):
    options = {"bind": "127.0.0.1:0", "workers": 3, "threads": 2, "loglevel": "info", "timeout": 60}
    server = program(custom(repr(options)))
    assert "all 3 workers are ready" in server.errors


def test_files_under_their_usual_names_do_not_count_and_a_named_one_does(program, tmp_path):
    (tmp_path / "lockgate.toml").write_text("workers = 3\n")
    server = program(custom("{'bind': '127.0.0.1:0', 'workers': 1}"))
    assert len(server.workers()) == 1
    server.end()
    (tmp_path / "other.toml").write_text("workers = 2\n")
    server = program(custom("{'bind': '127.0.0.1:0', 'config': 'other.toml'}"))
    assert len(server.workers()) == 2


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("{'workers': 'many'}", "Error: workers = "),
        ("{'bind': '127.0.0.1:0', 'pre_fork': print}", "Error: pre_fork: hooks are read from"),
        ("{'preload_app': True}", "Error: preload = true"),
    ],
)
def test_a_mistake_is_a_line_and_exit_code_1(program, options, text):
    server = program(custom(options), wait=False)
    assert server.wait() == 1
    assert text in server.errors and "Traceback" not in server.errors


NAMED = """
import sys
from lockgate.gunicorn.app.wsgiapp import WSGIApplication

class StandaloneApplication(WSGIApplication):
    def __init__(self, app_uri, options=None):
        self.options = options or {}
        self.app_uri = app_uri
        super().__init__()

    def load_config(self):
        for key, value in self.options.items():
            if key in self.cfg.settings and value is not None:
                self.cfg.set(key.lower(), value)

if __name__ == "__main__":
    StandaloneApplication("named:app", {"bind": "127.0.0.1:0", "workers": 2}).run()
"""


def test_an_application_named_by_wsgiapplication_is_imported_by_each_worker(program, tmp_path):
    (tmp_path / "named.py").write_text(
        "import os\ndef app(environ, start_response):\n"
        "    start_response('200 OK', [])\n    return [b'named']\n"
    )
    server = program(NAMED)
    assert server.get("/").body == b"named"
    assert len(server.workers()) == 2


def test_wsgiapplication_is_the_command_line(program, tmp_path):
    (tmp_path / "named.py").write_text(
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n    return [b'named']\n"
    )
    text = "from lockgate.gunicorn.app.wsgiapp import run\nrun()\n"
    server = program(text, "named:app", "--bind=127.0.0.1:0", "--workers=1")
    assert server.get("/").body == b"named"
