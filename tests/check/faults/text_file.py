def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return open(__file__)  # finds: body-piece
