TEXT = "na\u00efve caf\u00e9"


def app(environ, start_response):
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(TEXT)))]
    start_response("200 OK", headers)  # finds: content-length-long
    return [TEXT.encode()]
