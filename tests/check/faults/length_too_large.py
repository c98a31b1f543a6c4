def app(environ, start_response):
    headers = [("Content-Type", "text/plain"), ("Content-Length", "100")]
    start_response("200 OK", headers)  # finds: content-length-short
    yield b"hello"
