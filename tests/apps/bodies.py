"""Reads request bodies in every way that PEP 3333 allows, and reports what it read."""

import hashlib
import io
import json
import os
from urllib.parse import parse_qs


def app(environ, start_response):
    stream = environ["wsgi.input"]
    parsed = parse_qs(environ["QUERY_STRING"], keep_blank_values=True, encoding="latin-1")
    options = {key: values[0] for key, values in parsed.items()}
    seen = READERS[environ["PATH_INFO"]](stream, options)
    shown = {
        "seen": seen,
        "length": environ.get("CONTENT_LENGTH"),
        "has_transfer_encoding": "HTTP_TRANSFER_ENCODING" in environ,
        "has_trailer": "HTTP_X_TRAILER" in environ,
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(shown).encode()]


def text(data):
    assert type(data) is bytes, type(data)
    return data.decode("latin-1")


def digest(stream, options):
    size = int(options.get("size", 65536))
    total, sha256 = 0, hashlib.sha256()
    while True:
        data = stream.read(size)
        if not data:
            break
        assert len(data) <= size
        total += len(data)
        sha256.update(data)
    return [total, sha256.hexdigest(), os.getpid()]


def compare(stream, options):
    """Does the same walk over the stream and over io.BytesIO; tells the first difference."""
    model = io.BytesIO(options["body"].encode("latin-1"))
    steps = [
        ("readline", ()),
        ("readline", (2,)),
        ("readline", (-1,)),
        ("read", (0,)),
        ("read", (3,)),
        ("readline", (0,)),
        ("readlines", (4,)),
        ("readline", (100,)),
        ("read", (5,)),
        ("readlines", ()),
        ("read", ()),
        ("read", (10,)),
        ("readline", ()),
        ("readlines", ()),
    ]
    for name, arguments in steps:
        ours, right = getattr(stream, name)(*arguments), getattr(model, name)(*arguments)
        if ours != right:
            return f"{name}{arguments} gave {ours!r}, not {right!r}"
    return "same"


READERS = {
    "/read": lambda stream, options: text(stream.read()),
    "/read-all-forms": lambda stream, options: [text(stream.read(2)), text(stream.read(-1))],
    "/read-none": lambda stream, options: text(stream.read(None)),
    "/read-huge": lambda stream, options: text(stream.read(1 << 40)),
    "/read-past-end": lambda stream, options: [
        text(stream.read()),
        text(stream.read()),
        text(stream.read(5)),
        text(stream.readline()),
        [text(line) for line in stream.readlines()],
        [text(line) for line in stream],
    ],
    "/readline": lambda stream, options: [
        text(line) for line in iter(lambda: stream.readline(int(options["size"])), b"")
    ],
    "/readlines": lambda stream, options: [text(line) for line in stream.readlines()],
    "/iterate": lambda stream, options: [text(line) for line in stream],
    "/next": lambda stream, options: [text(next(stream)), text(next(stream)), text(stream.read())],
    "/compare": compare,
    "/digest": digest,
    "/ignore": lambda stream, options: "nothing",
    "/some": lambda stream, options: text(stream.read(3)),
}
