def app(environ, start_response):
    environ["wsgi.input"].seek(0)  # finds: exception
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
