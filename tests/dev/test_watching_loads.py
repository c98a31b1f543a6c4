"""`reload` while the application is being loaded: what it writes itself, and saves meanwhile."""

import re

import pytest
from harness import Server, eventually

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]
"""


@pytest.fixture
def serve(tmp_path):
    """Starts a server with `reload` for a project of these files."""
    servers = []
    project = tmp_path / "project"

    def start(files, **options):
        for name, text in files.items():
            project.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
            project.joinpath(name).write_text(text)
        server = Server(tmp_path, "site_app:app", "--reload", chdir=project, **options)
        servers.append(server)
        return server, project

    yield start
    for server in servers:
        server.end()


def expect(server, text, target="/"):
    eventually(
        lambda: server.get(target).body.decode() == text, within=20, what=f"{target} is {text}"
    )


def reloads(server, since=0):
    return len(re.findall(r"reload: .* ha(?:s|ve) changed", server.errors[since:]))


GENERATING = """
import pathlib
import time
pathlib.Path(__file__).with_name("build.py").write_text(f"time = {time.time_ns()}\\n")
import build
from helper import text
"""


def test_a_module_that_each_import_changes_is_ignored_until_it_changes_at_another_time(serve):
    server, project = serve({"site_app.py": GENERATING + APP, "helper.py": "text = 'one'\n"})
    named = rf"each load .* content to {re.escape(str(project / 'build.py'))}: .* ignored"
    server.wait_for_log(named, within=20)
    assert reloads(server) <= 4
    before = len(server.errors)
    project.joinpath("helper.py").write_text("text = 'two'\n")
    expect(server, "two")
    server.wait_for_log("reload: done", within=20, since=before)
    assert reloads(server, before) == 1
    project.joinpath("build.py").write_text("time = 0\n")
    server.wait_for_log("build.py has changed", within=20, since=before)
