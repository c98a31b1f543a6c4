BODY = b"hello"


def app(environ, start_response):
    headers = [("Content-Type", "text/plain"), ("Content-Length", len(BODY))]
    start_response("200 OK", headers)  # finds: header-type
    return [BODY]
