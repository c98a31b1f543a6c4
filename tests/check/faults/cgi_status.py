def app(environ, start_response):
    headers = [("Content-Type", "text/plain"), ("Status", "200 OK")]
    start_response("200 OK", headers)  # finds: status-header
    return [b"hello"]
