"""Pyramid's pserve with `use = egg:lockgate#main`."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Server, eventually, free_port
from harness.process import clean_environment

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("pyramid") or not importlib.util.find_spec("plaster_pastedeploy"),
    reason="Pyramid is not installed",
)

PSERVE = str(Path(sys.executable).with_name("pserve"))

SITE = """
import logging, os
from pyramid.config import Configurator
from pyramid.response import Response

log = logging.getLogger("site")

def hello(request):
    log.info("a request for %s", request.path)
    return Response(f"{request.registry.settings['greeting']} {os.getppid()}")

def main(global_config, **settings):
    config = Configurator(settings=settings)
    config.add_route("hello", "/")
    config.add_view(hello, route_name="hello")
    return config.make_wsgi_app()
"""

INI = """
[app:main]
use = call:pyramid_site:main
greeting = hello

[server:main]
use = egg:lockgate#main
%s

[loggers]
keys = root, site

[handlers]
keys = file

[formatters]
keys = short

[logger_root]
level = WARNING
handlers = file

[logger_site]
level = INFO
handlers =
qualname = site

[handler_file]
class = FileHandler
args = ('%%(here)s/site.log', 'a')
formatter = short

[formatter_short]
format = %%(levelname)s %%(name)s %%(message)s
"""


@pytest.fixture
def pserve(tmp_path):
    started = []
    (tmp_path / "pyramid_site.py").write_text(SITE)

    def begin(section, *arguments, name="production.ini", wait=True):
        (tmp_path / name).write_text(INI % section)
        environment = {"PYTHONPATH": str(tmp_path)}
        server = Server(
            tmp_path, name, *arguments, program=(sys.executable, PSERVE), workers=None, bind=(),
            chdir=tmp_path, environment=environment, wait=False,
        )  # fmt: skip
        started.append(server)
        if wait:
            server.wait_until_ready()
            port = re.search(r"listening at http://[\d.]+:(\d+)", server.errors)
            server.port = int(port[1])
            server.address = ("127.0.0.1", server.port)
        return server

    yield begin
    for server in started:
        server.end()


@pytest.mark.parametrize(
    "section",
    [
        "host = 127.0.0.1\nport = 0\nworkers = 2\nthreads = 3",
        "bind = 127.0.0.1:0\nworkers = 2",
        "listen = 127.0.0.1:0\nworkers = 2\nkeep-alive = 10",
        "HOST =\nport = 0\nworkers = 2",
    ],
)
def test_a_section_has_settings(pserve, section):
    server = pserve(section)
    greeting, parent = server.get("/").body.decode().split()
    assert (greeting, int(parent)) == ("hello", server.pid)
    assert len(server.workers()) == 2
    assert server.stop() == 0


def test_loggers_of_the_file_are_those_of_the_workers(pserve, tmp_path):
    server = pserve("port = 0\nworkers = 1", name="development.ini")
    server.get("/")
    log = tmp_path / "site.log"
    eventually(lambda: log.exists() and "INFO site a request for /" in log.read_text())


def test_variables_of_the_command_line(pserve):
    port = free_port()
    server = pserve("port = %(http_port)s\nworkers = 1", f"http_port={port}")
    assert server.port == port


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ("port = 0\nwokers = 2", "production.ini: wokers"),
        ("port = 0\nthreads = some", 'threads = "some"'),
        ("port = 0\npreload = true", "preload = true"),
        ("bind = 192.0.2.1:80", "ended with exit code 1; its log says why"),
    ],
)
def test_a_server_that_cannot_start_does_not_exit_with_0(pserve, section, text):
    server = pserve(section, wait=False)
    assert server.wait() == 1
    assert text in server.errors


def test_the_entry_point_is_that_of_the_package():
    code = "from importlib.metadata import entry_points as e; print(e(group='paste.server_runner'))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment()
    )
    assert "lockgate.paste:main" in done.stdout
