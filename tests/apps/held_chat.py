"""WebSockets as requests with events, written with the helpers of gripcontrol."""

import json
import struct
import time

import lockgate
from gripcontrol import (
    WebSocketEvent,
    decode_websocket_events,
    encode_websocket_events,
    websocket_control_message,
)

SEEN = []


def control(kind, **arguments):
    return WebSocketEvent("TEXT", "c:" + websocket_control_message(kind, arguments))


def message(text):
    return WebSocketEvent("TEXT", "m:" + text)


def answer_to(text, environ, fields):
    """What the application does with a text: a command, or an echo."""
    command, _, argument = text.partition(" ")
    if command == "subscribe":
        name, _, prev_id = argument.partition(" ")
        known = {"prev-id": prev_id} if prev_id else {}
        return [control("subscribe", channel=name, **known)]
    if command in ("unsubscribe", "detach"):
        return [control(command, channel=argument)]
    if command == "keep-alive":
        return [control("keep-alive", content="{}", timeout=1)]
    if command == "name":
        fields.append(("Set-Meta-User", argument))
        return [message("named " + argument)]
    if command == "whoami":
        return [message(environ.get("HTTP_META_USER", "no name"))]
    if command == "cookie":
        return [message(environ.get("HTTP_COOKIE", ""))]
    if command == "close":
        return [WebSocketEvent("CLOSE", struct.pack(">H", int(argument)))]
    if command == "disconnect":
        return [WebSocketEvent("DISCONNECT")]
    if command == "sleep":
        time.sleep(float(argument))
        return [message("slept")]
    if command == "large":
        return [message("x" * int(argument))]
    if command == "fail":
        raise RuntimeError(argument)
    return [message(text)]


def answers(event, environ, fields):
    if event.type == "OPEN":
        fields += [("Sec-WebSocket-Extensions", "grip"), ("Set-Cookie", "a=b")]
        if "chat" in environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", ""):
            fields.append(("Sec-WebSocket-Protocol", "chat"))
        if environ["PATH_INFO"] == "/ws/slow":
            time.sleep(1)
        if environ["PATH_INFO"] == "/ws/checked":
            fields.append(("Keep-Alive-Interval", "1"))
        return [WebSocketEvent("OPEN")]
    if event.type == "TEXT":
        return answer_to(event.content.decode(), environ, fields)
    if event.type == "BINARY":
        return [WebSocketEvent("BINARY", b"m:" + event.content)]
    if event.type == "CLOSE":
        return [event]
    return []


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/seen":
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(SEEN).encode()]
    if path == "/publish":
        fields = json.loads(environ["wsgi.input"].read())
        lockgate.publish(fields.pop("channel"), fields.pop("content", None), **fields)
        start_response("204 No Content", [])
        return []
    if path == "/ws/forbidden":
        start_response("401 Unauthorized", [("Content-Type", "text/plain"), ("X-Why", "secret")])
        return [b"who are you?"]
    if environ.get("CONTENT_TYPE") != "application/websocket-events":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]
    events = decode_websocket_events(environ["wsgi.input"].read())
    connection = environ["HTTP_CONNECTION_ID"]
    if not events:
        SEEN.append((connection, "nothing", ""))
    fields = [("Content-Type", "application/websocket-events")]
    out = []
    for event in events:
        content = (event.content or b"").decode("latin-1")
        SEEN.append((connection, event.type, content[:100]))
        if path == "/ws/unaccepted":
            continue
        out += answers(event, environ, fields)
    start_response("200 OK", fields)
    return [encode_websocket_events(out)]
