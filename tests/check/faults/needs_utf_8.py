def app(environ, start_response):
    path = environ["PATH_INFO"].encode("latin-1").decode()  # finds: exception
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [path.encode()]
