def app(environ, start_response):
    start_response("103 Early Hints", [("Link", "</style.css>; rel=preload")])  # finds: status-code
    start_response("200 OK", [("Content-Type", "text/plain")])  # finds: start-response-twice
    return [b"hello"]
