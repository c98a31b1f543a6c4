"""Applications behave under all middleware of `lockgate dev` as without it."""

import pytest
from harness.dev_site import Site
from harness.requirements import require_module
from lockgate.dev.options import Options

ALL = Options(refresh=True, debugger=True, validate=True)

SOCKET = """
from flask_sock import Sock

sock = Sock(flask)

@sock.route("/echo")
def echo(socket):
    while True:
        socket.send(socket.receive() * 2)
"""

DJANGO = """
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse
from django.urls import path

settings.configure(DEBUG=True, ALLOWED_HOSTS=["*"], SECRET_KEY="test", ROOT_URLCONF=__name__)

def fails(request):
    secret = 41
    raise ValueError("in a view")

def file(request):
    return FileResponse(open(__file__, "rb"), content_type="text/plain")

def echo(request):
    return HttpResponse(request.body)

urlpatterns = [path("fails", fails), path("file", file), path("echo", echo)]
flask = get_wsgi_application()
"""


def test_a_websocket_passes(start, tmp_path):
    require_module("flask_sock")
    require_module("websockets")
    from websockets.sync.client import connect

    site = Site(start, tmp_path, SOCKET, ALL)
    with connect(f"ws://127.0.0.1:{site.server.port}/echo") as socket:
        socket.send("ab")
        assert socket.recv(timeout=10) == "abab"
    assert "Traceback" not in site.server.errors


@pytest.fixture(scope="module")
def django(shared, tmp_path_factory):
    return Site(shared, tmp_path_factory.mktemp("django"), DJANGO, ALL)


def test_django_has_its_own_page_for_an_exception(django):
    answer = django.server.get("/fails", "Accept: text/html")
    assert answer.status == 500
    assert b"You\xe2\x80\x99re seeing this error because" in answer.body
    assert b"refresh.js" in answer.body and b"__debugger__" not in answer.body


def test_files_and_bodies_are_the_same(django):
    assert django.server.get("/file").body == django.path.read_bytes()
    assert django.server.post("/echo", b"a" * 70_000).body == b"a" * 70_000
    assert "PEP 3333" not in django.server.errors
