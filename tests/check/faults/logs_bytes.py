def app(environ, start_response):
    environ["wsgi.errors"].write(b"called\n")  # finds: errors-type exception
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
