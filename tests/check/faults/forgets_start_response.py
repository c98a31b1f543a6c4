def app(environ, start_response):
    if environ["REQUEST_METHOD"] == "OPTIONS":
        return []  # finds: start-response-missing
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
