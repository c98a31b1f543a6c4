def app(environ, start_response):
    headers = [("Content-Type:", "text/plain")]
    start_response("200 OK", headers)  # finds: header-name content-type-missing
    return [b"hello"]
