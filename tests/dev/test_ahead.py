"""What the supervisor of `lockgate dev` has imported before its workers."""

import os
import sys
import types

import pytest
from harness.dev import DevServer, project
from harness.requirements import require_module
from lockgate.dev import ahead

APP = """import sys
is_there = "flask" in sys.modules
from flask import Flask
import flask
import prices as own

app = Flask(__name__)


@app.get("/")
def index():
    return f"{is_there} {own.VERSION} {flask.__file__}"
"""


@pytest.fixture
def develop(tmp_path):
    started = []

    def start(files):
        directory = tmp_path / "project"
        directory.mkdir()
        server = DevServer(project(directory, files))
        started.append(server)
        return server

    yield start
    for server in started:
        server.end()


def test_workers_inherit_the_framework_and_import_the_developers_own_modules(develop):
    require_module("flask")
    own = "prices.py"
    server = develop({"app.py": APP, own: "VERSION = 'first'\n"})
    assert server.get().text.startswith("True first ")
    server.save(own, "VERSION = 'second'\n")
    server.eventually("/", "True second ")


def test_a_package_of_the_project_is_not_replaced_by_an_installed_one(develop):
    fake = """class Flask:
    def __init__(self, name):
        pass
    def get(self, path):
        return lambda view: setattr(self, "view", view)
    def __call__(self, environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [self.view().encode()]
"""
    files = {"app.py": APP, "flask.py": fake}
    server = develop({**files, "prices.py": "VERSION = 1\n"})
    assert server.get().text == f"False 1 {server.directory / 'flask.py'}"


@pytest.mark.parametrize("is_changed", [False, True])
def test_a_changed_file_is_imported_again(is_changed, tmp_path, monkeypatch):
    path = tmp_path / "framework.py"
    path.write_text("")
    monkeypatch.setitem(sys.modules, "framework_of_a_test", types.ModuleType("framework_of_a_test"))
    record = ("framework_of_a_test", str(path), *ahead.state_of(str(path)))
    monkeypatch.setattr(ahead, "_imported", [record])
    if is_changed:
        os.truncate(path, 10)
    ahead.drop_changed()
    assert ("framework_of_a_test" in sys.modules) is not is_changed


@pytest.mark.parametrize("kind", ahead.MODULES)
def test_no_framework_starts_a_thread_or_reads_settings(kind):
    for module in ahead.MODULES[kind]:
        require_module(module.partition(".")[0])
    code = (
        "import threading; from lockgate.dev import ahead; ahead.import_framework"
        f"({kind!r}, []); assert threading.active_count() == 1; import sys;"
        f"missing = [one for one in ahead.MODULES[{kind!r}] if one not in sys.modules];"
        "assert not missing, missing;"
        "conf = sys.modules.get('django.conf'); assert not (conf and conf.settings.configured)"
    )
    import subprocess

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stderr
