def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"hello "
    yield "world"  # finds: body-piece
