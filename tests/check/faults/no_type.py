def app(environ, start_response):
    start_response("200 OK", [])  # finds: content-type-missing
    return [b"<h1>hello</h1>"]
