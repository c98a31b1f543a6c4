import os


def app(environ, start_response):
    os.environ["TZ"] = environ.get("HTTP_X_TIME_ZONE", "UTC")  # finds: request-environ
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
