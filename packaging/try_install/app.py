"""The application that is served: Flask, with a version that a reload changes."""

from flask import Flask, request

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    return "version 1\n"


@app.post("/length")
def length() -> str:
    return f"{len(request.get_data())} {request.scheme}\n"


@app.get("/deep")
def deep() -> str:
    """Calls from C to Python and back, for which the 128 KiB of a thread of musl are too few."""

    def nested(level: int) -> int:
        return level and sorted([level], key=lambda above: nested(above - 1))[0]

    return f"{nested(100)}\n"
