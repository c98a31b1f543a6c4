"""`--paste FILE.ini`: applications of PasteDeploy's files on the command line."""

import importlib.util

import pytest
from harness import eventually
from harness.process import run

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("paste"), reason="PasteDeploy is not installed"
)

SITE = """
import logging

log = logging.getLogger("site")

def main(global_config, **settings):
    def app(environ, start_response):
        log.info("a request for %s", environ["PATH_INFO"])
        start_response("200 OK", [])
        return [f"{settings['greeting']} {global_config.get('stage')}".encode()]
    return app

def broken(global_config, **settings):
    raise ValueError("the reason")
"""

INI = """
[app:main]
use = call:paste_site:main
greeting = hello

[app:other]
use = call:paste_site:main
greeting = %(stage)s bonjour

[app:broken]
use = call:paste_site:broken

[server:main]
use = egg:another#server
port = 1

[loggers]
keys = root
[handlers]
keys = file
[formatters]
keys =
[logger_root]
level = INFO
handlers = file
[handler_file]
class = FileHandler
args = ('%(here)s/site.log', 'a')
"""


@pytest.fixture
def site(tmp_path):
    (tmp_path / "paste_site.py").write_text(SITE)
    (tmp_path / "production.ini").write_text(INI)
    (tmp_path / "production.conf").write_text(INI)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        (["production.ini", "--paste-global", "stage=live"], b"hello live"),
        (["production.ini#other", "--paste-global", "stage=live"], b"live bonjour live"),
        (["--paste=production.conf", "--paste-global", "stage=a=b"], b"hello a=b"),
        (["--paster=production.conf#other", "--paste-global", "stage=x"], b"x bonjour x"),
    ],
)
def test_an_application_of_the_file_is_served(start, site, arguments, body):
    first, *others = arguments
    server = start(first, *others, chdir=site)
    assert server.get("/").body == body


def test_loggers_of_the_file_are_configured(start, site):
    server = start("production.ini", "--paste-global", "stage=live", chdir=site)
    server.get("/page")
    log = site / "site.log"
    eventually(lambda: log.exists() and "a request for /page" in log.read_text())


def test_gunicorns_file_has_the_settings_too(start, site):
    (site / "gunicorn.conf.py").write_text(
        "paste = 'production.conf#other'\nraw_paste_global_conf = ['stage=c']\n"
    )
    server = start("--config=gunicorn.conf.py", chdir=site)
    assert server.get("/").body == b"c bonjour c"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["missing.ini"], 3, "missing.ini: there is no such file"),
        (["production.ini#unknown", "--paste-global", "stage=x"], 3, "No section 'unknown'"),
        (["production.ini#broken", "--paste-global", "stage=x"], 3, "ValueError: the reason"),
        (["--paste", "#main"], 2, "must be a file, or FILE#NAME"),
        (["production.ini", "--paste-global", "stage"], 2, "must be KEY=VALUE"),
    ],
)
def test_a_mistake_is_named(site, arguments, code, text):
    done = run(*arguments, "--check-config", chdir=site)
    assert done.returncode == code, done.stderr
    assert text in done.stderr


def test_the_configuration_is_valid_as_it_is_printed(site):
    done = run("production.ini#other", "--paste-global", "stage=x", "--print-config", chdir=site)
    assert done.returncode == 0, done.stderr
    (site / "lockgate.toml").write_text(done.stdout)
    checked = run("--check-config", chdir=site)
    assert "production.ini#other loads" in checked.stdout, checked.stderr
