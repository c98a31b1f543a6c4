def app(environ, start_response):
    headers = [("Content-Type", "text/plain"), ("Last-Modified", "2026-11-29 12:00:00")]
    start_response("200 OK", headers)  # finds: last-modified-form
    return [b"hello"]
