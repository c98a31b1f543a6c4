HEADERS = {"Content-Type": "text/plain"}


def app(environ, start_response):
    start_response("200 OK", HEADERS)  # finds: headers-list headers-type
    return [b"hello"]
