def app(environ, start_response):
    headers = [("Content-Type", "text/plain"), ("Transfer-Encoding", "chunked")]
    start_response("200 OK", headers)  # finds: hop-by-hop
    yield b"5\r\nhello\r\n"
    yield b"0\r\n\r\n"
