"""`reload` while the application is being loaded: what it writes itself, and saves meanwhile."""

import re
import shutil

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
    project.joinpath("helper.py").write_text("text = 'two'\n")
    named = rf"each load .* content to {re.escape(str(project / 'build.py'))}: .* ignored"
    server.wait_for_log(named, within=20)
    assert reloads(server) <= 6
    before = len(server.errors)
    project.joinpath("helper.py").write_text("text = 'three'\n")
    expect(server, "three")
    server.wait_for_log("reload: done", within=20, since=before)
    assert reloads(server, before) == 1

    def is_noticed():
        # Within 50 ms of a load it would be taken for a write by the application.
        project.joinpath("build.py").write_text("time = 0\n")
        return "build.py has changed" in server.errors[before:]

    eventually(is_noticed, within=20, what="the change of build.py")


BEGUN = """
open("begun", "w").close()
"""

LAZY = """
import os
import time

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    def body():
        import lazy
        while environ["PATH_INFO"] == "/held" and not os.path.exists("go"):
            time.sleep(0.01)
        yield lazy.text.encode()
    return body()
"""


def test_a_module_is_watched_while_the_response_that_imports_it_is_still_produced(serve):
    server, project = serve({"site_app.py": LAZY, "lazy.py": BEGUN + "text = 'one'\n"})
    with server.connect() as wire:
        wire.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(project.joinpath("begun").exists, within=20, what="the import of lazy")
        project.joinpath("lazy.py").write_text("text = 'two'\n")
        server.wait_for_log("lazy.py has changed", within=20)
        project.joinpath("go").touch()
    expect(server, "two")


ENDLESS = """
import time
time.sleep(1000)
"""


def test_a_save_is_noticed_while_a_first_load_does_not_end(serve):
    files = {
        "site_app.py": "import helper\nfrom helper import text\n" + APP,
        "helper.py": BEGUN + ENDLESS,
    }
    server, project = serve(files, wait=False)
    eventually(project.joinpath("begun").exists, within=20, what="the import of helper")
    project.joinpath("helper.py").write_text("text = 'repaired'\n")
    server.wait_for_log("helper.py has changed", within=20)


NESTED = """
from space.inner.part import text as found
try:
    from conf.local import text
except ImportError:
    text = ""
text += found
"""


def test_directories_of_packages_without_init_are_watched(serve):
    server, project = serve(
        {
            "site_app.py": NESTED + APP,
            "space/inner/part.py": "text = 'one'\n",
            "conf/README": "no module yet",
        }
    )
    expect(server, "one")
    part = project / "space" / "inner" / "part.py"
    shutil.rmtree(part.parent)
    server.wait_for_log("part.py has changed", within=20)
    part.parent.mkdir()
    part.write_text("text = 'two'\n")
    expect(server, "two")
    part.write_text("text = 'three'\n")
    expect(server, "three")
    project.joinpath("conf", "local.py").write_text("text = 'local and '\n")
    expect(server, "local and three")
