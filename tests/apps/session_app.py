"""Performs operations on the session, as the query says in JSON, and answers with what it saw.

SESSION_OPTIONS has the arguments of the middleware; the file SESSION_CLOCK has seconds to add to
the clock. `X-Scheme` stands for what a proxy says about the scheme.
"""

import json
import os
import pathlib
import time
import urllib.parse

from lockgate.sessions import SessionMiddleware

OPTIONS = json.loads(os.environ.get("SESSION_OPTIONS", "{}"))
CLOCK = os.environ.get("SESSION_CLOCK")


def clock():
    return time.time() + (float(pathlib.Path(CLOCK).read_text() or 0) if CLOCK else 0)


def perform(session, operation, *arguments):
    if operation == "set":
        session[arguments[0]] = arguments[1]
    elif operation == "fill":
        session[arguments[0]] = "x" * arguments[1]
    elif operation == "append":
        session[arguments[0]].append(arguments[1])
    elif operation == "delete":
        del session[arguments[0]]
    elif operation == "persistent":
        session.persistent = arguments[0]
    else:
        getattr(session, operation)()


def application(environ, start_response):
    query = urllib.parse.parse_qs(environ["QUERY_STRING"])
    seen = {}
    session = environ["lockgate.session"]
    for operation in json.loads(query.get("do", ["[]"])[0]):
        perform(session, *operation)
    if "look" in query:
        seen = {"data": dict(session), "new": session.is_new, "there": session.is_available}
    headers = [("Content-Type", "application/json")]
    headers += [tuple(pair) for pair in json.loads(query.get("headers", ["[]"])[0])]
    start_response(query.get("status", ["200 OK"])[0], headers)
    return [json.dumps(seen).encode()]


sessions = SessionMiddleware(application, clock=clock, **OPTIONS)


def app(environ, start_response):
    environ["wsgi.url_scheme"] = environ.get("HTTP_X_SCHEME", environ["wsgi.url_scheme"])
    return sessions(environ, start_response)
