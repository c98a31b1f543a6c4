def app(environ, start_response):
    try:
        raise ValueError("wrong")
    except ValueError as error:
        headers = [("Content-Type", "text/plain")]
        start_response("400 Bad Request", headers, error)  # finds: exc-info
    return [b"wrong"]
