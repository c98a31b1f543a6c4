def app(environ, start_response):
    headers = [("Content-Type", "text/plain"), ("X-Author", "Bj\u0151rn")]
    start_response("200 OK", headers)  # finds: latin-1
    return [b"hello"]
