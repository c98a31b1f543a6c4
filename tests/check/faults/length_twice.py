def with_length(app):
    def wrapped(environ, start_response):
        def start(status, headers, exc_info=None):
            headers = [*headers, ("Content-Length", "5")]
            return start_response(status, headers, exc_info)  # finds: content-length-form

        return app(environ, start)

    return wrapped


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


app = with_length(hello)
