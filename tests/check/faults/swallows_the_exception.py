import sys


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"first"
    try:
        raise LookupError("the second row is missing")
    except LookupError:
        try:
            start_response("500 Error", [], sys.exc_info())  # finds: exc-info-trapped
        except LookupError:
            pass
    yield b"third"
