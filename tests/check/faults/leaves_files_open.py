SEEN = []


def app(environ, start_response):
    source = open(__file__, "rb")  # finds: request-descriptors
    SEEN.append(source)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [source.read()]
