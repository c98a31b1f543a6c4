"""The line of a request in the access log of `lockgate dev`, with the statements that libraries
report."""

import re

import pytest
from harness import eventually
from harness.dev_site import Site
from harness.requirements import require_module
from lockgate.dev.options import VARIABLE, Options, from_environment, wants_colour

FLASK = """
from flask import stream_with_context
from flask_sqlalchemy import SQLAlchemy

flask.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
database = SQLAlchemy(flask)

def select(number):
    database.session.execute(database.text("select :number"), {"number": number})

@flask.get("/select/<int:count>")
def selects(count):
    for number in range(count):
        select(number)
    return str(count)

@flask.get("/stream")
def stream():
    def pieces():
        for number in range(3):
            select(number)
            yield "a"
    length = {"Content-Length": "3"} if "length" in request.args else {}
    return Response(stream_with_context(pieces()), headers=length, mimetype="text/plain")

@flask.get("/wrong")
def wrong():
    try:
        database.session.execute(database.text("select nothing from nowhere"))
    except Exception:
        database.session.rollback()
    return "wrong"

@flask.get("/style.css")
def style():
    return Response("a {}", mimetype="text/css")

@flask.get("/fails")
def fails():
    raise ValueError("fails")
"""

DJANGO = """
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection, transaction
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"], SECRET_KEY="test", ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)

def select(number):
    with connection.cursor() as cursor:
        cursor.execute("select %s", [number])

def selects(request, count):
    with transaction.atomic():
        for number in range(count):
            select(number)
    return HttpResponse(count)

def stream(request):
    def pieces():
        for number in range(3):
            select(number)
            yield "a"
    return StreamingHttpResponse(pieces(), content_type="text/plain")

def wrong(request):
    try:
        with connection.cursor() as cursor:
            cursor.execute("select nothing from nowhere")
    except Exception:
        pass
    return HttpResponse("wrong")

def thread(request):
    import contextvars, threading
    context = contextvars.copy_context()
    started = threading.Thread(target=context.run, args=(select, 1))
    started.start()
    started.join()
    return HttpResponse("thread")

urlpatterns = [
    path("select/<int:count>", selects), path("stream", stream), path("wrong", wrong),
    path("thread", thread),
]
flask = get_wsgi_application()
"""


def lines(site, *targets):
    """The line of each target without its time of day."""
    for target in targets:
        site.server.get(target)
    eventually(
        lambda: len(site.server.output.splitlines()) == len(targets), within=10, what="the lines"
    )
    return [line.split(" ", 1)[1] for line in site.server.output.splitlines()]


SELECTS = r" {target} +200 +[\d.]+ ms +1 B"
NO_STATEMENTS = SELECTS + "$"


@pytest.fixture
def with_sqlalchemy():
    require_module("flask_sqlalchemy")


@pytest.mark.usefixtures("with_sqlalchemy")
@pytest.mark.parametrize("text", [FLASK, DJANGO], ids=["sqlalchemy", "django"])
def test_statements_are_counted_in_the_request_that_executes_them(start, tmp_path, text):
    site = Site(start, tmp_path, text, Options(slow=30))
    targets = ["/select/0", "/select/1", "/select/3", "/select/0", "/stream", "/wrong"]
    expected = [
        "200 +[0-9.]+ ms +1 B$",
        "200 +[0-9.]+ ms +1 B  1 SQL [0-9.]+ ms$",
        "200 +[0-9.]+ ms +1 B  3 SQL [0-9.]+ ms, 2 repeated$",
        "200 +[0-9.]+ ms +1 B$",
        "200 +[0-9.]+ ms +3 B  3 SQL [0-9.]+ ms, 2 repeated$",
        "200 +[0-9.]+ ms +5 B  1 SQL [0-9.]+ ms$",
    ]
    if text is DJANGO:
        targets.append("/thread")
        expected.append("200 +[0-9.]+ ms +6 B  1 SQL [0-9.]+ ms$")
    else:
        targets.append("/stream?length")
        expected.append("200 +[0-9.]+ ms +3 B  3 SQL [0-9.]+ ms, 2 repeated$")
    for line, target, wanted in zip(lines(site, *targets), targets, expected, strict=True):
        assert re.match(rf"GET     {re.escape(target)} +{wanted}", line), line


@pytest.mark.usefixtures("with_sqlalchemy")
def test_failures_stand_out_and_files_of_the_server_do_not(start, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("a")
    options = Options(colour=True, slow=30)
    site = Site(start, tmp_path, FLASK, options, "--static", "/files=files")
    dim, red, green, yellow = "\x1b[2m", "\x1b[1;31m", "\x1b[32m", "\x1b[33m"
    targets = ["/select/0", "/files/a.txt", "/style.css", "/none", "/fails", "/caf%C3%A9?%C3%A9"]
    plain = "GET     "
    expected = [
        plain + "/select/0", dim + plain + "/files/a.txt", dim + plain + "/style.css",
        plain + "/none", red + plain + "/fails", plain + "/café?é",
    ]  # fmt: skip
    seen = lines(site, *targets)
    site.server.get("/none", "X: a", "Host: b")
    refused = eventually(lambda: site.server.output.splitlines()[6:], within=5, what="its line")[0]
    assert f"{yellow}refused (" in refused, refused
    for line, begin in zip(seen, expected, strict=True):
        assert line.startswith(begin), line
    assert f"{green}200" in seen[0] and f"{yellow}404" in seen[3]
    assert f"{red}500" in seen[4]
    trace = site.server.errors.partition("Traceback (most recent call last)")[2]
    assert "in fails" in trace
    # The server's middleware is no part of it.
    assert "lockgate/dev" not in trace


@pytest.mark.parametrize(
    "environment, is_terminal, expected",
    [
        ({}, True, True),
        ({}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
    ],
)
def test_colours_are_for_terminals(environment, is_terminal, expected):
    assert wants_colour(environment, is_terminal) is expected


def test_options_reach_a_worker_through_one_variable():
    options = Options(refresh=True, slow=1.5, colour=True, generation="7")
    assert from_environment({VARIABLE: options.to_json()}) == options
    assert options.access_logformat == "development slow=1.5 colour"
    assert from_environment({}) is None
    for text in ("", "{", "[]", '{"unknown": 1}'):
        with pytest.raises(ValueError, match=f"{VARIABLE} = .* unset it"):
            from_environment({VARIABLE: text})
