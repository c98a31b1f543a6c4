def app(environ, start_response):
    headers = [
        ("Content-Type", "text/plain"),
        ("Set-Cookie", "user=ann; SameSite=None"),
        ("Cache-Control", "public, max-age=60"),
    ]
    start_response("200 OK", headers)  # finds: cookie-samesite cookie-cached
    return [b"hello"]
