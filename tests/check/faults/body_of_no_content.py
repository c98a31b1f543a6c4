def app(environ, start_response):
    start_response("204 No Content", [("Content-Type", "text/plain")])  # finds: body-forbidden
    return [b"done"]
