"""Says who it is."""


def web(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello from " + environ["SCRIPT_NAME"].encode() + environ["PATH_INFO"].encode()]


def create_app():
    return web
