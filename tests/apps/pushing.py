"""Answers with instructions of GRIP, and publishes."""

import json
from urllib.parse import parse_qs

import lockgate
from gates import hold


def app(environ, start_response):
    query = {key: values for key, values in parse_qs(environ["QUERY_STRING"]).items()}

    def first(name, default=None):
        return query.get(name, [default])[0]

    names = query.get("channel", ["news"])
    if "channels" in query:
        names = [f"c{number}" for number in range(int(first("channels")))]
    channels = [("Grip-Channel", channel) for channel in names]
    instruction = [
        (name, first(name))
        for name in ("Grip-Timeout", "Grip-Keep-Alive", "Grip-Status", "Grip-Link")
        if name in query
    ]
    path = environ["PATH_INFO"]
    if path == "/events":
        fields = [("Content-Type", "text/event-stream"), ("Grip-Hold", "stream")]
        start_response("200 OK", fields + channels + instruction)
        return [b": open\n\n"]
    if path == "/lines":
        fields = [("Content-Type", "text/plain"), ("Grip-Hold", "stream")]
        start_response("200 OK", fields + channels + instruction)
        return [b"open\n"]
    if path == "/slowly":
        fields = [("Content-Type", "text/plain"), ("Grip-Hold", "stream")]
        start_response("200 OK", fields + channels + instruction)
        return slowly(first("gate"))
    if path == "/poll":
        fields = [("Content-Type", "text/plain"), ("Grip-Hold", "response"), ("X-From", "timeout")]
        start_response("200 OK", fields + channels + instruction)
        return [b"nothing"]
    if path.startswith("/page/"):
        # Three pages, of which the last one is held.
        number = int(path.rpartition("/")[2])
        if number < 3:
            more = [("Grip-Link", f"</page/{number + 1}>; rel=next")]
        else:
            more = [("Grip-Hold", "stream"), ("Grip-Channel", "news")]
        start_response("200 OK", [("Content-Type", "text/plain"), *more])
        cookie = environ.get("HTTP_COOKIE", "")
        return [f"page {number} for {cookie}\n".encode()]
    if path == "/reliable":
        # The client has message 1. What it misses later is in /reliable?after=.
        after = first("after")
        fields = [
            ("Grip-Hold", "stream"),
            ("Grip-Channel", f"news; prev-id={after or 1}"),
            ("Grip-Link", "</reliable?after=3>; rel=next; timeout=60"),
        ]
        start_response("200 OK", [("Content-Type", "text/plain"), *fields])
        return [b"2 and 3 from the application\n" if after else b"begin\n"]
    if path == "/elsewhere":
        fields = [("Grip-Link", "<http://other.example/>; rel=next")]
        start_response("200 OK", [("Content-Type", "text/plain"), *fields])
        return [b"begin\n"]
    if path == "/instruct":
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "application/grip-instruct")])
        return [body]
    if path == "/publish":
        fields = json.loads(environ["wsgi.input"].read() or "{}")
        channel = fields.pop("channel", "news")
        lockgate.publish(channel, fields.pop("content", None), **fields)
        start_response("204 No Content", [])
        return []
    if path == "/flood":
        # As fast as it can; in all workers the same log has a bound.
        for number in range(int(first("count"))):
            lockgate.publish(first("channel", "news"), f"{number} " + "x" * 100, id=str(number))
        lockgate.publish(first("channel", "news"), "end", id="end")
        start_response("204 No Content", [])
        return []
    if path == "/grip-fields":
        start_response("200 OK", [("Content-Type", "application/json")])
        fields = {key: value for key, value in environ.items() if key.startswith("HTTP_GRIP")}
        return [json.dumps(fields).encode()]
    if path == "/sig":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ.get("HTTP_GRIP_SIG", "").encode()]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def slowly(gate):
    """The client has a part of the body before the application has returned."""
    yield b"open\n"
    hold(gate, b"")
