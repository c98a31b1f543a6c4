"""Writes three lines to wsgi.errors, the last of them without an end."""


def app(environ, start_response):
    environ["wsgi.errors"].write('first "quoted"\nsecond\nthird')
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
