"""A Django application is loaded with its URLconf; Django imports it at the first request."""

import signal

import pytest
from harness import run

SITE = """
import django
from django.conf import settings

settings.configure(ROOT_URLCONF="site_urls", SECRET_KEY="x" * 50, ALLOWED_HOSTS=["*"])
django.setup()

from django.core.wsgi import get_wsgi_application


class Middleware:
    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        return self.app(environ, start_response)


application = get_wsgi_application()
wrapped = Middleware(Middleware(application))
"""
URLS = """
from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("", lambda request: HttpResponse("one"))]
"""
MISTAKES = {
    "import nothere": "No module named 'nothere'",
    "def broken(:": "SyntaxError",
    "urlpatterns = 3": "does not appear to have any patterns in it",
}


@pytest.fixture
def site(tmp_path):
    (tmp_path / "site_app.py").write_text(SITE)
    (tmp_path / "site_urls.py").write_text(URLS)
    return tmp_path


@pytest.mark.parametrize("name", ["application", "wrapped"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_urlconf_is_one_of_the_application(site, mistake, name):
    (site / "site_urls.py").write_text(f"{URLS}\n{mistake}\n")
    ended = run(f"site_app:{name}", "--check-config", chdir=site)
    assert ended.returncode == 3, ended.stderr
    assert f"cannot import site_urls, the URLconf of site_app:{name}" in ended.stderr
    assert MISTAKES[mistake] in ended.stderr


def test_a_broken_urlconf_never_takes_traffic(site, start):
    server = start("site_app:application", chdir=site, workers=1)
    assert server.get("/").body == b"one"
    (site / "site_urls.py").write_text("import nothere")
    before = len(server.errors)
    server.signal(signal.SIGHUP)
    server.wait_for_log("reload failed", since=before)
    assert server.get("/").body == b"one"
    (site / "site_urls.py").write_text(URLS.replace("one", "number two"))
    before = len(server.errors)
    server.signal(signal.SIGHUP)
    server.wait_for_log("reload: done", since=before)
    assert server.get("/").body == b"number two"
    assert server.stop() == 0
