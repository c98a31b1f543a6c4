def app(environ, start_response):
    if environ["REQUEST_METHOD"] == "GET":
        headers = [("Content-Type", "text/plain"), ("ETag", "v1")]
        start_response("200 OK", headers)  # finds: etag-form
        return [b"hello"]
    headers = [("Content-Type", "text/plain")]
    start_response("405 Method Not Allowed", headers)  # finds: allow-missing head-status
    return [b"no"]
