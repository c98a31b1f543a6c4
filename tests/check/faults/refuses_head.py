def app(environ, start_response):
    if environ["REQUEST_METHOD"] == "GET":
        start_response("200 OK", [("Content-Type", "text/plain"), ("ETag", "v1")])
        return [b"hello"]  # finds: etag-form
    start_response("405 Method Not Allowed", [("Content-Type", "text/plain")])
    return [b"no"]  # finds: allow-missing head-status
