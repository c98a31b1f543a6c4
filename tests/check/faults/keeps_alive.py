def app(environ, start_response):
    headers = [("Content-Type", "text/plain"), ("Connection", "keep-alive")]
    start_response("200 OK", headers)  # finds: hop-by-hop
    return [b"hello"]
