from contextlib import closing


def app(environ, start_response):
    with closing(environ["wsgi.input"]) as stream:  # finds: input-close
        size = len(stream.read())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(size).encode()]
