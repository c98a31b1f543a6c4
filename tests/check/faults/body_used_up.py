BODY = iter([b"hello"])


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return BODY  # finds: body-used-up
