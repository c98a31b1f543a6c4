"""Answers with instructions of GRIP, and publishes."""

import json
from urllib.parse import parse_qs

import lockgate


def app(environ, start_response):
    query = {key: values for key, values in parse_qs(environ["QUERY_STRING"]).items()}

    def first(name, default=None):
        return query.get(name, [default])[0]

    channels = [("Grip-Channel", channel) for channel in query.get("channel", ["news"])]
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
    if path == "/poll":
        fields = [("Content-Type", "text/plain"), ("Grip-Hold", "response"), ("X-From", "timeout")]
        start_response("200 OK", fields + channels + instruction)
        return [b"nothing"]
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
    if path == "/sig":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ.get("HTTP_GRIP_SIG", "").encode()]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
