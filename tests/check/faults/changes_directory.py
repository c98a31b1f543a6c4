import os
import tempfile


def app(environ, start_response):
    os.chdir(tempfile.gettempdir())  # finds: request-chdir
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
