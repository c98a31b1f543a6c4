import sys


def app(environ, start_response):
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        sys.exit("only GET")  # finds: exit
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
